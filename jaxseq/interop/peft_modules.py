"""LoRA adapters in the PEFT library's format.

A directory has `adapter_config.json` and `adapter_model.safetensors`. For each
adapted module, a torch.nn.Linear with a weight W (out, in), the latter has A
(r, in) and B (out, r), and with DoRA a magnitude (out,). The weight becomes W +
s B A, and with DoRA its row i is multiplied by magnitude[i] and divided by the
row's norm (arXiv:2106.09685, arXiv:2312.03732, arXiv:2402.09353). An embedding
has A (r, tokens) and B (width, r), with W + s (B A)^T; experts have joint
parameters (`target_parameters`). Copies of whole modules (`modules_to_save`)
replace the model's tensors.
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
from typing import NamedTuple

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.interop import _model_files
from jaxseq.interop import _peft_experts
from jaxseq.interop import safetensors_file

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
_KEY = re.compile(
  rf"(?:{re.escape(PREFIX)})?(.+?)"
  r"\.(?:lora_(A|B)\.weight|lora_(embedding_A|embedding_B)|"
  r"lora_(magnitude_vector)(?:\.weight)?)"
)
# Suffix of modules that PEFT has wrapped.
_BASE = ".base_layer"
# Fields that must be absent, null or empty: they change the computation.
_REFUSED = (
  *("layer_replication", "trainable_token_indices", "ensure_weight_tying"),
  *("megatron_config", "alora_invocation_tokens"),
  *("lora_bias", "use_qalora", "use_bdlora", "fan_in_fan_out"),
  *("arrow_config", "kasa_config", "velora_config", "monteclora_config"),
)
# Maximum number of ways to match all patterns of a file with all names, which
# take seconds, and maximum length of a pattern.
_MOST_TRIES, _LONGEST = 3 * 10**8, 1000
_LARGEST = float(np.finfo(np.float32).max)
# Modules that PEFT adapts only as parameters: routers, which are not linear
# layers there, and the modules that it treats as experts in a model_type.
_ROUTERS = r".*\.((mlp|mixer)\.gate|(feed_forward|block_sparse_moe)\.router)"
_PARAMETERS = {"qwen3_next": r".*\.(gate|up|down)_proj"}
# Modules that PEFT rejects in some model_types.
_NOT_READ = dict.fromkeys(
  ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"),
  re.compile(r".*\.(out_proj|conv1d)"),
)
# Initializations that leave the base model's weights unchanged.
_INITS = (True, False, "gaussian", "orthogonal", None)


@dataclasses.dataclass(frozen=True)
class Module:
  """The adapter of one weight (out, in), or of all experts' (experts, out, in).

  Attributes:
    a: (r, in), or (experts, r, in).
    b: (out, r), or (experts, out, r).
    magnitude: (out,), or None.
    scale: the factor s.
  """

  a: np.ndarray
  b: np.ndarray
  magnitude: np.ndarray | None
  scale: float

  def merged(self, weight: np.ndarray) -> np.ndarray:
    """Returns the weight with the adapter merged, at least float32."""
    dtype = np.promote_types(weight.dtype, np.float32)
    total = weight.astype(dtype) + self.scale * (self.b @ self.a).astype(dtype)
    if self.magnitude is None:
      return total
    norm = np.linalg.norm(total, axis=1)
    return total * (self.magnitude / np.where(norm == 0, 1, norm))[:, None]


class Adapter(NamedTuple):
  """The contents of an adapter directory.

  Attributes:
    modules: adapters by the names of their modules, or of experts' parameters.
    copies: tensors of whole modules, by name, that replace the model's.
    listed: names of the modules all of whose tensors are copied.
  """

  modules: dict[str, Module]
  copies: dict[str, np.ndarray]
  listed: tuple[str, ...] = ()


def read(directory: str | os.PathLike) -> Adapter:
  """Reads the adapters and copies of a directory.

  Raises:
    ValueError: if there are no adapters, they are damaged, or of another kind.
  """
  directory = pathlib.Path(directory)
  path = directory / CONFIG
  contents = _model_files.read_json(path, constants=False)
  _check(contents, str(path))
  if not (directory / WEIGHTS).is_file():
    raise ValueError(f"{directory}: got no weights, expected {WEIGHTS}.")
  where = str(directory / WEIGHTS)
  parts: dict[str, dict[str, np.ndarray]] = {}
  copies = {}
  for key, array in safetensors_file.read(directory / WEIGHTS).items():
    match = _KEY.fullmatch(key)
    if not safetensors_file.is_finite(array):
      raise ValueError(f"{where}: {key} is not finite.")
    if match is None:
      if ".lora_" in key:
        expected = f"{PREFIX}MODULE.lora_A.weight and its like, or copies"
        raise validate.error(where, key, expected)
      name = key.removeprefix(PREFIX).replace(f"{_BASE}.", ".")
      copies[name] = array
    else:
      kind = match[2] or match[3] or "magnitude"
      parts.setdefault(match[1], {})[kind] = array.astype(np.float32)
  if not (parts or copies):
    raise ValueError(f"{where} holds no adapters.")
  listed = contents.get("modules_to_save") or []
  validate.instance(f"{path}: modules_to_save", listed, list, "a list")
  _check_patterns(contents, parts or copies, str(path))
  modules = {}
  for name, arrays in parts.items():
    target = _parameter(name, contents, where)
    one = _module(name, target or name, arrays, contents, where)
    is_of_experts = target is not None and not target.endswith(".weight")
    modules[target if is_of_experts else name] = one
  return Adapter(modules, copies, tuple(map(str, listed)))


def _parameter(name, contents, where):
  """Returns the parameter that a wrapped module adapts; None for a layer."""
  targets = contents.get("target_parameters") or []
  validate.instance(f"{where}: target_parameters", targets, list, "a list")
  container = name
  while container.endswith(_BASE):
    container = container.removesuffix(_BASE)
  depth = (len(name) - len(container)) // len(_BASE)

  def is_hit(parameter):
    return any(f".{parameter}".endswith(f".{target}") for target in targets)

  names = ["weight"]
  if container.endswith("experts"):
    names = list(_peft_experts.PARAMETERS)
  hits = [f"{container}.{x}" for x in names if is_hit(f"{container}.{x}")]
  if depth >= max(1, len(hits)):
    expected = f"parameters among target_parameters of {CONFIG}"
    raise validate.error(where, name, expected)
  return hits[-1 - depth] if hits else None


def _check(contents, where):
  """Rejects adapters with another computation."""
  kind = contents.get("peft_type")
  validate.choice(f"{where}: peft_type", kind, ("LORA",))
  for field in _REFUSED:
    if contents.get(field):
      expected = "none: such adapters are not read"
      raise validate.error(f"{where}: {field}", contents[field], expected)
  for field, choices in (("bias", ("none",)), ("init_lora_weights", _INITS)):
    value = contents.get(field, choices[0])
    validate.choice(f"{where}: {field}", value, choices)
  validate.positive(f"{where}: r", contents.get("r", 8))
  validate.number(f"{where}: lora_alpha", contents.get("lora_alpha", 8))
  for field in ("use_dora", "use_rslora"):
    value = contents.get(field)
    validate.instance(f"{where}: {field}", value, bool | None, "a boolean")


def _check_patterns(contents, names, where):
  """Rejects invalid values, and patterns with too many ways to match."""
  longest, tries = max(map(len, names)), 0
  checks = (("rank", validate.positive), ("alpha", validate.number))
  for kind, check in checks:
    values = contents.get(f"{kind}_pattern") or {}
    place = f"{where}: {kind}_pattern"
    validate.instance(place, values, dict, "an object of numbers")
    for key, value in values.items():
      check(f"{place}: {key[:80]}", value)
      if len(key) > _LONGEST:
        expected = f"at most {_LONGEST}"
        raise validate.error(f"{place}: characters", len(key), expected)
      _ending(key, place)
      # Each pattern is preceded by one more repetition.
      ways = (longest + 2) * limits.ways(key, longest)
      tries += len(names) * ways
      if tries > _MOST_TRIES:
        expected = (
          "a pattern that can be tried in fewer ways: write names out, with "
          "fewer repetitions"
        )
        raise validate.error(place, key[:80], expected)


def _module(name, target, arrays, contents, where):
  """Returns the adapter of a module, whose name for ranks is `target`."""
  is_embedding = "embedding_A" in arrays
  wanted = {"A", "B"} | ({"magnitude"} if contents.get("use_dora") else set())
  if is_embedding:
    wanted = {"embedding_A", "embedding_B"}
  if arrays.keys() != wanted:
    expected = f"{sorted(wanted)}, by {CONFIG}"
    raise validate.error(f"{where}: {name}", sorted(arrays), expected)
  a, b = (arrays[each] for each in sorted(wanted - {"magnitude"}))
  magnitude = arrays.get("magnitude")
  rank = pattern(contents.get("rank_pattern"), [target], contents.get("r", 8))
  alpha = pattern(
    contents.get("alpha_pattern"), [target], contents.get("lora_alpha", 8)
  )
  is_of_experts = name != target and not target.endswith(".weight")
  rows = a.shape[0] if a.ndim == 2 else 0
  if is_of_experts and rows % rank == 0 and rows:
    fits = b.ndim == 2 and b.shape[1] == rows
  else:
    fits = rows == rank and b.ndim == 2 and b.shape[1] == rank
  if not fits:
    expected = f"(r, in) and (out, r) with r = {rank}, by {CONFIG}"
    got = f"shape {a.shape} and {b.shape}"
    raise validate.error(f"{where}: {name}", got, expected)
  if magnitude is not None and magnitude.shape != b.shape[:1]:
    expected = f"{b.shape[:1]} of lora_magnitude_vector"
    raise validate.error(f"{where}: {name}", magnitude.shape, expected)
  factor = scale(rank, alpha, contents.get("use_rslora"))
  # An upper bound of the numbers of B A.
  size = rank * _greatest(a) * _greatest(b) * abs(factor)
  if not size <= _LARGEST:
    expected = "numbers whose product float32 holds"
    raise validate.error(f"{where}: {name}: s B A", f"up to {size:g}", expected)
  if is_embedding:
    a, b = b.T, a.T
  elif is_of_experts:
    a, b = _peft_experts.unpacked(a, b, rank)
  return Module(a, b, magnitude, factor)


def _greatest(array):
  """Returns the largest absolute value of an array."""
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
  """Compiles a pattern of names with this ending."""
  validate.expression(name, key)
  # Flags are allowed only at the start of a pattern.
  return re.compile(validate.expression(name, rf"(.*\.)?({key})"))


def module_name(tensor: str, modules: Sequence[tuple[str, str]]) -> str:
  """Returns the name of a tensor's module in the transformers library."""
  name = tensor.removesuffix(".weight")
  for old, new in modules:
    name = re.sub(old, new, name)
  return name


