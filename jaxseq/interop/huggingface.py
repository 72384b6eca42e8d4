"""Language models in directories of the transformers library.

`load` builds a `SequenceNetwork` of tokens from a directory with `config.json`
and `model.safetensors`, or several such files and
`model.safetensors.index.json`; `jaxseq.interop.families` lists the known
models. `save` writes any of these models with the config.json of its original
directory, and without one Mamba and Mamba-2 (`MambaForCausalLM`,
`Mamba2ForCausalLM`): embedding, layers of RMS norm, mixer and residual, final
RMS norm, and a read-out without bias or tied to the embedding
(arXiv:2312.00752, arXiv:2405.21060).

Parameters are float32, whatever the files have, unless `param_dtype` is
another, and so are activations unless the `dtype` of the options is replaced.
Tensors are read and converted one after the other. Bounds on Mamba-2's step
sizes (`time_step_limit`) also apply in generation, where the transformers
library ignores them.
"""

from collections.abc import Mapping
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from typing import Any
from typing import Literal
from typing import NamedTuple

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.interop import _entries
from jaxseq.interop import _model_files
from jaxseq.interop import _scanned_layers
from jaxseq.interop import _tensors
from jaxseq.interop import _unread
from jaxseq.interop import described_file
from jaxseq.interop import families
from jaxseq.interop import network_file
from jaxseq.interop import peft_modules
from jaxseq.interop import safetensors_file
from jaxseq.interop import streamed
from jaxseq.types import PyTree

_HEAD = "lm_head.weight"
_DTYPES = "float32", "bfloat16", "float16"
# Mixers of savable networks, which are also family names.
_SAVED = ("mamba", "mamba2")


def load(
  directory: str | os.PathLike,
  *,
  context: int | None = None,
  param_dtype: Literal["float32", "bfloat16", "float16"] = "float32",
  scan_layers: bool = False,
  finite: bool = True,
  adapter: str | os.PathLike | None = None,
  quantize: _tensors.Quantizer | None = None,
  stream_to: str | os.PathLike | None = None,
  memory: int | str | None = None,
  predictors: Mapping[str, streamed.Predictor] | None = None,
) -> tuple[nn.NetworkConfig, dict[str, PyTree]]:
  """Loads a model.

  Args:
    directory: directory with config.json and the weights.
    context: number of earlier elements that full attention can see, and whose
      keys and values it keeps. If None, the model's own
      (`max_position_embeddings` of config.json), up to 4096; models with more
      need a number. A smaller number logs a warning. Models without full
      attention ignore it.
    param_dtype: dtype of the parameters. Loading needs the memory of the
      parameters and of the largest of them.
    scan_layers: whether the network's layers are scanned: compile time does not
      grow with their number. They must be alike.
    finite: whether to reject weights that are not finite.
    adapter: a directory with the adapter_config.json and
      adapter_model.safetensors of a LoRA adapter of this model, in the format
      of the PEFT library (with rslora and DoRA, of experts and embeddings, and
      with copies of modules); it is merged into the tensors in float32. If it
      changes only one of a tied embedding and read-out, the returned network
      has both. None for no adapter.
    quantize: `jaxseq.adapt.quantized.Config()` for weights in 8 bits. Loading
      needs the memory of these and of the largest tensor.
    stream_to: a file for a model that does not fit into memory: its
      feed-forwards are computed from there, see `streamed`. If it does not
      exist, it is written, with one of them at a time in memory; it contains
      all weights. None to have all weights in memory.
    memory: see `streamed.load`, with `stream_to`.
    predictors: see `streamed.load`, with `stream_to`.

  Returns:
    The options of a `SequenceNetwork`, and its variables. `make_network`
    returns the network itself.

  Raises:
    ValueError: if the directory has no such files, they link out of it, the
      model has another type or an option that the network lacks, its sizes are
      not those of the tensors, tensors are missing, unexpected, misshapen or
      not finite in this dtype, a context is needed, the adapter is for another
      model or of another kind, or the file at `stream_to` is for another model
      or does not fit the other options.
    OSError: if a file cannot be read, or `stream_to` cannot be written.
  """
  validate.choice("param_dtype", param_dtype, _DTYPES)
  directory = pathlib.Path(directory)
  opened = open_model(directory, context)
  config, vocab_size, places, tensors = opened[:4]
  if stream_to is None:
    for name, value in {"memory": memory, "predictors": predictors}.items():
      if value is not None:
        raise validate.error(name, value, "None without stream_to")
  else:
    others = {"adapter": adapter, "quantize": quantize}
    for name, value in {**others, "scan_layers": scan_layers or None}.items():
      if value is not None:
        raise validate.error(name, value, "none with stream_to")
    # A mistake is found before all weights are written.
    streamed.parse_bytes("memory", memory)
    network = nn.SequenceNetwork(config, vocab_size, vocab_size)
    read = config, vocab_size, places, tensors, str(directory)
    leaves = functools.partial(_tensors.readers, *read)
    _write_streamed(stream_to, network, leaves, param_dtype, finite)
    network, variables = streamed.load(stream_to, memory, predictors=predictors)
    return network.config, variables
  if adapter is not None:
    config, tensors = _adapted(opened, peft_modules.read(adapter))
  source = places, tensors, str(directory)
  params = _tensors.from_torch(
    config, vocab_size, *source, param_dtype, finite, quantize
  )
  if scan_layers:
    config = _scanned_layers.configured(config, True)
    params["stack"] = _scanned_layers.stacked(params.pop("stack"))
  return config, {"params": params}


