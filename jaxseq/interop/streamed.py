"""Networks whose feed-forwards are computed from a file: LLM in a flash.

    streamed.save("model.rows", network, variables)
    network, variables = streamed.load("model.rows", "2GB")
    tokens, states = generation.generate(network, variables, prompt, 20, key)

    config, variables = huggingface.load(
      directory, stream_to="model.rows", memory="2GB"
    )

After Alizadeh et al., arXiv:2312.11514. The input and output weights of a
neuron are one row of the file, read at once. Embedding, mixers and norms stay
in memory. By default every row is needed for every token: as many as fit stay
in memory, and the others are read in the order of the layers, ahead of their
use. Networks of relu and relu2 can have a `Predictor` of active neurons
(`row_predictors`): then the rows of the last tokens stay, and only others are
read.

The host multiplies the rows, so that a compiled program waits for it in every
layer, on accelerators too. JAX's compilation cache does not store such a
program. Nothing can be trained, and experts' weights are not streamed.
"""

from collections.abc import Mapping
import functools
import os
import re
from typing import Any

from flax import traverse_util
import jax
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.interop import _row_file
from jaxseq.interop import _row_products
from jaxseq.interop import described_file
from jaxseq.interop import network_file
from jaxseq.interop import safetensors_file
from jaxseq.nn import feedforward
from jaxseq.training import integrity
from jaxseq.training import run_directory
from jaxseq.types import PyTree

Counts = _row_products.Counts
Predictor = _row_products.Predictor
StreamedRows = _row_products.StreamedRows
# Number of tokens whose active neurons stay, as in the paper's experiments.
WINDOW = 5
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {f"{unit[0]}iB": 2 ** (10 * i) for i, unit in enumerate(_UNITS) if i}


def save(
  path: str | os.PathLike,
  network: network_file.Network,
  variables: Mapping[str, PyTree],
) -> None:
  """Writes a network to a file whose feed-forwards `load` streams.

  Args:
    path: the file; an existing one is replaced.
    network: the Linen module, with layers that are not scanned.
    variables: its variables, arrays of floats.

  Raises:
    ValueError: if it has no feed-forward to stream, scanned layers, or weights
      that are not arrays.
    OSError: if the file cannot be written.
  """
  flat = traverse_util.flatten_dict(variables, sep="/")
  described_file.check_arrays(flat)
  leaves = {
    name: safetensors_file.Part(
      np.dtype(leaf.dtype), leaf.shape, functools.partial(np.asarray, leaf)
    )
    for name, leaf in flat.items()
  }
  write(path, network, leaves)


def write(
  path: str | os.PathLike,
  network: network_file.Network,
  leaves: Mapping[str, safetensors_file.Part],
  source: str = "",
) -> None:
  """Writes a file like `save`, with one feed-forward at a time in memory.

  Args:
    path: the file.
    network: the Linen module.
    leaves: variables by their paths.
    source: identifier of the variables' source.

  Raises:
    ValueError: see `save`.
    OSError: see `save`.
  """
  rest = dict(leaves)
  parts = {}
  for place, kind in feed_forwards(network).items():
    names = [f"{place}/{name}/kernel" for name in _layers(kind)]
    kernels = [rest.pop(name) for name in names]
    neurons, d_model = kernels[-1].shape
    shape = neurons, len(kernels) * d_model
    make = functools.partial(_bundle, kernels)
    parts[f"{place}/{feedforward.ROWS}"] = safetensors_file.Part(
      kernels[0].dtype, shape, make
    )
  header = {"format": described_file.FORMAT, "source": source}
  header["versions"] = run_directory.versions()
  header["streamed"] = network_file.describe(network)
  metadata = functools.partial(described_file.to_metadata, header)
  safetensors_file.write_parts(path, parts | rest, metadata)


def _layers(kind):
  """Returns the dense layers of a feed-forward, in the order of a row."""
  gated = feedforward.KINDS[kind].gated
  return ("in", "gate", "out") if gated else ("in", "out")


