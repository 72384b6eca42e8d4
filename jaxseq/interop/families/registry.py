"""Names of the families: values of `model_type` in `config.json`."""

from typing import Protocol

from jaxseq import _registry
from jaxseq import nn
from jaxseq import validate
from jaxseq.interop import _entries
from jaxseq.interop import _tensors


class Family(Protocol):
  """A family, such as a module; `families` lists its optional parts.

  Attributes:
    EMBEDDING: name of the tensor with a row for each token.
    LAYERS: prefix of the layer numbers.
  """

  EMBEDDING: str
  LAYERS: str

  def from_json(
    self, entries: _entries.Entries
  ) -> tuple[nn.NetworkConfig, int]:
    """Returns the options of the network and the number of tokens."""
    ...

  def places(
    self, config: nn.NetworkConfig, entries: _entries.Entries
  ) -> _tensors.Places:
    """Returns the places of the parameters; extra ones are ignored."""
    ...


_FAMILIES = _registry.Registry(
  "model_type",
  {
    "bamba": "jaxseq.interop.families._bamba_family:FAMILY",
    "falcon_h1": "jaxseq.interop.families._falcon_h1_family:FAMILY",
    "falcon_mamba": "jaxseq.interop.families._mamba_family:FALCON_MAMBA_FAMILY",
    "granitemoehybrid": "jaxseq.interop.families._granite_family:FAMILY",
    "jamba": "jaxseq.interop.families._jamba_family:FAMILY",
    "kimi_linear": "jaxseq.interop.families._kimi_linear_family:FAMILY",
    "lfm2": "jaxseq.interop.families._lfm2_family:FAMILY",
    "mamba": "jaxseq.interop.families._mamba_family:MAMBA_FAMILY",
    "mamba2": "jaxseq.interop.families._mamba_family:MAMBA2_FAMILY",
    "minimax": "jaxseq.interop.families._minimax_family:FAMILY",
    "nemotron_h": "jaxseq.interop.families._nemotron_h_family:FAMILY",
    "olmo_hybrid": "jaxseq.interop.families._olmo_hybrid_family:FAMILY",
    "qwen3_5": "jaxseq.interop.families._qwen_family:WITH_IMAGES",
    "qwen3_5_text": "jaxseq.interop.families._qwen_family:TEXT",
    "qwen3_next": "jaxseq.interop.families._qwen_family:NEXT",
    "recurrent_gemma": "jaxseq.interop.families._recurrent_gemma_family:FAMILY",
    "rwkv": "jaxseq.interop.families._rwkv_family:FAMILY",
    "rwkv7": "jaxseq.interop.families._rwkv_family:FAMILY_7",
    "xlstm": "jaxseq.interop.families._xlstm_family:FAMILY",
    "zamba2": "jaxseq.interop.families._zamba2_family:FAMILY",
  },
)


def names() -> tuple[str, ...]:
  """Returns the names of all families, sorted: values of `model_type`."""
  return _FAMILIES.names()


def register(name: str, family: str | Family) -> None:
  """Registers a family under a `model_type`.

  Args:
    name: value of `model_type` in config.json.
    family: import path of its module, "package.module" or
      "package.module:attribute", or the family itself.

  Raises:
    ValueError: if another family has the name, or the family lacks a part; for
      a path, at its first use.
  """
  if not isinstance(family, str):
    _check(name, family)
  _FAMILIES.register(name, family)


def get(name: str) -> Family:
  """Returns a family, one of `names()`.

  Raises:
    ValueError: if there is no such family, or it lacks a part.
  """
  return _check(name, _FAMILIES.get(name))


def _check(name, family):
  """Returns a family, if it has all required parts."""
  for part in ("EMBEDDING", "LAYERS", "from_json", "places"):
    value = getattr(family, part, None)
    if not (isinstance(value, str) if part.isupper() else callable(value)):
      kind = "a string" if part.isupper() else "a function"
      raise validate.error(f"family {name!r}: {part}", value, kind)
  return family
