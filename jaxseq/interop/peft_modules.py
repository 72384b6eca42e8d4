"""LoRA adapters as the PEFT library writes them.

A directory has `adapter_config.json` and `adapter_model.safetensors`. For each
adapted module, a torch.nn.Linear with a weight W (out, in), the latter has
A (r, in) and B (out, r), and with DoRA a magnitude (out,). The weight becomes
W + s B A, and with DoRA its row i is multiplied by magnitude[i] and divided by
the row's norm (arXiv:2106.09685, arXiv:2312.03732, arXiv:2402.09353).
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import difflib
import functools
import math
import os
import pathlib
import re
from typing import Any

import numpy as np

from jaxseq import _limits
from jaxseq import _validate
from jaxseq.interop import _model_files
from jaxseq.interop import safetensors_file

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
_KEY = re.compile(
  rf"(?:{re.escape(PREFIX)})?(.+?)"
  r"\.(?:lora_(A|B)\.weight|lora_(magnitude_vector)(?:\.weight)?)"
)
# Fields that have to be absent, null or empty: they name other computations.
_REFUSED = (
  *("layer_replication", "trainable_token_indices", "target_parameters"),
  *("modules_to_save", "megatron_config", "alora_invocation_tokens"),
  *("lora_bias", "use_qalora", "use_bdlora", "fan_in_fan_out"),
  *("arrow_config", "kasa_config", "velora_config", "monteclora_config"),
)
# Ways in which all patterns of a file may be tried on all names, which take
# seconds, and characters of a pattern.
_MOST_TRIES, _LONGEST = 3 * 10**8, 1000
_LARGEST = float(np.finfo(np.float32).max)
# Modules that PEFT reads no adapters of: routers, which are no linear layers
# there, and those of some model_types, which it refuses or takes for experts.
_ROUTERS = r".*\.((mlp|block_sparse_moe|mixer)\.gate|feed_forward\.router)"
_NOT_READ = {
  **dict.fromkeys(
    ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"),
    r".*\.(out_proj|conv1d)",
  ),
  "qwen3_next": r".*\.(gate|up|down)_proj",
}
# Kinds of first values that leave the base model's weights as they are.
_INITS = (True, False, "gaussian", "orthogonal", None)


@dataclasses.dataclass(frozen=True)
class Module:
  """The adapter of one weight (out, in).

  Attributes:
    a: (r, in).
    b: (out, r).
    magnitude: (out,), or None.
    scale: s above.
  """

  a: np.ndarray
  b: np.ndarray
  magnitude: np.ndarray | None
  scale: float

  def merged(self, weight: np.ndarray) -> np.ndarray:
    """Returns the weight with the adapter, at least float32."""
    dtype = np.promote_types(weight.dtype, np.float32)
    total = weight.astype(dtype) + self.scale * (self.b @ self.a).astype(dtype)
    if self.magnitude is None:
      return total
    norm = np.linalg.norm(total, axis=1)
    return total * (self.magnitude / np.where(norm == 0, 1, norm))[:, None]


def read(directory: str | os.PathLike) -> dict[str, Module]:
  """Reads the adapters of a directory, by the names of their modules.

  Raises:
    ValueError: if there are none, they are damaged, or of another kind.
  """
  directory = pathlib.Path(directory)
  path = directory / CONFIG
  contents = _model_files.read_json(path, constants=False)
  _check(contents, str(path))
  if not (directory / WEIGHTS).is_file():
    raise ValueError(f"{directory}: got no weights, expected {WEIGHTS}.")
  parts: dict[str, dict[str, np.ndarray]] = {}
  for key, array in safetensors_file.read(directory / WEIGHTS).items():
    match = _KEY.fullmatch(key)
    if match is None:
      expected = f"{PREFIX}MODULE.lora_A.weight, lora_B.weight of modules alone"
      raise _validate.error(f"{directory / WEIGHTS}", key, expected)
    if not safetensors_file.is_finite(array):
      raise ValueError(f"{directory / WEIGHTS}: {key} is not finite.")
    name = match[2] or "magnitude"
    parts.setdefault(match[1], {})[name] = array.astype(np.float32)
  if not parts:
    raise ValueError(f"{directory / WEIGHTS} holds no adapters.")
  _check_patterns(contents, parts, str(path))
  return {
    name: _module(name, arrays, contents, str(directory / WEIGHTS))
    for name, arrays in parts.items()
  }


def _check(contents, where):
  """Refuses adapters that are computed in another way."""
  kind = contents.get("peft_type")
  _validate.choice(f"{where}: peft_type", kind, ("LORA",))
  for field in _REFUSED:
    if contents.get(field):
      expected = "none: such adapters are not read"
      raise _validate.error(f"{where}: {field}", contents[field], expected)
  for field, choices in (("bias", ("none",)), ("init_lora_weights", _INITS)):
    value = contents.get(field, choices[0])
    _validate.choice(f"{where}: {field}", value, choices)
  _validate.positive(f"{where}: r", contents.get("r", 8))
  _validate.number(f"{where}: lora_alpha", contents.get("lora_alpha", 8))
  for field in ("use_dora", "use_rslora"):
    value = contents.get(field)
    _validate.instance(f"{where}: {field}", value, bool | None, "a boolean")


def _check_patterns(contents, names, where):
  """Refuses patterns that may be tried without an end, and their values."""
  longest, tries = max(map(len, names)), 0
  checks = (("rank", _validate.positive), ("alpha", _validate.number))
  for kind, check in checks:
    values = contents.get(f"{kind}_pattern") or {}
    place = f"{where}: {kind}_pattern"
    _validate.instance(place, values, dict, "an object of numbers")
    for key, value in values.items():
      check(f"{place}: {key[:80]}", value)
      if len(key) > _LONGEST:
        expected = f"at most {_LONGEST}"
        raise _validate.error(f"{place}: characters", len(key), expected)
      _ending(key, place)
      # One more repetition stands in front of each.
      ways = (longest + 2) * _limits.ways(key, longest)
      tries += len(names) * ways
      if tries > _MOST_TRIES:
        expected = (
          "a pattern that can be tried in fewer ways: write names out, with "
          "fewer repetitions"
        )
        raise _validate.error(place, key[:80], expected)


def _module(name, arrays, contents, where):
  """Returns the adapter of a module."""
  wanted = {"A", "B"} | ({"magnitude"} if contents.get("use_dora") else set())
  if arrays.keys() != wanted:
    expected = f"{sorted(wanted)}, by {CONFIG}"
    raise _validate.error(f"{where}: {name}", sorted(arrays), expected)
  a, b, magnitude = arrays["A"], arrays["B"], arrays.get("magnitude")
  rank = pattern(contents.get("rank_pattern"), [name], contents.get("r", 8))
  alpha = pattern(
    contents.get("alpha_pattern"), [name], contents.get("lora_alpha", 8)
  )
  if a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
    expected = f"(r, in) and (out, r) with r = {rank}, by {CONFIG}"
    got = f"shape {a.shape} and {b.shape}"
    raise _validate.error(f"{where}: {name}", got, expected)
  if magnitude is not None and magnitude.shape != b.shape[:1]:
    expected = f"{b.shape[:1]} of lora_magnitude_vector"
    raise _validate.error(f"{where}: {name}", magnitude.shape, expected)
  factor = scale(rank, alpha, contents.get("use_rslora"))
  # No number of B A is larger than this.
  size = rank * _greatest(a) * _greatest(b) * abs(factor)
  if not size <= _LARGEST:
    expected = "numbers whose product float32 holds"
    raise _validate.error(
      f"{where}: {name}: s B A", f"up to {size:g}", expected
    )
  return Module(a, b, magnitude, factor)


def _greatest(array):
  """The greatest absolute value of an array."""
  return float(np.abs(array).max(initial=0))


def scale(rank: int, alpha: float, rslora: bool | None) -> float:
  """Returns the factor of B A."""
  return alpha / (math.sqrt(rank) if rslora else rank)


def pattern(
  values: Mapping[str, Any] | None, names: Sequence[str], default: Any
) -> Any:
  """Returns the first value whose key, a regular expression, ends a name."""
  for key, value in (values or {}).items():
    ending = _ending(key)
    if any(ending.fullmatch(name) for name in names):
      return value
  return default


@functools.lru_cache(maxsize=2**16)
def _ending(key, name="pattern of a rank or alpha"):
  """The pattern of names that end so."""
  _validate.expression(name, key)
  # Flags are allowed at the beginning of a pattern alone.
  return re.compile(_validate.expression(name, rf"(.*\.)?({key})"))


def module_name(tensor: str, modules: Sequence[tuple[str, str]]) -> str:
  """Returns the name of a tensor's module in the transformers library."""
  name = tensor.removesuffix(".weight")
  for old, new in modules:
    name = re.sub(old, new, name)
  return name


