"""Networks for sets, independent of order and size.

`SetNetwork` reads every element separately, processes all of them in a few
steps of attention without an input, and writes by pointing at them (Order
Matters, Vinyals, Bengio, Kudlur, arXiv 1511.06391). `InducedAttention` and
`PooledAttention` are the layers of Set Transformers (Lee et al., arXiv
1810.00825): attention through a few learned points, in time linear in the set's
size, and attention of a few learned queries.
"""

import dataclasses
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp

from experiments.pointing import pointer
from jaxseq import validate
from jaxseq.mixers.gated import lstm
from jaxseq.nn import dense
from jaxseq.nn import mixer


@dataclasses.dataclass(frozen=True)
class SetConfig:
  """Options of a network that reads, processes and writes.

  Attributes:
    d_model: width of the memories.
    features: width of an element.
    steps: number of processing steps.
    glimpses: see `pointer.PointerConfig`.
    no_repeat: see `pointer.PointerConfig`.
    add_glimpses: see `pointer.PointerConfig`.
    beams: see `pointer.PointerConfig`.
  """

  d_model: int = 64
  features: int = 1
  steps: int = 5
  glimpses: int = 1
  no_repeat: bool = True
  add_glimpses: bool = False
  beams: int = 1

  def __post_init__(self):
    validate.at_least(self, d_model=1, features=1, steps=0)
    validate.at_least(self, glimpses=0, beams=1)


class Processed(NamedTuple):
  """Result of the processing of a set.

  Attributes:
    summary: (*batch, 2 d_model), the query and its read; zeros without steps.
    cell: (*batch, d_model).
    trace: (*batch, steps, 2 d_model), the summary after each step.
  """

  summary: jax.Array
  cell: jax.Array
  trace: jax.Array


class SetNetwork(pointer.PointingDecoder):
  """Read, process and write.

    network = SetNetwork(SetConfig(steps=3))
    variables = network.init(key, points, chosen)
    log_probs = network.apply(variables, points, chosen, lengths)

  Choices count from 0; there is no terminator.

  Attributes:
    config: options.
  """

  config: SetConfig

  def setup(self) -> None:
    """Creates the layers."""
    config = self.config
    width = config.d_model
    init = linen.initializers.lecun_normal()
    self.reader = dense.Dense(width)
    self.U = self.param("U", init, (2 * width, 4 * width))
    self.b = self.param("b", linen.initializers.zeros, (4 * width,))
    self.bridge = dense.Dense(width, use_bias=False)
    self.embed = dense.Dense(width, use_bias=False)
    self.decoder = mixer.SequenceMixer(lstm.Config(d_model=width))
    self.pointing = pointer.Pointing(config.glimpses, config.add_glimpses)
    small = linen.initializers.normal(0.1)
    self.go = self.param("go", small, (config.features,))

  def process(
    self, points: jax.Array, lengths: jax.Array | None = None
  ) -> Processed:
    """Returns the result of processing a set, independent of its order.

    Args:
      points: (*batch, n, features).
      lengths: (*batch,) numbers of elements; n if None.
    """
    memory = jnp.tanh(self.reader(points))
    return self._process(memory, self.inside(points, lengths))

  def read(
    self, points: jax.Array, lengths: jax.Array | None
  ) -> pointer.PointerState:
    """Returns the state before the first choice, see `begin`."""
    inside = self.inside(points, lengths)
    memory = jnp.tanh(self.reader(points))
    summary, cell, _ = self._process(memory, inside)
    start = lstm.State(self.bridge(summary), cell)
    vectors = pointer.ahead(self.go, points)
    return pointer.PointerState(memory, vectors, inside, start)

  def _process(self, memory, inside):
    width = self.config.d_model
    batch = memory.shape[:-2]
    summary = jnp.zeros((*batch, 2 * width), memory.dtype)
    cell = jnp.zeros((*batch, width), memory.dtype)
    trace = []
    for _ in range(self.config.steps):
      gates = jnp.split(summary @ self.U + self.b, 4, axis=-1)
      i, f, o = (jax.nn.sigmoid(gates[k]) for k in (0, 1, 3))
      cell = f * cell + i * jnp.tanh(gates[2])
      query = o * jnp.tanh(cell)
      scores = (memory @ query[..., None])[..., 0]
      weights = _weights(scores, inside)
      read = (weights[..., None, :] @ memory)[..., 0, :]
      summary = jnp.concatenate([query, read], axis=-1)
      trace.append(summary)
    if not trace:
      return Processed(summary, cell, summary[..., None, :][..., :0, :])
    return Processed(summary, cell, jnp.stack(trace, axis=-2))