def _bundle(kernels):
  """Arranges kernels (d_model, neurons), the last one transposed, as rows."""
  neurons, d_model = kernels[-1].shape
  rows = np.empty((neurons, len(kernels) * d_model), kernels[0].dtype)
  for i, kernel in enumerate(kernels):
    array = kernel.make()
    array = array if kernel is kernels[-1] else array.T
    rows[:, i * d_model : (i + 1) * d_model] = array
  return rows


def feed_forwards(network: network_file.Network) -> dict[str, str]:
  """Returns the kinds of the streamable feed-forwards, by path.

  Raises:
    ValueError: if the layers are scanned, or no layer has such a feed-forward.
  """
  whole = isinstance(network, nn.SequenceNetwork)
  stack = network.config.stack if whole else network.config
  if stack.scan_layers:
    expected = "False for streamed weights: each layer has a file's rows"
    raise validate.error("scan_layers", True, expected)
  front = "params/stack" if whole else "params"
  kinds = {
    f"{front}/layers_{i}/feedforward": layer.feedforward
    for i, layer in enumerate(stack.every_layer)
    if layer.feedforward in feedforward.KINDS
  }
  if not kinds:
    got = sorted({layer.feedforward for layer in stack.every_layer})
    expected = f"a network with one of {', '.join(feedforward.KINDS)} to stream"
    raise validate.error("feedforward", ", ".join(got), expected)
  return kinds


def load(
  path: str | os.PathLike,
  memory: int | str,
  *,
  predictors: Mapping[str, Predictor] | None = None,
  window: int = WINDOW,
  check: bool = True,
) -> tuple[network_file.Network, dict[str, PyTree]]:
  """Opens a network whose feed-forwards are read on demand.

  Args:
    path: the file, written by `save` or `huggingface.load`; it must not change.
    memory: bytes of all weights in memory, including predictors and buffers, as
      a number or with a unit, as "2GB" or "1.5GiB". The network's states and
      activations and the program itself need additional memory.
    predictors: predictors of active neurons, by the paths of the feed-forwards,
      as from `row_predictors`; None to compute every neuron.
    window: number of last tokens whose active neurons stay, with predictors.
    check: whether to read the file once to compare its digest. Otherwise
      altered weights are not detected.

  Returns:
    The Linen module, and variables for its `apply` and `step`.

  Raises:
    ValueError: if the file is not such a network, is damaged, the memory is too
      small, or a predictor does not fit.
    FileNotFoundError: if there is no such file.
  """
  if not hasattr(os, "preadv"):
    raise ValueError("streamed: got a system without preadv, expected Linux.")
  budget = parse_bytes("memory", memory)
  validate.positive("window", window)
  file, regions, network = _opened(path, check)
  kinds = feed_forwards(network)
  _validate_predictors(predictors or {}, kinds)
  rest, sources = dict(regions), []
  for place, kind in kinds.items():
    region = rest.pop(f"{place}/{feedforward.ROWS}")
    biases = {}
    for name in _layers(kind):
      if (bias := rest.pop(f"{place}/{name}/bias", None)) is not None:
        biases[name] = file.array(bias).astype(np.float32)
    predictor = (predictors or {}).get(place)
    source = _row_products.Source(kind, region, biases, predictor)
    if predictor is not None:
      _row_products.check_predictor(f"predictors: {place}", predictor, source)
    sources.append(source)
  kept = sum(region.size for region in rest.values())
  least = kept + _row_products.least_memory(sources)
  if budget < least:
    expected = f"at least {least} bytes, of which {kept} are those of weights "
    raise validate.error("memory", memory, expected + "that are not streamed")
  leaves: dict[str, Any] = {
    name: jax.device_put(file.array(region)) for name, region in rest.items()
  }
  store = _row_products.Store(file, sources, budget - kept, window)
  for place, layer in zip(kinds, store.layers):
    leaves[f"{place}/{feedforward.ROWS}"] = layer
  return network, traverse_util.unflatten_dict(leaves, sep="/")


