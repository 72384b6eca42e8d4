"""Feed-forwards with some rows in memory and the others in a file.

A row has the weights of one neuron: its input weights, those of its gate, if
any, and its output weights. NumPy computes the products, on the host.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import threading

import jax
import numpy as np
from scipy import special

from jaxseq import validate
from jaxseq.interop import _row_file
from jaxseq.interop import _row_window
from jaxseq.interop import safetensors_file
from jaxseq.nn import feedforward

# Bytes to read at once, and to multiply at once: these stay in a processor's
# cache from the input product to the output product.
_READ, _MULTIPLIED = 2**22, 2**20
# Number of scores of a prompt's tokens in memory at the same time.
_SCORES = 2**22


def _gelu(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _relu(x):
  return np.maximum(x, 0)


# `feedforward.KINDS` for NumPy arrays: host code does not call JAX.
ACTIVATIONS = {
  "relu": _relu,
  "relu2": lambda x: _relu(x) ** 2,
  "gelu": _gelu,
  "exact_gelu": lambda x: 0.5 * x * (1 + special.erf(x / np.sqrt(2.0))),
  "swiglu": lambda x: x * special.expit(x),
  "geglu": _gelu,
}
# Activations that are exactly 0 for most neurons, so that rows can be skipped.
SPARSE = "relu", "relu2"


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A low-rank predictor of active neurons (arXiv:2312.11514, section 3.1).

  Neuron j counts as active if (x W_in W_out + b)_j > threshold, with b the
  biases of the feed-forward's first layer, 0 if it has none.

  Attributes:
    W_in: (d_model, rank) float32.
    W_out: (rank, neurons) float32.
    threshold: a lower one finds more of the active neurons, and reads more
      rows.
  """

  W_in: np.ndarray
  W_out: np.ndarray
  threshold: float = 0.0


@dataclasses.dataclass
class Counts:
  """Counts of a feed-forward since it was opened.

  Attributes:
    calls: number of calls.
    rows: number of needed rows, each counted once per call.
    rows_read: number of those that were not in memory.
    bytes_read: number of bytes of these.
  """

  calls: int = 0
  rows: int = 0
  rows_read: int = 0
  bytes_read: int = 0


@dataclasses.dataclass(frozen=True)
class Source:
  """A feed-forward in a file.

  Attributes:
    kind: a kind of `feedforward.KINDS`.
    region: region of its rows (neurons, 2 d_model), or 3 d_model for gated
      ones.
    biases: biases by layer name, "in", "gate" and "out".
    predictor: predictor of its active neurons; None to use all.
  """

  kind: str
  region: safetensors_file.Region
  biases: Mapping[str, np.ndarray]
  predictor: Predictor | None = None

  @property
  def d_model(self) -> int:
    """Width of its inputs."""
    return self.region.shape[1] // (2 + feedforward.KINDS[self.kind].gated)

  @property
  def row_bytes(self) -> int:
    """Bytes of a row."""
    return self.region.shape[1] * self.region.dtype.itemsize


def _held(sources):
  """Returns the bytes of biases and predictors, which stay in memory."""
  held = sum(b.nbytes for s in sources for b in s.biases.values())
  for predictor in filter(None, (s.predictor for s in sources)):
    held += predictor.W_in.nbytes + predictor.W_out.nbytes
  return held