def tensor_name(tensor: str, modules: Sequence[tuple[str, str]]) -> str:
  """Returns the name of a tensor in the transformers library."""
  weight = ".weight" if tensor.endswith(".weight") else ""
  return module_name(tensor, modules) + weight


def is_parameter(name: str, kind: str) -> bool:
  """Returns whether PEFT adapts a module's weight only as a parameter.

  Args:
    name: name of the module.
    kind: `model_type` of the model.
  """
  return (
    re.fullmatch(f"{_ROUTERS}|{_PARAMETERS.get(kind, '')}", name) is not None
  )


def unreadable(
  names: Iterable[str], kind: str, *, dora: bool = False
) -> tuple[str, ...]:
  """Returns the names of modules whose adapters PEFT does not read.

  Args:
    names: names of modules.
    kind: `model_type` of the model.
    dora: whether adapters have magnitudes, which parameters cannot have.
  """
  refused = _NOT_READ.get(kind)
  return tuple(
    name
    for name in names
    if (refused and refused.fullmatch(name))
    or (dora and (is_parameter(name, kind) or ".experts." in name))
  )


def stacks(
  tensors: Mapping[str, safetensors_file.Stored],
  modules: Sequence[tuple[str, str]],
) -> dict[str, _peft_experts.Stack]:
  """Returns the tensors of experts' parameters, by parameter name."""
  return _peft_experts.stacks(
    {
      tensor: (module_name(tensor, modules), stored.shape)
      for tensor, stored in tensors.items()
    }
  )