def _adapted(opened, adapter):
  """Returns the options and tensors of a model with an adapter."""
  config, tensors = opened.config, dict(opened.tensors)
  if not config.tie:
    return config, peft_modules.merged(adapter, tensors, opened.modules)
  embedding = opened.places["embed/embedding"].names[0]
  head = opened.places["head/mlp/dense_0/kernel"].names[0]
  tensors[head] = tensors[embedding]
  changed = peft_modules.merged(adapter, tensors, opened.modules)
  # PEFT computes with an adapter of one of the two, but not of the other.
  if all(changed[name] is tensors[name] for name in (embedding, head)):
    del changed[head]
    return config, changed
  return dataclasses.replace(config, tie=False), changed


def _write_streamed(path, network, leaves, param_dtype, finite):
  """Writes the file of a model to stream, or checks an existing one."""
  dtype = jnp.dtype(param_dtype)

  def part(leaf):
    def make():
      return _tensors.cast(leaf.read(), dtype, leaf.name, "param_dtype")

    return safetensors_file.Part(dtype, leaf.shape, make)

  # The starts of all tensors identify a model, and are quick to read.
  described = json.dumps([network_file.describe(network), str(dtype)])
  digest = hashlib.sha256(described.encode())
  for leaf in leaves(False).values():
    begin = leaf.read().ravel(order="K")[:1024]
    digest.update(begin.astype(np.float32).tobytes())
  if not os.path.exists(path):
    parts = {
      f"params/{name}": part(leaf) for name, leaf in leaves(finite).items()
    }
    try:
      streamed.write(path, network, parts, digest.hexdigest())
    except OSError as error:
      if error.filename != str(path):
        raise
      remedy = "stream_to needs a place with room for all weights"
      raise OSError(
        error.errno, f"{error.strerror}; {remedy}", error.filename
      ) from error
  elif streamed.source_of(path) != digest.hexdigest():
    got, expected = (
      f"{path}, a file of another model or of other options",
      ("one of this directory as it is loaded now. Delete it, or name another"),
    )
    raise ValueError(f"stream_to: got {got}, expected {expected}.")


def stop_tokens(directory: str | os.PathLike) -> tuple[int, ...]:
  """Returns a model's end-of-text tokens, for `generate(stop=...)`.

  They are `eos_token_id` of config.json and of generation_config.json; chat
  models often have the end of a turn only in the second one.

  Args:
    directory: directory of the model.

  Raises:
    ValueError: if there is no config.json, or an entry is not tokens.
  """
  directory = pathlib.Path(directory)
  paths = [directory / _model_files.CONFIG]
  paths += [p for p in [directory / "generation_config.json"] if p.is_file()]
  tokens = []
  for path in paths:
    entry = _model_files.read_json(path).get("eos_token_id")
    entry = [] if entry is None else entry
    for token in entry if isinstance(entry, list) else [entry]:
      tokens.append(validate.integer(f"{path}: eos_token_id", token, 0))
  return tuple(dict.fromkeys(tokens))