def _buffers(sources, room):
  """Returns number and size of buffers for reading ahead and single rows."""
  whole = room >= sum(source.region.size for source in sources)
  ahead = not whole and any(source.predictor is None for source in sources)
  single = any(source.predictor is not None for source in sources)
  size = max(
    min(max(_READ // s.row_bytes, 1) * s.row_bytes, s.region.size)
    for s in sources
  )
  return 2 * ahead + single, size


def least_memory(sources: Sequence[Source]) -> int:
  """Returns the bytes that feed-forwards need without any row in memory."""
  count, size = _buffers(sources, 0)
  return _held(sources) + count * size


class Store:
  """The feed-forwards of a network, whose rows share a file and memory.

  Attributes:
    layers: one `StreamedRows` per feed-forward.
  """

  def __init__(
    self,
    file: _row_file.RowFile,
    sources: Sequence[Source],
    memory: int,
    window: int,
  ):
    """Reads the rows that stay in memory.

    Args:
      file: file of the rows.
      sources: feed-forwards in the order of their use.
      memory: bytes, at least `least_memory`. The rest is for rows: for layers
        without a predictor the first rows, which stay in memory.
      window: window of predicted rows, see `RowWindow`.
    """
    self.lock = threading.Lock()
    self.file = file
    room = memory - _held(sources)
    count, size = _buffers(sources, room)
    total = sum(source.region.size for source in sources)
    share = min(1.0, (room - count * size) / total)
    buffers = [np.empty(size, np.uint8) for _ in range(count)]
    self.scratch = buffers[-1] if buffers else np.empty(0, np.uint8)
    blocks = []
    self.layers = []
    for source in sources:
      held = int(share * source.region.shape[0])
      layer = StreamedRows(self, source, held, window)
      self.layers.append(layer)
      if source.predictor is None:
        layer.begin(blocks, size // source.row_bytes)
    self.ahead = _row_file.ReadAhead(file, blocks, buffers[:2])


@jax.tree_util.register_static
class StreamedRows(feedforward.Rows):
  """A feed-forward that reads its rows from a file when needed.

  Attributes:
    source: the feed-forward in the file.
    counts: counts of its use.
    inputs: list to which calls append their inputs (n, d_model); None for none.
  """

  def __init__(self, store: Store, source: Source, held: int, window: int):
    """Creates the layer, with memory for `held` rows."""
    self.source = source
    self.counts = Counts()
    self.inputs: list[np.ndarray] | None = None
    self._store = store
    neurons, width = source.region.shape
    self._rows = np.empty((held, width), source.region.dtype)
    self._window = None
    if source.predictor is not None:
      self._window = _row_window.RowWindow(neurons, held, window)
    self._first = self._last = 0

  def begin(self, blocks: list[_row_file.Block], size: int) -> None:
    """Reads the rows that stay, and adds blocks of `size` for the others."""
    region, held = self.source.region, len(self._rows)
    self._store.file.read(region, 0, self._rows)
    self._first = len(blocks)
    for first in range(held, region.shape[0], max(size, 1)):
      count = min(size, region.shape[0] - first)
      blocks.append(_row_file.Block(region, first, count))
    self._last = len(blocks)

  def apply(self, x: jax.Array, step: bool) -> jax.Array:
    """Computes the feed-forward of x (..., d_model) on the host."""
    return jax.pure_callback(
      functools.partial(self._run, step),
      jax.ShapeDtypeStruct(x.shape, x.dtype),
      x,
      vmap_method="broadcast_all",
    )

  def all_rows(self) -> Iterator[tuple[int, np.ndarray]]:
    """Yields blocks of rows in order, with the number of their first row."""
    region = self.source.region
    size = max(_READ // self.source.row_bytes, 1)
    for first in range(0, region.shape[0], size):
      count = min(size, region.shape[0] - first)
      rows = np.empty((count, region.shape[1]), region.dtype)
      self._store.file.read(region, first, rows)
      yield first, rows

  def _run(self, step, x):
    """Computes the feed-forward, as the host callback."""
    x = np.asarray(x)
    wide = np.float64 if x.dtype == np.float64 else np.float32
    flat = x.reshape(-1, x.shape[-1]).astype(wide)
    last = flat if step else x[..., -1, :].reshape(-1, x.shape[-1])
    with self._store.lock:
      self.counts.calls += 1
      if self.inputs is not None:
        self.inputs.append(flat.astype(np.float32))
      if self._window is None:
        y = self._of_every_row(flat, x.dtype)
      else:
        y = self._of_active_rows(flat, last.astype(wide), x.dtype)
    if "out" in self.source.biases:
      y += self.source.biases["out"].astype(wide)
    return y.astype(x.dtype).reshape(x.shape)

  def _of_every_row(self, x, dtype):
    """Sums over all neurons, while the next rows are read."""
    held = len(self._rows)
    y = self._product(x, self._rows, np.arange(held), dtype)
    for block, rows in self._store.ahead.rows(self._first, self._last):
      neurons = np.arange(block.first, block.first + block.count)
      y += self._product(x, rows, neurons, dtype)
    neurons = self.source.region.shape[0]
    self._count(neurons, neurons - held)
    return y

  def _of_active_rows(self, x, last, dtype):
    """Sums over the neurons that are predicted to be active."""
    window, region = self._window, self.source.region
    changes = window.update(np.any(self._active(last), axis=0))
    for source, target in changes.moves:
      self._rows[target] = self._rows[source]
    used = window.used
    fresh = self._rows[used - len(changes.loads) : used]
    self._store.file.gather(region, changes.loads, fresh)
    slots = window.slots[:used]
    size = len(self._store.scratch) // self.source.row_bytes
    scratch = self._store.scratch.view(region.dtype)
    scratch = scratch[: size * region.shape[1]].reshape(size, -1)
    parts, needed, read = [], np.zeros(region.shape[0], bool), 0
    tokens = max(_SCORES // region.shape[0], 1)
    for start in range(0, len(x), tokens):
      few = x[start : start + tokens]
      active = self._active(few)
      y = self._product(few, self._rows[:used], slots, dtype, active)
      union = np.flatnonzero(np.any(active, axis=0))
      needed[union] = True
      # Rows of a prompt's earlier tokens, and rows without a slot, are not
      # kept.
      passing = union[~window.resident(union)]
      for i in range(0, len(passing), size):
        neurons = passing[i : i + size]
        rows = scratch[: len(neurons)]
        self._store.file.gather(region, neurons, rows)
        y += self._product(few, rows, neurons, dtype, active)
      read += len(passing)
      parts.append(y)
    self._count(np.count_nonzero(needed), read + len(changes.loads))
    return np.concatenate(parts)

  def _active(self, x):
    """Returns the predicted activity of the neurons, (n, neurons) bool."""
    predictor = self.source.predictor
    scores = x @ predictor.W_in @ predictor.W_out
    if "in" in self.source.biases:
      scores += self.source.biases["in"]
    return scores > predictor.threshold

  def _product(self, x, rows, neurons, dtype, active=None):
    """Returns the contribution of some neurons to x (n, d_model)."""
    y = np.zeros_like(x)
    step = max(_MULTIPLIED // self.source.row_bytes, 1)
    for i in range(0, len(rows), step):
      chosen = neurons[i : i + step]
      few = rows[i : i + step].astype(x.dtype, copy=False)
      hidden = self.hidden(x, few, chosen)
      if active is not None:
        hidden = np.where(active[:, chosen], hidden, 0)
      # Rounded like the network's activations.
      hidden = hidden.astype(dtype).astype(x.dtype)
      y += hidden @ few[:, -x.shape[1] :]
    return y

  def hidden(
    self, x: np.ndarray, rows: np.ndarray, neurons: np.ndarray
  ) -> np.ndarray:
    """Returns the hidden values (n, m) of m neurons for inputs (n, d_model)."""
    n, kind = x.shape[1], self.source.kind
    hidden = ACTIVATIONS[kind](self._layer("in", x, rows[:, :n], neurons))
    if feedforward.KINDS[kind].gated:
      hidden *= self._layer("gate", x, rows[:, n : 2 * n], neurons)
    return hidden

  def _layer(self, name, x, weights, neurons):
    """Computes a dense layer into some neurons."""
    y = x @ weights.T
    if name in self.source.biases:
      y += self.source.biases[name][neurons].astype(x.dtype)
    return y

  def _count(self, needed, read):
    """Counts the rows of a call."""
    self.counts.rows += needed
    self.counts.rows_read += read
    self.counts.bytes_read += read * self.source.row_bytes


def check_predictor(name: str, predictor: Predictor, source: Source) -> None:
  """Checks the sizes of a predictor, and that its layer allows one.

  Raises:
    ValueError: if it does not fit.
  """
  if source.kind not in SPARSE:
    expected = f"none for a feed-forward of kind {source.kind!r}, which has "
    expected += "no inactive neurons"
    raise validate.error(name, "a predictor", expected)
  rank = predictor.W_in.shape[-1] if np.ndim(predictor.W_in) else "rank"
  validate.shape(f"{name}.W_in", predictor.W_in, (source.d_model, "rank"))
  neurons = source.region.shape[0]
  validate.shape(f"{name}.W_out", predictor.W_out, (rank, neurons))
