"""Between `config.json` of Mamba and Mamba-2 and `NetworkConfig`.

Names and defaults of the entries are those of `MambaConfig` and `Mamba2Config`
of the transformers library, which leaves them out of the file where they are
the defaults.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

from jaxseq import _validate
from jaxseq import nn

_MISSING = object()


@dataclasses.dataclass(frozen=True)
class _Entry:
  """An option of a mixer and what stands for it in the file.

  Attributes:
    option: name in the mixer's Config.
    name: name in config.json.
    kind: type of the value.
    default: value where the file has none; one must be there if missing.
  """

  option: str
  name: str
  kind: type
  default: Any = _MISSING


_SHARED = (
  _Entry("expand", "expand", int, 2),
  _Entry("d_conv", "conv_kernel", int, 4),
  _Entry("dt_min", "time_step_min", float, 0.001),
  _Entry("dt_max", "time_step_max", float, 0.1),
  _Entry("dt_init_floor", "time_step_floor", float, 1e-4),
  _Entry("conv_bias", "use_conv_bias", bool, True),
  _Entry("bias", "use_bias", bool, False),
)
_ENTRIES = {
  "mamba": (
    *_SHARED,
    _Entry("d_state", "state_size", int, 16),
    _Entry("dt_init", "time_step_init_scheme", str, "random"),
    _Entry("dt_scale", "time_step_scale", float, 1.0),
  ),
  "mamba2": (
    *_SHARED,
    _Entry("d_state", "state_size", int, 128),
    _Entry("headdim", "head_dim", int),
    _Entry("ngroups", "n_groups", int, 8),
  ),
}
_TIED = {"mamba": True, "mamba2": False}
_ARCHITECTURES = {"mamba": "MambaForCausalLM", "mamba2": "Mamba2ForCausalLM"}
# What a network must be for the other library to have it.
_STACK = {
  "hybrid": (),
  "norm": "rms",
  "prenorm": True,
  "gtrxl_norm": False,
  "activation": "none",
  "residual": True,
  "feedforward": "none",
}
_NETWORK = {"pooling": "none", "head_widths": ()}


def check_kind(entries: Mapping[str, Any], where: str) -> None:
  """Checks that config.json is that of a kind of network that is known."""
  _validate.choice(f"{where}: model_type", entries.get("model_type"), _ENTRIES)


def from_json(
  entries: Mapping[str, Any], where: str
) -> tuple[nn.NetworkConfig, int]:
  """Translates config.json, at `where`, to options and a number of tokens.

  `check_kind` and `_bounds.check` come before.
  """
  mixer = entries["model_type"]

  def get(name, kind, default=_MISSING):
    return _get(entries, where, name, kind, default)

  activation = get("hidden_act", str, "silu")
  _validate.choice(f"{where}: hidden_act", activation, ("silu", "swish"))
  d_model = get("hidden_size", int)
  epsilon = get("layer_norm_epsilon", float, 1e-5)
  _validate.above_zero(f"{where}: layer_norm_epsilon", epsilon)
  options = {
    entry.option: get(entry.name, entry.kind, entry.default)
    for entry in _ENTRIES[mixer]
  }
  if mixer == "mamba":
    rank = entries.get("time_step_rank", "auto")
    if rank != "auto":
      options["dt_rank"] = get("time_step_rank", int)
  else:
    heads = get("num_heads", int)
    if heads * options["headdim"] != options["expand"] * d_model:
      raise ValueError(
        f"{where}: num_heads * head_dim: got {heads} * {options['headdim']} "
        f"and {options['expand']} * {d_model}, expected expand * hidden_size."
      )
    options["dt_limit"] = _get_limit(entries, where)
    options["norm_eps"] = epsilon
    options["norm_groups"] = options["ngroups"]
  try:
    config = nn.NetworkConfig(
      nn.StackConfig(
        mixer,
        options,
        d_model=d_model,
        num_layers=get("num_hidden_layers", int),
        norm_epsilon=epsilon,
        residual_float32=get("residual_in_fp32", bool, True),
        **_STACK,
      ),
      tie=get("tie_word_embeddings", bool, _TIED[mixer]),
      head_bias=False,
      **_NETWORK,
    )
  except ValueError as error:
    raise ValueError(f"{where} does not make a network: {error}") from error
  return config, get("vocab_size", int)


def to_json(config: nn.NetworkConfig, vocab_size: int) -> dict[str, Any]:
  """Undoes `from_json`, if the transformers library has such a network."""
  stack = config.stack
  _validate.choice("stack.mixer", stack.mixer, _ENTRIES)
  _check_network(config)
  (mixer,) = stack.mixers
  entries = {
    "architectures": [_ARCHITECTURES[stack.mixer]],
    "model_type": stack.mixer,
    "vocab_size": vocab_size,
    "hidden_size": stack.d_model,
    "num_hidden_layers": stack.num_layers,
    "layer_norm_epsilon": stack.norm_epsilon,
    "hidden_act": "silu",
    "residual_in_fp32": stack.residual_float32,
    "tie_word_embeddings": config.tie,
    # The defaults may lie outside of a small vocabulary.
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
  }
  for entry in _ENTRIES[stack.mixer]:
    entries[entry.name] = getattr(mixer, entry.option)
  if stack.mixer == "mamba":
    entries["time_step_rank"] = mixer.rank
    entries["intermediate_size"] = mixer.d_inner
    return entries
  entries["head_dim"] = mixer.head_width
  entries["num_heads"] = mixer.heads
  if mixer.chunk_size is not None:
    entries["chunk_size"] = mixer.chunk_size
  if mixer.dt_limit != (0.0, math.inf):
    entries["time_step_limit"] = list(mixer.dt_limit)
  if mixer.norm_eps != stack.norm_epsilon:
    raise ValueError(
      f"the mixer's norm_eps: got {mixer.norm_eps} and {stack.norm_epsilon}, "
      "expected the network's norm_epsilon to be saved in this format."
    )
  if mixer.norm_groups != mixer.ngroups:
    raise ValueError(
      f"the mixer's norm_groups: got {mixer.norm_groups} and {mixer.ngroups}, "
      "expected its ngroups to be saved in this format."
    )
  return entries


def _check_network(config):
  """Checks that the format can say what a network is."""
  needed = dict(_NETWORK)
  if not config.tie:
    needed["head_bias"] = False
  for part, wanted in ((config, needed), (config.stack, _STACK)):
    for name, value in wanted.items():
      if getattr(part, name) != value:
        raise _validate.error(
          name, getattr(part, name), f"{value!r} to be saved in this format"
        )
  if not config.stack.ends_in_norm:
    expected = "True to be saved in this format"
    raise _validate.error("final_norm", False, expected)


def _get(entries, where, name, kind, default):
  value = entries.get(name, default)
  if value is _MISSING:
    raise ValueError(f"{where} has no {name}.")
  if kind is float and type(value) is int:
    value = float(value)
  if kind is int and type(value) is float and value.is_integer():
    value = int(value)
  if type(value) is not kind:
    raise _validate.error(f"{where}: {name}", value, f"type {kind.__name__}")
  if kind is float:
    _validate.number(f"{where}: {name}", value)
  return value


def _get_limit(entries, where):
  limit = entries.get("time_step_limit", (0.0, math.inf))
  try:
    low, high = (
      # Strict JSON has no infinity.
      float(bound["__float__"] if isinstance(bound, dict) else bound)
      for bound in limit
    )
  except (KeyError, TypeError, ValueError) as error:
    name = f"{where}: time_step_limit"
    raise _validate.error(name, limit, "two numbers") from error
  return low, high