class SetAttention(linen.Module):
  """Attention of some elements to a set, and a feed-forward layer.

  H = norm(x + attention(x, y)), and norm(H + relu(dense(H))): the "multihead
  attention block" of arXiv 1810.00825.

  Attributes:
    d_model: width.
    heads: number of heads, a divisor of it.
  """

  d_model: int
  heads: int = 4

  @linen.compact
  def __call__(
    self, x: jax.Array, y: jax.Array, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns (*batch, n, d_model).

    Args:
      x: (*batch, n, width), the elements with the queries.
      y: (*batch, m, width), the set.
      mask: (*batch, m) bool, valid elements of the set; all if None. The read
        of an empty set is zeros, and the result depends only on `x`.

    Raises:
      ValueError: if the heads or the mask do not fit.
    """
    if self.d_model % self.heads:
      expected = f"a divisor of d_model, {self.d_model}"
      raise validate.error("heads", self.heads, expected)

    def heads(name, inputs):
      out = dense.Dense(self.d_model, name=name)(inputs)
      return out.reshape(*out.shape[:-1], self.heads, -1)

    q, k, v = heads("query", x), heads("key", y), heads("value", y)
    scale = q.shape[-1] ** -0.5
    scores = scale * jnp.einsum("...qhd,...khd->...hqk", q, k)
    if mask is None:
      mask = jnp.ones(y.shape[:-1], bool)
    if mask.shape != y.shape[:-1] or mask.dtype != bool:
      expected = f"{y.shape[:-1]} bool, as masks.inside(n, lengths) makes it"
      got = f"shape {mask.shape} {mask.dtype}"
      raise validate.error("mask", got, expected)
    weights = _weights(scores, mask[..., None, None, :])
    read = jnp.einsum("...hqk,...khd->...qhd", weights, v)
    read = read.reshape(*read.shape[:-2], self.d_model)
    x = q.reshape(read.shape) + read
    x = linen.LayerNorm(name="norm_0")(x)
    x = x + jax.nn.relu(dense.Dense(self.d_model, name="dense")(x))
    return linen.LayerNorm(name="norm_1")(x)


class InducedAttention(linen.Module):
  """Attention within a set through a few learned points (ISAB).

  Attributes:
    d_model: width.
    points: number of learned points.
    heads: number of heads.
  """

  d_model: int
  points: int = 16
  heads: int = 4

  @linen.compact
  def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Maps a set (*batch, n, width), with its mask, to (*batch, n, d_model)."""
    points = _learned(self, self.points, x)
    options = self.d_model, self.heads
    read = SetAttention(*options, name="read")(points, x, mask)
    return SetAttention(*options, name="write")(x, read)


class PooledAttention(linen.Module):
  """Attention of a few learned queries to a set (PMA).

  Attributes:
    d_model: width.
    outputs: number of queries.
    heads: number of heads.
  """

  d_model: int
  outputs: int = 1
  heads: int = 4

  @linen.compact
  def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Maps a set (*batch, n, width) to (*batch, outputs, d_model)."""
    queries = _learned(self, self.outputs, x)
    x = jax.nn.relu(dense.Dense(self.d_model, name="dense")(x))
    return SetAttention(self.d_model, self.heads)(queries, x, mask)


def _learned(module, count, x):
  """Returns learned elements, repeated for every set of a batch."""
  init = linen.initializers.lecun_normal()
  rows = module.param("points", init, (count, module.d_model))
  return jnp.broadcast_to(rows, (*x.shape[:-2], *rows.shape)).astype(x.dtype)


def _weights(scores, mask):
  """Softmax over the masked-in elements; zeros if the mask is empty."""
  some = mask.any(axis=-1, keepdims=True)
  scores = jnp.where(some, jnp.where(mask, scores, -jnp.inf), 0)
  return jnp.where(mask, jax.nn.softmax(scores, axis=-1), 0)
