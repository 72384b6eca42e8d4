"""Names of the families: values of `model_type` in `config.json`."""

from types import ModuleType

from jaxseq import _registry

_FAMILIES = _registry.Registry(
  "model_type",
  {
    "falcon_mamba": "jaxseq.interop.families.falcon_mamba_family",
    "jamba": "jaxseq.interop.families.jamba_family",
    "mamba": "jaxseq.interop.families.mamba_family",
    "mamba2": "jaxseq.interop.families.mamba2_family",
  },
)


def names() -> tuple[str, ...]:
  """Returns the names of all families, sorted: values of `model_type`."""
  return _FAMILIES.names()


def get(name: str) -> ModuleType:
  """Returns the module of a family, one of `names()`."""
  return _FAMILIES.get(name)
