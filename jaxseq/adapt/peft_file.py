"""Adapters in the files of the PEFT library.

    config, variables = huggingface.load(model)
    adapters = peft_file.read(adapter, model)
    variables = lora.attach(variables, adapters)

A parameter here may be made of several tensors there, or of a part of one. What
is read is exact, and `huggingface.load(model, adapter=...)` merges the same. Of
a model that was trained here, a file of `jaxseq.models` or its directory, the
modules have the names of the parameters, with dots, and only `read` knows them.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import os
import pathlib

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq.adapt import _own_models
from jaxseq.adapt import lora
from jaxseq.interop import _model_files
from jaxseq.interop import peft_modules
from jaxseq.interop import safetensors_file

_UNREADABLE = (
  "PEFT reads no file with adapters of %d modules like %s in models of type "
  "%s. Such a file is read and served here; leave these modules out of the "
  "targets for one that PEFT reads."
)


def names(
  model: str | os.PathLike, *, context: int | None = None
) -> dict[str, tuple[str, ...]]:
  """Returns the names that PEFT has for the weights of a model.

  Args:
    model: the model's directory, or its own file.
    context: see `huggingface.load`.

  Returns:
    Names of modules by the paths of parameters, for `lora.match`.
  """
  opened = _own_models.open_any(model, context)
  return {
    path: tuple(
      peft_modules.module_name(name, opened.modules) for name in place.names
    )
    for path, place in opened.places.items()
    if _is_of_matrices(opened, place)
  }


def _is_of_matrices(opened, place):
  """True for a parameter of tensors that may all be modules' weights."""
  tensors = map(opened.tensors.get, place.names)
  return all(each is not None and len(each.shape) == 2 for each in tensors)


def check_readable(modules: Iterable[str], model: str | os.PathLike) -> None:
  """Warns if PEFT does not read adapters of modules.

  Args:
    modules: PEFT's names of them, such as `names` returns.
    model: the model's directory, or its own file.
  """
  _warn(modules, _own_models.open_any(model, None))


def _warn(modules, opened):
  """Warns about modules whose adapters PEFT refuses."""
  lost = peft_modules.unreadable(modules, opened.kind)
  if lost:
    logging.warning(_UNREADABLE, len(lost), lost[0], opened.kind)


def read(
  directory: str | os.PathLike,
  model: str | os.PathLike,
  *,
  context: int | None = None,
) -> dict[str, lora.Factors]:
  """Reads adapters to go on training, or to attach.

  Of a parameter that is made of several tensors A is that of all of them, one
  beside the other, and B has zeros where a tensor meets the A of another;
  training may change these, too.

  Args:
    directory: with adapter_config.json and adapter_model.safetensors.
    model: the model's directory, or its own file.
    context: see `huggingface.load`.

  Returns:
    Factors by the paths of parameters.

  Raises:
    ValueError: if the adapter is of another model or kind, or of a weight that
      stands for many here, as those of experts do.
  """
  opened = _own_models.open_any(model, context)
  adapters = peft_modules.by_tensor(
    peft_modules.read(directory), opened.tensors, opened.modules
  )
  result, used = {}, set()
  for path, place in opened.places.items():
    touched = [name for name in place.names if name in adapters]
    if not (touched and _is_of_matrices(opened, place)):
      continue
    factors = _factors(opened, place, adapters)
    if factors is not None:
      result[path] = factors
      used |= set(touched)
  if used != adapters.keys():
    lost = min(adapters.keys() - used)
    expected = "the weight of a product; load(adapter=...) merges any"
    raise _validate.error(f"{directory}: adapter", lost, expected)
  return result


def _factors(opened, place, adapters):
  """Returns the factors of a parameter; None if they are no two matrices."""
  modules = [adapters.get(name) for name in place.names]
  present = [module for module in modules if module is not None]
  rank = sum(module.a.shape[0] for module in present)
  # Of an alpha of 0 nothing is left but zeros.
  scale = present[0].scale or 1.0
  blocks, start = [], 0
  for name, module in zip(place.names, modules):
    block = np.zeros((opened.tensors[name].shape[0], rank), np.float32)
    if module is not None:
      stop = start + module.a.shape[0]
      block[:, start:stop] = module.b * (module.scale / scale)
      start = stop
    blocks.append(block)
  b = place.read(blocks, np.float32)
  if b.ndim < 2 or b.shape[-2] != rank or place.offset:
    return None
  a = np.concatenate([module.a for module in present]).T
  # Tensors on top of each other: each has its own part of B, and zeros beside.
  a = np.broadcast_to(a, (*b.shape[:-2], *a.shape))
  magnitude = None
  if any(module.magnitude is not None for module in present):
    magnitude = _magnitude(opened, place, modules)
  arrays = (a, b) if magnitude is None else (a, b, magnitude)
  return lora.Factors(*map(jnp.asarray, arrays), scale=scale)