def by_tensor(
  adapters: Mapping[str, Module],
  tensors: Mapping[str, safetensors_file.Stored],
  modules: Sequence[tuple[str, str]],
) -> dict[str, Module]:
  """Returns adapters by the names of the tensors that they change.

  Raises:
    ValueError: if there is no such tensor, or it has another shape.
  """
  names = {}
  for tensor in tensors:
    if tensor.endswith(".weight") and len(tensors[tensor].shape) == 2:
      names[tensor.removesuffix(".weight")] = tensor
      names[module_name(tensor, modules)] = tensor
  together = stacks(tensors, modules)
  result = {}
  for name, module in adapters.items():
    if name in together:
      parts = _of_experts(name, module, together[name])
    elif name in names:
      parts = {names[name]: module}
    else:
      raise _unknown(name, [*names, *together], "with a weight")
    for tensor, part in parts.items():
      shape = *part.b.shape[:-1], part.a.shape[-1]
      if tensors[tensor].shape != shape:
        expected = f"{tensors[tensor].shape}, that of the model's weight"
        raise validate.error(f"adapter: {name}", f"shape {shape}", expected)
      result[tensor] = part
  return result


def _of_experts(name, module, stack):
  """Returns the adapters of all experts' tensors."""
  count, rows = stack.experts, sum(stack.sizes)
  if module.b.shape[:2] != (count, rows):
    expected = f"{count} experts with {rows} rows each"
    raise validate.error(f"adapter: {name}", module.b.shape[:2], expected)
  parts = stack.split(module.b)
  if stack.is_whole:
    return dict.fromkeys(parts, module)
  return {
    tensor: Module(module.a[number], parts[tensor], None, module.scale)
    for part in stack.parts
    for number, tensor in enumerate(part)
  }