def layers(variables: Mapping[str, PyTree]) -> dict[str, StreamedRows]:
  """Returns the streamed feed-forwards of variables, by their paths.

  Their `counts` have the numbers of needed and of read rows.
  """
  flat = traverse_util.flatten_dict(variables, sep="/")
  return {
    path.removesuffix(f"/{feedforward.ROWS}"): leaf
    for path, leaf in flat.items()
    if isinstance(leaf, StreamedRows)
  }


def source_of(path: str | os.PathLike) -> str:
  """Returns the `source` that `write` stored in a file.

  Raises:
    ValueError: if the file was not written by `write`.
  """
  regions, metadata = safetensors_file.regions(path)
  contents = described_file.from_metadata(path, metadata, regions, None, KIND)
  return str(contents.described.get("source"))


def parse_bytes(name: str, value: int | str) -> int:
  """Parses a number of bytes that may have a unit, as "2GB" or "1.5GiB".

  Raises:
    ValueError: if it is not such a number, or not above 0.
  """
  match = re.fullmatch(
    r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]i?B)?\s*", str(value)
  )
  size = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
  if isinstance(value, bool) or size < 1:
    raise validate.error(name, value, 'bytes above 0, as 2000000000 or "2GB"')
  return size


def _opened(path, check):
  """Returns the open file, the regions of its arrays, and the network."""
  regions, metadata = safetensors_file.regions(path)
  file = _row_file.RowFile(path)

  def digests():
    return {name: _digest(file, name, x) for name, x in regions.items()}

  contents = described_file.from_metadata(
    path, metadata, regions, digests if check else None, KIND
  )
  opener = KIND._replace(decode=_network)
  return (
    file,
    regions,
    described_file.decode(path, contents, opener, finite=False),
  )


def _digest(file, name, region):
  """Returns the digest of an array, whose numbers must be finite."""

  def blocks():
    for block in file.blocks(region):
      if not safetensors_file.is_finite(block):
        raise ValueError(f"{name}: got numbers that are not finite")
      yield block

  return integrity.blocks_digest(region.dtype, region.shape, blocks())


def _network(contents):
  """Returns the network, whose feed-forwards must be among the arrays."""
  network = network_file.build(contents.described["streamed"], contents)
  whole = isinstance(network, nn.SequenceNetwork)
  d_model = (network.config.stack if whole else network.config).d_model
  for place, kind in feed_forwards(network).items():
    name, arrays = f"{place}/{feedforward.ROWS}", contents.tensors
    if name not in arrays:
      raise validate.error(name, None, "an array of rows")
    wanted = "neurons", len(_layers(kind)) * d_model
    _check_shape(name, arrays[name], wanted)
    sizes = dict.fromkeys(_layers(kind), arrays[name].shape[0])
    sizes["out"] = d_model
    for layer, size in sizes.items():
      bias = f"{place}/{layer}/bias"
      if bias in arrays:
        _check_shape(bias, arrays[bias], (size,))
  return network


def _check_shape(name, array, expected):
  """Checks the shape of an array, or of its region in a file."""
  like = np.broadcast_to(np.float32(0), array.shape)
  validate.shape(name, like, expected)


def _validate_predictors(predictors, kinds):
  """Checks the paths and classes of predictors."""
  for place, predictor in predictors.items():
    validate.choice("predictors", place, kinds)
    name = f"predictors: {place}"
    validate.instance(name, predictor, Predictor, "a Predictor")


def _decode(contents):
  """Returns the module and its variables, all of them in memory."""
  network = _network(contents)
  leaves = dict(contents.tensors)
  for place, kind in feed_forwards(network).items():
    rows = leaves.pop(f"{place}/{feedforward.ROWS}")
    *inner, out = np.split(rows, len(_layers(kind)), axis=1)
    for name, kernel in zip(_layers(kind), [*(x.T for x in inner), out]):
      leaves[f"{place}/{name}/kernel"] = kernel
  return network, traverse_util.unflatten_dict(leaves, sep="/")


KIND = described_file.Kind(
  "streamed network", "streamed.save", ("streamed", "source"), _decode
)