class OpenedModel(NamedTuple):
  """An opened checkpoint whose tensors are read on demand.

  Attributes:
    config: options of the network.
    vocab_size: number of tokens.
    places: places of the parameters, by path.
    tensors: tensors by their names in the files.
    modules: pairs of a pattern and a replacement, for module names of the
      transformers library that differ from the tensor names in the files.
    kind: `model_type` of config.json.
    positions: number of tokens that full attention sees; None without full
      attention.
  """

  config: nn.NetworkConfig
  vocab_size: int
  places: _tensors.Places
  tensors: dict[str, safetensors_file.Stored]
  modules: tuple[tuple[str, str], ...]
  kind: str
  positions: int | None


def open_model(
  directory: str | os.PathLike,
  context: int | None = None,
  *,
  quiet: bool = False,
) -> OpenedModel:
  """Opens a model's directory without reading its tensors.

  Args:
    directory: see `load`, also for errors.
    context: see `load`.
    quiet: whether to log no warnings about config.json and the context.
  """
  directory = pathlib.Path(directory)
  path = directory / _model_files.CONFIG
  contents = _model_files.read_json(path)
  kind = contents.get("model_type")
  family = families.get(
    validate.choice(f"{path}: model_type", kind, families.names())
  )
  tensors = _model_files.tensors(directory)
  for old, name in getattr(family, "OLD_NAMES", {}).items():
    if old in tensors:
      tensors.setdefault(name, tensors.pop(old))
  ignored = getattr(family, "IGNORED", None)
  for name in list(tensors) if ignored else ():
    if ignored.fullmatch(name):
      del tensors[name]
  shapes = {name: tensor.shape for name, tensor in tensors.items()}
  entries = _entries.Entries(contents, str(path), shapes, context, quiet)
  entries.check_plain()
  entries.check(family.EMBEDDING, family.LAYERS)
  config, vocab_size = family.from_json(entries)
  copies = {_HEAD: family.EMBEDDING} if config.tie else {}
  if getattr(family, "copies", None):
    copies |= family.copies(entries)
  if getattr(family, "unused", None):
    for name in family.unused(entries):
      del tensors[name]
  for copy, name in copies.items():
    _drop_copy(tensors, copy, name, directory)
  places = family.places(config, entries)
  if not quiet:
    _unread.check(entries.unread, str(path))
  modules = getattr(family, "MODULES", ())
  positions = entries.context + 1 if entries.has_context else None
  return OpenedModel(
    config, vocab_size, places, tensors, modules, kind, positions
  )


def save(
  directory: str | os.PathLike,
  config: nn.NetworkConfig,
  variables: Mapping[str, PyTree],
  *,
  dtype: str | None = None,
  entries: Mapping[str, Any] | None = None,
  like: str | os.PathLike | None = None,
  context: int | None = None,
) -> None:
  """Writes a model so that `load` and the transformers library can read it.

  Undoes the factors and addends of `load`, so that such parameters are equal up
  to rounding, and all others exactly.

  Args:
    directory: created if absent; files of the same names are replaced.
    config: options of a `SequenceNetwork`: those of the model at `like`, or
      with mixer "mamba" or "mamba2", RMS norms before the mixers and no layers
      after them.
    variables: its variables.
    dtype: dtype of the weights in the file: "float32", "bfloat16" or "float16";
      if None, that of the variables, or float32 if these have several.
    entries: more entries of config.json, such as eos_token_id.
    like: directory of a model with the same network, of any family, such as the
      one that it was loaded from; its config.json is written, and its tokenizer
      and generation_config.json are copied. Tensors that are not parameters
      here, such as further heads, are left out.
    context: the value passed to `load`.

  Raises:
    ValueError: if the transformers library has no such network, the variables
      are not those of the network or have another collection than "params",
      such as tuned states, a tensor is not finite in this dtype, an entry
      exists already, or the model at `like` has another network.
  """
  vocab_size = _vocab_size(variables)
  params = variables["params"]
  described_file.check_arrays(traverse_util.flatten_dict(params, sep="/"))
  dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
  if dtype is None:
    dtype = dtypes.pop() if len(dtypes) == 1 else _DTYPES[0]
    dtype = dtype if dtype in _DTYPES else _DTYPES[0]
  validate.choice("dtype", dtype, _DTYPES)
  if others := sorted(variables.keys() - {"params"}):
    raise validate.error(
      "variables",
      others,
      '"params" alone, as the format holds nothing else: write all of them by '
      "network_file.save, or tuned states by adapt.initial_states.save and the "
      'rest here, {"params": variables["params"]}',
    )
  derived = {}
  if like is not None:
    contents, family_places, derived = _alike(config, like, context)
  else:
    contents, family_places = _alone(config, vocab_size)
  for name, value in (entries or {}).items():
    if contents.get(name) is not None:
      raise ValueError(
        f"entries: got {name} = {value!r}, expected no entry that the network "
        "itself decides."
      )
    contents[name] = value
  contents["dtype"] = dtype
  if config.stack.scan_layers:
    config = _scanned_layers.configured(config, False)
    count = config.stack.num_layers
    params = {**params, "stack": _scanned_layers.split(params, count)}
  places = family_places(config, contents)
  tensors = _tensors.to_torch(config, vocab_size, places, params) | derived
  tensors = {
    name: _tensors.cast(x, dtype, name, "dtype") for name, x in tensors.items()
  }
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  # The other library requires the name of the layout.
  path = directory / _model_files.WEIGHTS
  safetensors_file.write(path, tensors, {"format": "pt"})
  _model_files.write_json(directory / _model_files.CONFIG, contents)
  if like is not None:
    _model_files.copy_beside(pathlib.Path(like), directory)