def _unknown(name, known, description):
  """Returns the error of a name that the model does not have."""
  close = ", ".join(difflib.get_close_matches(name, known, 5, 0))
  expected = f"modules of the model {description}; near are {close}"
  return validate.error("adapter", name, expected)


def copied(
  adapter: Adapter,
  tensors: Mapping[str, safetensors_file.Stored],
  modules: Sequence[tuple[str, str]],
) -> dict[str, np.ndarray]:
  """Returns copies by the names of the tensors that they replace.

  Raises:
    ValueError: if there is no such tensor, it has another shape, or a tensor of
      a listed module has no copy.
  """
  names = {tensor_name(tensor, modules): tensor for tensor in tensors}
  together = stacks(tensors, modules)
  of_experts = {x for stack in together.values() for x in stack.tensors}
  for name, tensor in names.items():
    is_listed = any(f".{each}." in f".{name}" for each in adapter.listed)
    if is_listed and name not in adapter.copies and tensor not in of_experts:
      expected = f"a copy in {WEIGHTS}, as modules_to_save has the module"
      raise validate.error("adapter", f"no {name}", expected)
  result = {}
  for name, array in adapter.copies.items():
    if name in together and array.ndim == 3:
      parts = together[name].split(array)
    elif name in names:
      parts = {names[name]: array}
    else:
      raise _unknown(name, [*names], "with this tensor")
    for tensor, part in parts.items():
      if tensors[tensor].shape != part.shape:
        expected = f"{tensors[tensor].shape}, that of the model's tensor"
        raise validate.error(f"adapter: {name}", part.shape, expected)
    result |= parts
  return result


def merged(
  adapter: Adapter,
  tensors: Mapping[str, safetensors_file.Stored],
  modules: Sequence[tuple[str, str]],
) -> dict[str, safetensors_file.Stored]:
  """Returns the tensors with the adapters merged, not yet read."""
  changed = dict(tensors)
  for name, array in copied(adapter, tensors, modules).items():
    changed[name] = changed[name]._replace(read=lambda array=array: array)
  for name, module in by_tensor(adapter.modules, tensors, modules).items():
    stored = changed[name]
    changed[name] = stored._replace(
      read=lambda stored=stored, module=module: module.merged(stored.read())
    )
  return changed
