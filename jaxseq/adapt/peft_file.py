"""Adapter files of the PEFT library.

    config, variables = huggingface.load(model)
    adapters = peft_file.read(adapter, model)
    variables = lora.attach(variables, adapters)

A parameter here may consist of several tensors of the file, or of a part of
one. Reading is exact, and equal to the adapters that `huggingface.load(model,
adapter=...)` merges. For a model trained here, a file of `jaxseq.models` or its
directory, modules are named by the parameters' dotted paths, and only `read`
can read them.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import os
import pathlib

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.adapt import _own_models
from jaxseq.adapt import _peft_layout
from jaxseq.adapt import lora
from jaxseq.interop import _model_files
from jaxseq.interop import _tensors
from jaxseq.interop import huggingface
from jaxseq.interop import peft_modules
from jaxseq.interop import safetensors_file

_UNREADABLE = (
  "PEFT reads no file with %sadapters of %d modules like %s in models of type "
  "%s. Such a file is read and served here; leave these modules out of the "
  "targets for one that PEFT reads."
)
_EMBEDDING = "embed/embedding"


def names(
  model: str | os.PathLike, *, context: int | None = None
) -> dict[str, tuple[str, ...]]:
  """Returns PEFT's names of a model's weights.

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


def _parameters(opened):
  """Returns the places of the network's parameters."""
  if not isinstance(opened, huggingface.OpenedModel):
    return opened.places
  paths = _tensors.shapes(opened.config, opened.vocab_size)
  return {path: opened.places[path] for path in paths}


def _is_of_matrices(opened, place):
  """Returns whether all tensors of a parameter may be weights of modules."""
  tensors = list(map(opened.tensors.get, place.names))
  if any(each is None for each in tensors):
    return False
  if all(len(each.shape) == 2 for each in tensors):
    return True
  return place.names[0] in _experts(opened)


def _experts(opened):
  """Returns the parameters of experts, by the names of their tensors."""
  found = peft_modules.stacks(opened.tensors, opened.modules)
  return {
    tensor: (name, stack)
    for name, stack in found.items()
    for tensor in stack.tensors
  }


def unreadable(
  modules: Iterable[str], model: str | os.PathLike, *, dora: bool = False
) -> tuple[str, ...]:
  """Returns the modules whose adapters PEFT cannot read.

  Args:
    modules: their PEFT names, such as `names` returns.
    model: the model's directory, or its own file.
    dora: whether the adapters have magnitudes.
  """
  kind = _own_models.open_any(model, None).kind
  return peft_modules.unreadable(modules, kind, dora=dora)


def check_readable(
  modules: Iterable[str], model: str | os.PathLike, *, dora: bool = False
) -> None:
  """Logs a warning if PEFT cannot read adapters of modules.

  Args:
    modules: see `unreadable`, also for the next two.
    model: the model's directory, or its own file.
    dora: whether the adapters have magnitudes.
  """
  _warn(modules, _own_models.open_any(model, None), dora)


def _warn(modules, opened, dora):
  """Warns about modules whose adapters PEFT cannot read."""
  lost = peft_modules.unreadable(modules, opened.kind, dora=dora)
  if lost:
    said = "DoRA " if dora else ""
    logging.warning(_UNREADABLE, said, len(lost), lost[0], opened.kind)


def read(
  directory: str | os.PathLike,
  model: str | os.PathLike,
  *,
  context: int | None = None,
) -> dict[str, lora.Factors]:
  """Reads adapters to attach or to train further.

  If a parameter consists of several tensors, its A concatenates theirs, and B
  has zeros between a tensor and the A of another; training may change these
  zeros.

  Args:
    directory: contains adapter_config.json and adapter_model.safetensors.
    model: the model's directory, or its own file.
    context: see `huggingface.load`.

  Returns:
    Factors by the paths of parameters.

  Raises:
    ValueError: if the adapter is for another model or of another kind, for a
      weight that is not a parameter here, or for an embedding tied to the
      read-out; or if the directory has copies of modules, which
      `read_with_copies` returns.
  """
  adapters, copies = read_with_copies(directory, model, context=context)
  if copies:
    raise validate.error(
      f"{directory}: copies of modules",
      sorted(copies)[0],
      "adapters alone: read_with_copies returns both, load(adapter=...) merges "
      "them",
    )
  return adapters


