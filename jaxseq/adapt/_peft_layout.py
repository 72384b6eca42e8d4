"""The layout of adapters and copies in the files of the PEFT library."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import numpy as np

from jaxseq import validate
from jaxseq.interop import _peft_experts
from jaxseq.interop import peft_modules


@dataclasses.dataclass
class Layout:
  """Adapters as stored in a file.

  Attributes:
    tensors: arrays by their names in the file.
    ranks: adapter ranks by module name.
    parameters: names of parameters that are adapted without their modules.
    parameters_rank: their common rank; 0 without such parameters.
    dora: whether there are magnitudes.
  """

  tensors: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  ranks: dict[str, int] = dataclasses.field(default_factory=dict)
  parameters: list[str] = dataclasses.field(default_factory=list)
  parameters_rank: int = 0
  dora: bool = False

  def contents(self, model: str) -> dict[str, Any]:
    """Returns the contents of adapter_config.json; all modules have scale 1."""
    # PEFT warns about patterns that match parameters.
    rank = self.parameters_rank or max(self.ranks.values(), default=8)
    others = {name: each for name, each in self.ranks.items() if each != rank}
    return {
      "peft_type": "LORA",
      "task_type": "CAUSAL_LM",
      "base_model_name_or_path": model,
      "r": rank,
      "lora_alpha": rank,
      "rank_pattern": others,
      "alpha_pattern": others,
      "target_modules": sorted(self.ranks),
      "target_parameters": sorted(self.parameters) or None,
      "use_dora": self.dora,
      "use_rslora": False,
      "lora_dropout": 0.0,
      "bias": "none",
      "fan_in_fan_out": False,
      "inference_mode": True,
      "init_lora_weights": True,
      "modules_to_save": None,
    }


def of_modules(
  modules: Mapping[str, peft_modules.Module], opened: Any
) -> Layout:
  """Returns the layout of adapters by the names of tensors."""
  layout, rest = Layout(), dict(modules)
  layout.dora = any(m.magnitude is not None for m in modules.values())
  pairs = {} if layout.dora else _parameters(rest, opened)
  layout.parameters = sorted(pairs)
  layout.parameters_rank = max(
    (a.shape[-2] for a, _ in pairs.values()), default=0
  )
  for name, pair in pairs.items():
    a, b = _filled_up(*pair, layout.parameters_rank)
    if a.ndim == 3:
      a, b = _peft_experts.packed(a, b)
    layout.tensors |= _named(_wrapped(name, pairs), a, b)
  embedding = opened.places.get("embed/embedding")
  for tensor, module in rest.items():
    name = peft_modules.module_name(tensor, opened.modules)
    layout.ranks[name] = module.a.shape[0]
    key = f"{peft_modules.PREFIX}{name}"
    if embedding is not None and tensor in embedding.names:
      layout.tensors[f"{key}.lora_embedding_A"] = _rows(module.b.T)
      layout.tensors[f"{key}.lora_embedding_B"] = _rows(module.a.T)
      continue
    layout.tensors |= _named(name, module.a, module.b)
    if module.magnitude is not None:
      layout.tensors[f"{key}.lora_magnitude_vector"] = module.magnitude
  return layout


def _parameters(rest, opened):
  """Pops adapters of parameters; returns their A and B by name."""
  pairs = {}
  stacks = peft_modules.stacks(opened.tensors, opened.modules)
  for name, stack in stacks.items():
    taken = {
      tensor: (module.a, module.b)
      for tensor in stack.tensors
      if (module := rest.pop(tensor, None)) is not None
    }
    if taken:
      pairs[name] = stack.join(taken)
  for tensor in list(rest):
    name = peft_modules.module_name(tensor, opened.modules)
    if peft_modules.is_parameter(name, opened.kind):
      module = rest.pop(tensor)
      pairs[f"{name}.weight"] = module.a, module.b
  return pairs


def _filled_up(a, b, rank):
  """Pads A (..., r, in) and B (..., out, r) with zeros to a rank."""
  more = rank - a.shape[-2]
  axes = [(0, 0)] * (a.ndim - 2)
  a = np.pad(a, [*axes, (0, more), (0, 0)])
  return a, np.pad(b, [*axes, (0, 0), (0, more)])


def _rows(array):
  """Returns an array that is contiguous by rows."""
  return np.ascontiguousarray(array)


def _named(name, a, b):
  """Returns A and B by their names in the file."""
  key = f"{peft_modules.PREFIX}{name}"
  return {f"{key}.lora_A.weight": _rows(a), f"{key}.lora_B.weight": _rows(b)}


def _wrapped(name, pairs):
  """Returns the name of the module that PEFT wraps around a parameter."""
  container, _, leaf = name.rpartition(".")
  if leaf == "weight":
    return container
  order = [x for x in _peft_experts.PARAMETERS if f"{container}.{x}" in pairs]
  return container + ".base_layer" * (len(order) - 1 - order.index(leaf))


@dataclasses.dataclass
class Copies:
  """Copies of whole modules as stored in a file.

  Attributes:
    tensors: arrays by their names in the file.
    modules: names of the modules.
  """

  tensors: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  modules: set[str] = dataclasses.field(default_factory=set)


def of_copies(copies: Mapping[str, jax.Array], opened: Any) -> Copies:
  """Returns the layout of fully trained parameters.

  Raises:
    ValueError: if there is no such parameter, or its module holds other
      modules.
  """
  changed: dict[str, np.ndarray] = {}
  for path, value in copies.items():
    place = opened.places.get(path)
    names = () if place is None else place.names
    if not names or any(name not in opened.tensors for name in names):
      expected = "paths of the model's parameters"
      raise validate.error("copies", path, expected)
    for name, part in zip(names, place.write(np.asarray(value, np.float32))):
      if place.rows:
        whole = changed.get(name)
        if whole is None:
          whole = opened.tensors[name].read().astype(np.float32)
        part = place.rows.put(whole, part)
      if part.shape != opened.tensors[name].shape:
        expected = f"{opened.tensors[name].shape} of {name}"
        raise validate.error(f"copies: {path}", part.shape, expected)
      changed[name] = np.ascontiguousarray(part)
  targets = {
    tensor: peft_modules.tensor_name(tensor, opened.modules)
    for tensor in opened.tensors
  }
  result = Copies()
  for name in changed:
    module = targets[name].rpartition(".")[0]
    result.modules.add(module)
    for tensor, target in targets.items():
      if not target.startswith(f"{module}."):
        continue
      if target.rpartition(".")[0] != module or not _is_copied(target):
        expected = (
          "parameters of modules that hold no other module, such as norms, "
          "the embedding and the read-out"
        )
        raise validate.error("copies", module, expected)
      array = changed.get(tensor)
      if array is None:
        array = opened.tensors[tensor].read().astype(np.float32)
      result.tensors[f"{peft_modules.PREFIX}{target}"] = array
  return result


def _is_copied(name):
  """False for tensors that are a part of one PEFT tensor."""
  last = name.split(".")[-2]
  return name.endswith((".weight", ".bias")) and last not in (
    *("q_conv1d", "k_conv1d", "v_conv1d"),
    *("experts", "input_linear", "output_linear"),
  )