def unreadable(names: Iterable[str], kind: str) -> tuple[str, ...]:
  """Returns the names of modules whose adapters PEFT does not read.

  Args:
    names: of modules.
    kind: `model_type` of the model.
  """
  pattern = f"{_ROUTERS}|{_NOT_READ.get(kind, _ROUTERS)}"
  return tuple(name for name in names if re.fullmatch(pattern, name))


def by_tensor(
  adapters: Mapping[str, Module],
  tensors: Mapping[str, safetensors_file.Stored],
  modules: Sequence[tuple[str, str]],
) -> dict[str, Module]:
  """Returns adapters by the names of the tensors that they change.

  Raises:
    ValueError: if there is no such tensor, or one of another shape.
  """
  names = {}
  for tensor in tensors:
    if tensor.endswith(".weight") and len(tensors[tensor].shape) == 2:
      names[tensor.removesuffix(".weight")] = tensor
      names[module_name(tensor, modules)] = tensor
  result = {}
  for name, module in adapters.items():
    if name not in names:
      close = ", ".join(difflib.get_close_matches(name, names, 5, 0))
      expected = f"modules of the model with a weight; near are {close}"
      raise _validate.error("adapter", name, expected)
    shape = module.b.shape[0], module.a.shape[1]
    if tensors[names[name]].shape != shape:
      expected = f"{tensors[names[name]].shape}, that of the model's weight"
      raise _validate.error(f"adapter: {name}", f"shape {shape}", expected)
    result[names[name]] = module
  return result


def merged(
  adapters: Mapping[str, Module],
  tensors: Mapping[str, safetensors_file.Stored],
  modules: Sequence[tuple[str, str]],
) -> dict[str, safetensors_file.Stored]:
  """Returns the tensors with the adapters in them, not yet read."""
  changed = {}
  for name, module in by_tensor(adapters, tensors, modules).items():
    stored = tensors[name]
    changed[name] = stored._replace(
      read=lambda stored=stored, module=module: module.merged(stored.read())
    )
  return {**tensors, **changed}