def read_with_copies(
  directory: str | os.PathLike,
  model: str | os.PathLike,
  *,
  context: int | None = None,
) -> tuple[dict[str, lora.Factors], dict[str, jax.Array]]:
  """Reads adapters and fully trained parameters.

  Args:
    directory: directory of the adapter; arguments and errors are those of
      `read`.
    model: the model's directory, or its own file.
    context: see `huggingface.load`.

  Returns:
    Factors and copies (`modules_to_save` of PEFT), by the paths of parameters;
    copies replace the parameters.
  """
  opened = _own_models.open_any(model, context)
  contents = peft_modules.read(directory)
  tensors = _replaced(opened, contents)
  copies = {
    path: jnp.asarray(
      place.read([tensors[name].read() for name in place.names], np.float32)
    )
    for path, place in _parameters(opened).items()
    if all(name in tensors for name in place.names)
    and any(tensors[name] is not opened.tensors[name] for name in place.names)
  }
  adapters = peft_modules.by_tensor(
    contents.modules, opened.tensors, opened.modules
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
    raise validate.error(f"{directory}: adapter", lost, expected)
  _check_tied(opened, result.keys() | copies.keys())
  return result, copies


def _replaced(opened, adapter):
  """Returns the model's tensors, some replaced by an adapter's copies."""
  copied = {
    name: array
    for name, array in peft_modules.copied(
      adapter, opened.tensors, opened.modules
    ).items()
    # PEFT writes embeddings with their adapters, changed or not.
    if not np.array_equal(array, opened.tensors[name].read())
  }
  return {
    name: stored._replace(read=lambda name=name: copied[name])
    if name in copied
    else stored
    for name, stored in opened.tensors.items()
  }


def _check_tied(opened, paths):
  """Rejects adapters of a tied embedding: PEFT does not adapt its read-out."""
  config = getattr(opened, "config", None)
  if _EMBEDDING in paths and config is not None and config.tie:
    expected = (
      "none of a tied embedding, as PEFT leaves the read-out as it was; "
      "load(adapter=...) reads such a file"
    )
    raise validate.error("adapters", _EMBEDDING, expected)


def _factors(opened, place, adapters):
  """Returns a parameter's factors; None if they are not two matrices."""
  modules = [adapters.get(name) for name in place.names]
  present = [module for module in modules if module is not None]
  # If alpha is 0, B is zero.
  scale = present[0].scale or 1.0
  if place is opened.places.get(_EMBEDDING):
    (module,) = present
    return _plain(module.b, module.a * (module.scale / scale), scale)
  if present[0].a.ndim == 3 or _is_stacked(opened, place):
    return _stacked_factors(opened, place, modules, scale)
  rank = sum(module.a.shape[0] for module in present)
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
  # Stacked tensors: each has its own block of B, and zeros elsewhere.
  a = np.broadcast_to(a, (*b.shape[:-2], *a.shape))
  magnitude = None
  if any(module.magnitude is not None for module in present):
    magnitude = _magnitude(opened, place, modules)
  arrays = (a, b) if magnitude is None else (a, b, magnitude)
  return lora.Factors(*map(jnp.asarray, arrays), scale=scale)


def _plain(a, b, scale):
  """Returns factors without magnitudes."""
  return lora.Factors(jnp.asarray(a), jnp.asarray(b), scale=scale)


def _is_stacked(opened, place):
  """True for a parameter (n, ...) that stacks n experts' tensors."""
  return len(place.names) > 1 and place.names[0] in _experts(opened)


def _stacked_factors(opened, place, modules, scale):
  """Returns the factors of the experts' matrices, padded to one rank."""
  if modules[0] is not None and modules[0].a.ndim == 3:
    (module,) = modules
    a, b = module.a, module.b * np.float32(module.scale / scale)
    return _plain(a.swapaxes(1, 2), place.read([b], np.float32), scale)
  if any(m is not None and m.magnitude is not None for m in modules):
    return None
  rank = max(m.a.shape[0] for m in modules if m is not None)
  every_a, every_b = [], []
  for name, module in zip(place.names, modules):
    rows, columns = opened.tensors[name].shape
    a = np.zeros((rank, columns), np.float32)
    b = np.zeros((rows, rank), np.float32)
    if module is not None:
      own_rank = module.a.shape[0]
      a[:own_rank], b[:, :own_rank] = (
        module.a,
        module.b * (module.scale / scale),
      )
    every_a.append(a.T)
    every_b.append(b)
  return _plain(np.stack(every_a), place.read(every_b, np.float32), scale)


def _magnitude(opened, place, modules):
  """Returns DoRA's column magnitudes; norms for modules without magnitudes."""
  vectors = []
  for name, module in zip(place.names, modules):
    if module is None or module.magnitude is None:
      weight = opened.tensors[name].read().astype(np.float32)
      vectors.append(np.linalg.norm(weight, axis=1, keepdims=True))
    else:
      vectors.append(module.magnitude[:, None])
  # Scaling the parameter scales its norm.
  return np.abs(place.read(vectors, np.float32)[..., 0, :])


def write(
  directory: str | os.PathLike,
  adapters: Mapping[str, lora.Factors],
  model: str | os.PathLike,
  *,
  copies: Mapping[str, jax.Array] | None = None,
  context: int | None = None,
) -> None:
  """Writes adapters in PEFT's format, for PEFT and `read`.

  Every tensor of a parameter gets the A, and its part of B. If several
  parameters are rows of one tensor, their factors are concatenated and their
  ranks added; parameters without an adapter get zeros. All experts are one
  module with the largest rank. PEFT cannot read adapters of `out_proj` in
  Mamba, Mamba-2, Falcon-Mamba, Falcon-H1 and Nemotron-H, nor DoRA of experts,
  routers, and feed-forwards of Qwen3-Next; `read` can. A warning is logged for
  them.

  Args:
    directory: created if absent; files of the same names are replaced.
    adapters: factors by paths of the model's parameters, in layers that are
      not scanned.
    model: the directory or file of the adapted model.
    copies: fully trained parameters by path, such as norms: PEFT's
      `modules_to_save`.
    context: see `huggingface.load`.

  Raises:
    ValueError: if there are no adapters and no copies; if a path is not a
      parameter, or not of modules' weights; if only some of the adapters, or of
      a tensor's rows, have magnitudes; or if copies are not whole modules, or
      their weights have adapters.
  """
  copies = copies or {}
  if not (adapters or copies):
    raise validate.error("adapters", {}, "at least one")
  opened = _own_models.open_any(model, context)
  _check_tied(opened, adapters.keys() | copies.keys())
  blocks: dict[str, list] = {}
  for path, factors in adapters.items():
    place = opened.places.get(path)
    if place is None or not _is_of_matrices(opened, place):
      expected = "paths of weights that are those of the model's modules"
      raise validate.error("adapters", path, expected)
    if path == _EMBEDDING:
      # Its rows are tokens.
      factors = dataclasses.replace(factors, a=factors.b.T, b=factors.a)
    for name, block in _blocks(place, factors):
      blocks.setdefault(name, []).append(block)
  modules = {
    tensor: _joined(tensor, those, opened.tensors[tensor].shape)
    for tensor, those in blocks.items()
  }
  plain = [name for name, each in modules.items() if each.magnitude is None]
  if 0 < len(plain) < len(modules):
    # The file has one DoRA flag for all modules.
    raise ValueError(
      f"adapters: {plain[0].removesuffix('.weight')} has no magnitudes, "
      "expected them in all, or none."
    )
  layout = _peft_layout.of_modules(modules, opened)
  _warn(layout.ranks, opened, layout.dora)
  whole = _peft_layout.of_copies(copies, opened)
  if repeated := sorted(whole.modules & layout.ranks.keys()):
    expected = "no adapter of a module that is copied"
    raise validate.error("adapters", repeated[0], expected)
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  path = directory / peft_modules.WEIGHTS
  tensors = layout.tensors | whole.tensors
  safetensors_file.write(path, tensors, {"format": "pt"})
  contents = layout.contents(os.fspath(model))
  contents["modules_to_save"] = sorted(whole.modules) or None
  _model_files.write_json(directory / peft_modules.CONFIG, contents)


def _blocks(place, factors):
  """Yields A, B and magnitudes of a parameter's tensors, by name."""
  a, b, magnitude = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float32),
    (factors.a, factors.b, factors.magnitude),
  )
  parts = place.write(b * np.float32(factors.scale))
  norms = [None] * len(parts)
  if magnitude is not None:
    plain = magnitude[..., None, :] / np.abs(np.float32(place.scale))
    norms = place.to_torch(plain)
  # A has one matrix for each tensor, or one for each expert of a tensor.
  a_blocks = a if a.ndim == 3 and parts[0].ndim == 2 else [a] * len(parts)
  for name, one, part, norm in zip(place.names, a_blocks, parts, norms):
    yield name, (place.rows, one.swapaxes(-1, -2), part, norm)


def _joined(name, blocks, shape):
  """Returns a tensor's module, joined from the blocks of its parameters."""
  if len(shape) == 3:
    return _joined_experts(blocks, shape)
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


def _joined_experts(blocks, shape):
  """Returns the module of an expert tensor (experts, out, in)."""
  first = blocks[0][1]
  is_shared = all(np.array_equal(a, first) for _, a, _, _ in blocks)
  factors = [first] if is_shared else [a for _, a, _, _ in blocks]
  a = np.concatenate(factors, axis=1)
  b = np.zeros((*shape[:2], a.shape[1]), np.float32)
  start = 0
  for rows, one, part, norm in blocks:
    if norm is not None:
      raise validate.error("adapters", "DoRA", "no magnitudes of experts")
    stop = start + one.shape[1]
    b[:, rows.index if rows else slice(None), start:stop] = part
    start = start if is_shared else stop
  return peft_modules.Module(a, b, None, 1.0)