def _magnitude(opened, place, modules):
  """Returns DoRA's magnitudes of the columns, norms where there are none."""
  vectors = []
  for name, module in zip(place.names, modules):
    if module is None or module.magnitude is None:
      weight = opened.tensors[name].read().astype(np.float32)
      vectors.append(np.linalg.norm(weight, axis=1, keepdims=True))
    else:
      vectors.append(module.magnitude[:, None])
  # A factor of the parameter is one of its norm.
  return np.abs(place.read(vectors, np.float32)[..., 0, :])


def write(
  directory: str | os.PathLike,
  adapters: Mapping[str, lora.Factors],
  model: str | os.PathLike,
  *,
  context: int | None = None,
) -> None:
  """Writes adapters so that PEFT, and `read`, can read them.

  Every tensor that a parameter is made of gets its A, and its part of B. Those
  of a tensor that several parameters have rows of stand beside each other, and
  the rank is their sum; parameters without an adapter have zeros there. PEFT
  reads no adapters of routers, of `out_proj` in Mamba, Mamba-2, Falcon-Mamba,
  Falcon-H1 and Nemotron-H, and of feed-forwards in Qwen3-Next: a warning is
  logged then, and `read` reads them.

  Args:
    directory: it is made if absent; files of the same names are replaced.
    adapters: factors by paths of the model's parameters, in layers that are
      not scanned.
    model: the directory or the file of the model that they are of.
    context: see `huggingface.load`.

  Raises:
    ValueError: if there is none, or no such parameter, it is made of no weights
      of modules, or a part of the adapters, or of a tensor, has magnitudes.
  """
  if not adapters:
    raise _validate.error("adapters", {}, "at least one")
  opened = _own_models.open_any(model, context)
  blocks: dict[str, list] = {}
  for path, factors in adapters.items():
    place = opened.places.get(path)
    if place is None or not _is_of_matrices(opened, place):
      expected = "paths of weights that are those of the model's modules"
      raise _validate.error("adapters", path, expected)
    for name, block in _blocks(place, factors):
      blocks.setdefault(name, []).append(block)
  tensors, modules = {}, {}
  for tensor, those in blocks.items():
    name = peft_modules.module_name(tensor, opened.modules)
    module = _joined(tensor, those, opened.tensors[tensor].shape)
    modules[name] = module
    key = f"{peft_modules.PREFIX}{name}"
    tensors[f"{key}.lora_A.weight"] = module.a
    tensors[f"{key}.lora_B.weight"] = module.b
    if module.magnitude is not None:
      tensors[f"{key}.lora_magnitude_vector"] = module.magnitude
  plain = [name for name, each in modules.items() if each.magnitude is None]
  if 0 < len(plain) < len(modules):
    # The file says once of all of them whether there are some.
    raise ValueError(
      f"adapters: {plain[0]} has no magnitudes, expected them in all, or none."
    )
  _warn(modules, opened)
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  path = directory / peft_modules.WEIGHTS
  safetensors_file.write(path, tensors, {"format": "pt"})
  contents = _contents(modules, os.fspath(model))
  _model_files.write_json(directory / peft_modules.CONFIG, contents)


def _blocks(place, factors):
  """Yields the A, B and magnitudes of the tensors of a parameter, by names."""
  a, b, magnitude = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float32),
    (factors.a, factors.b, factors.magnitude),
  )
  parts = place.write(b * np.float32(factors.scale))
  norms = [None] * len(parts)
  if magnitude is not None:
    plain = magnitude[..., None, :] / np.abs(np.float32(place.scale))
    norms = place.to_torch(plain)
  every = a if a.ndim == 3 else [a] * len(parts)
  for name, one, part, norm in zip(place.names, every, parts, norms):
    yield name, (place.rows, one.T, part, norm)


def _joined(name, blocks, shape):
  """Returns the module of a tensor, of parts that several parameters have."""
  a = np.concatenate([a for _, a, _, _ in blocks])
  b = np.zeros((shape[0], a.shape[0]), np.float32)
  magnitudes = np.zeros((shape[0], 1), np.float32)
  start, covered = 0, np.zeros((shape[0], 1), bool)
  for rows, one, part, norm in blocks:
    stop = start + one.shape[0]
    index = rows.index if rows else slice(None)
    b[index, start:stop] = part
    if norm is not None:
      magnitudes[index] = norm
      covered[index] = True
    start = stop
  if covered.any() and not covered.all():
    raise ValueError(
      f"adapters: {name} has magnitudes in a part of its rows, expected them "
      "in all of its parameters, or none."
    )
  magnitude = magnitudes[:, 0] if covered.all() else None
  return peft_modules.Module(a, b, magnitude, 1.0)


def _contents(modules, model):
  """Returns the contents of adapter_config.json; s is 1 of every module."""
  ranks = {name: module.a.shape[0] for name, module in modules.items()}
  rank = max(ranks.values())
  others = {name: each for name, each in ranks.items() if each != rank}
  return {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": model,
    "r": rank,
    "lora_alpha": rank,
    "rank_pattern": others,
    "alpha_pattern": others,
    "target_modules": sorted(modules),
    "use_dora": any(m.magnitude is not None for m in modules.values()),
    "use_rslora": False,
    "lora_dropout": 0.0,
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "modules_to_save": None,
  }