def _alone(config, vocab_size):
  """Returns entries and places function of a Mamba or Mamba-2 network."""
  _check_alike(config.stack)
  mixer = validate.choice("stack.mixer", config.stack.mixer, _SAVED)
  if mixer == "mamba" and config.stack.mixers[0].norm == "plain":
    mixer = "falcon_mamba"
  family = families.get(mixer)
  contents = family.to_json(config, vocab_size)
  return contents, lambda config, contents: family.places(
    config, _entries.Entries(contents, "config")
  )


def _alike(config, like, context):
  """Returns entries, places and derived tensors like a directory's model."""
  opened = open_model(like, context, quiet=True)
  other = opened.config
  # Fields that change neither parameters nor outputs.
  fields = {
    name: getattr(config.stack, name)
    for name in ("dtype", "remat", "scan_layers", "kernels")
  }
  stack = dataclasses.replace(other.stack, **fields)
  if dataclasses.replace(other, stack=stack) != config:
    expected = f"that of {like}"
    raise validate.error("config", "the options of another network", expected)
  contents = _model_files.read_json(pathlib.Path(like) / _model_files.CONFIG)
  # Older files have the dtype under another name.
  contents.pop("torch_dtype", None)
  derived = getattr(families.get(opened.kind), "DERIVED", None)
  stored = _model_files.tensors(pathlib.Path(like)) if derived else {}
  copies = {k: x.read() for k, x in stored.items() if derived.fullmatch(k)}
  return contents, lambda config, contents: opened.places, copies


def _check_alike(stack):
  """Rejects networks with several mixers: no model family stores them."""
  kinds = [stack.mixer, *(name for name, _ in (*stack.hybrid, *stack.parallel))]
  kinds += [dict(layer).get("mixer", stack.mixer) for layer in stack.layers]
  kinds += ["a shared block"] if stack.shared_block else []
  if len(kinds) > 1:
    listed = " and ".join(dict.fromkeys(kinds))
    alike = len(set(kinds)) == 1
    got = (
      f"layers of {listed} that differ" if alike else f"a hybrid of {listed}"
    )
    raise ValueError(
      f"config: got {got}, as Bamba and other families are, expected a network "
      "of Mamba, Mamba-2 or Falcon-Mamba, which alone can be saved; others can "
      "with like=, the directory that they were loaded from."
    )


def make_network(
  config: nn.NetworkConfig, variables: Mapping[str, PyTree]
) -> nn.SequenceNetwork:
  """Returns the network of tokens for options and variables.

  Args:
    config: from `load`.
    variables: from `load`.

  Returns:
    The network, with as many tokens as the embedding has rows.

  Raises:
    ValueError: if the variables have no embedding.
  """
  vocab_size = _vocab_size(variables)
  return nn.SequenceNetwork(config, vocab_size, vocab_size)


def _vocab_size(variables):
  try:
    return jnp.shape(variables["params"]["embed"]["embedding"])[0]
  except (KeyError, TypeError) as error:
    raise ValueError(
      "variables: got none, expected those of a network of tokens, with "
      "params/embed/embedding."
    ) from error


def _drop_copy(tensors, copy, name, directory):
  """Drops a tensor that is stored twice."""
  if copy in tensors:
    repeated, first = tensors.pop(copy), tensors.get(name)
    if first is None or not np.array_equal(repeated.read(), first.read()):
      raise ValueError(
        f"{directory}: {copy}: got another than {name}, expected the same, as "
        "config.json ties them."
      )
