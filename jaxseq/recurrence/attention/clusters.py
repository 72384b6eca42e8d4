"""Attention of each element to the last ones of its own cluster.

Each element has a cluster number, and sees the last `window` elements of that
cluster in its episode, including itself: the causal form of Roy et al.,
"Efficient content-based sparse attention with Routing Transformers",
arXiv:2003.05997, which use the best elements of each cluster. The state is a
buffer for each cluster; the work grows with time * window.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _serialization
from jaxseq import validate
from jaxseq.recurrence.attention import window
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _recent


@_serialization.exported("jaxseq.recurrence.clusters.ClusterState")
class ClusterState(NamedTuple):
  """The last elements of each cluster, oldest first, after padding by zeros.

  Attributes:
    keys: (*batch, heads, clusters, window, D).
    values: like keys.
    count: (*batch, heads, clusters), number of elements, in floating point.
  """

  keys: jax.Array
  values: jax.Array
  count: jax.Array


def cluster_initial(
  batch_shape: tuple[int, ...],
  heads: int,
  clusters: int,
  window: int,
  width: int,
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> ClusterState:
  """Returns the state of a fresh sequence: empty buffers.

  Args:
    batch_shape: leading axes.
    heads: number of heads.
    clusters: number of clusters of a head.
    window: number of elements that are kept of each.
    width: of keys and values.
    dtype: of all arrays.
  """
  shape = (*batch_shape, heads, clusters, window, width)
  shapes = shape, shape, shape[:-2]
  return ClusterState(*(jnp.zeros(one, dtype) for one in shapes))


def cluster_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  cluster: jax.Array,
  init: ClusterState,
  *,
  reset: jax.Array | None = None,
  axis: str | None = None,
) -> tuple[jax.Array, ClusterState]:
  """Lets each element attend to the last ones of its cluster, and to itself.

  o_t = sum_j softmax_j(q_t . k_j / sqrt(D)) v_j. Elements are sorted by episode
  and cluster, stably, and `window_attention` runs over them with a reset at
  each border.

  Args:
    q: (*batch, time, heads, D) queries, of a floating dtype.
    k: like q, keys.
    v: like q, values.
    cluster: (*batch, time, heads) int, at least 0 and below the state's
      clusters.
    init: state before the first element; its shapes set the number of clusters,
      and the number of visible elements, at least two.
    reset: (*batch, time) bool; if true, elements before that element are no
      longer visible.
    axis: name of the mesh axis over which time is split, for use inside
      `jax.shard_map`: arrays with a time axis are this device's chunk, states
      those of the whole sequence. Devices exchange arrays of a state's size.

  Returns:
    (*batch, time, heads, D) in the dtype of q, and the state after the last
    element, in the dtype of k and init.

  Raises:
    ValueError: if shapes do not fit the above.
  """
  batch, time, heads = _check(q, k, v, cluster, init, reset)
  clusters, window, width = init.keys.shape[-3:]
  episode = jnp.zeros((*batch, time), jnp.int32)
  if reset is not None:
    episode = jnp.cumsum(reset, axis=-1, dtype=jnp.int32)

  def by_row(x):
    """(*batch, time, heads, D) as (rows, time, D), a head a row."""
    x = jnp.moveaxis(x, -2, -3)
    return x.reshape(-1, time, width)

  q, k, v = map(by_row, (q, k, v))
  number = episode[..., None] * clusters + cluster.astype(jnp.int32)
  number = jnp.moveaxis(number, -1, -2).reshape(-1, time)
  last = jnp.broadcast_to(episode[..., -1:], (*batch, heads)).reshape(-1)
  kv = jnp.concatenate([k, v], axis=-1)

  def flat(x):
    return x.reshape(-1, *x.shape[len(batch) + 1 :])

  state = jnp.concatenate([init.keys, init.values], axis=-1)
  state, count = flat(state).astype(kv.dtype), flat(init.count)
  # The caller's flag may override the state's count: any number will do then.
  count = jnp.clip(jnp.nan_to_num(count), 0, window)
  count = jnp.round(count).astype(jnp.int32)
  if axis is None:
    o, state, count = _run(q, kv, number, last, state, count)
  else:
    q, kv, number, last = _prefix.vary(axis, q, kv, number, last)
    local = _prefix.vary(axis, state)
    zeros = _prefix.vary(axis, jnp.zeros_like(count))
    numbers = _sorted(number, number[:, :0])
    left, state_part = _kept(kv, *numbers, last, local)
    through = jnp.broadcast_to((last == 0)[:, None], state_part.shape)
    summary = _recent.Recent(through, state_part, left)
    nothing = jax.tree.map(jnp.zeros_like, summary)
    begin = nothing._replace(count=zeros + count, state=local)
    entering, _ = _prefix.entering(
      summary, begin, nothing, _recent.combine, axis=axis
    )
    o, state, count = _run(q, kv, number, last, entering.state, entering.count)
    state, count = _prefix.replicate_last((state, count), axis)
  o = o.reshape(*batch, heads, time, width)
  # In the given floating dtype, if the first episode continues.
  came = jnp.arange(clusters)[:, None] == number[:, None] % clusters
  came, ended = jnp.sum(came, axis=-1), last[:, None]
  if axis is not None:
    came, ended = lax.psum((came, ended), axis)
  dtype = jnp.promote_types(kv.dtype, init.count.dtype)
  before = flat(init.count).astype(dtype)
  going_on = jnp.minimum(before + came.astype(dtype), window)
  count = jnp.where(ended == 0, going_on, count.astype(dtype))
  return jnp.moveaxis(o, -3, -2), _shaped(state, count, init)


def cluster_step(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  cluster: jax.Array,
  init: ClusterState,
  *,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, ClusterState]:
  """Attends with one element, which reads one buffer of each head.

  Args:
    q: (*batch, heads, D) queries; k and v have this shape too.
    k: keys.
    v: values.
    cluster: (*batch, heads) int.
    init: state before the element.
    reset: (*batch,) bool.

  Returns:
    (*batch, heads, D) and the state after the element.

  Raises:
    ValueError: if shapes do not fit the above.
  """
  flag = None if reset is None else reset[..., None]
  _check(
    *(x[..., None, :, :] for x in (q, k, v)), cluster[..., None, :], init, flag
  )
  window, width = init.keys.shape[-2:]
  if reset is not None:

    def begun(x):
      flags = reset.reshape(reset.shape + (1,) * (x.ndim - reset.ndim))
      return jnp.where(flags, jnp.zeros((), x.dtype), x)

    init = jax.tree.map(begun, init)
  held = jnp.arange(window) >= window - jnp.round(init.count[..., None])
  keys, values = (
    jnp.where(held[..., None], x, jnp.zeros((), x.dtype)) for x in init[:2]
  )
  init = init._replace(keys=keys, values=values)
  chosen = cluster[..., None]
  count = jnp.take_along_axis(init.count, chosen, axis=-1)[..., 0] + 1
  count = jnp.minimum(count, window)
  index = chosen[..., None, None]

  def moved(buffers, x):
    """The buffer of the element's cluster with the element appended."""
    buffer = jnp.take_along_axis(buffers, index, axis=-3)[..., 0, 1:, :]
    return jnp.concatenate([buffer, x[..., None, :].astype(buffer.dtype)], -2)

  keys, values = moved(init.keys, k), moved(init.values, v)
  seen = jnp.arange(window) >= window - jnp.round(count[..., None])
  wide = jnp.promote_types(q.dtype, jnp.float32)
  operands = _contractions.operand_dtype(q.dtype, wide)
  near, seen_values = (x.astype(q.dtype) for x in (keys, values))
  scores = _contractions.einsum("...d,...wd->...w", q, near, operands)
  scores = jnp.where(seen, scores / np.sqrt(width), -jnp.inf)
  weights = jax.nn.softmax(scores)
  o = _contractions.einsum("...w,...wd->...d", weights, seen_values, operands)
  marks = jnp.arange(init.count.shape[-1]) == chosen

  def put(buffers, buffer):
    return jnp.where(marks[..., None, None], buffer[..., None, :, :], buffers)

  counts = jnp.where(marks, count[..., None], init.count)
  state = ClusterState(put(init.keys, keys), put(init.values, values), counts)
  return o.astype(q.dtype), state


def _run(q, kv, number, last, state, count):
  """Attention of rows (rows, time, D), from buffers (rows, clusters, ...)."""
  rows, clusters, reach, _ = state.shape
  time, width = q.shape[1:]
  # Buffered elements are of the first episode; empty places are of none.
  held = jnp.arange(reach) >= reach - count[..., None]
  numbers = jnp.where(held, jnp.arange(clusters)[:, None], -1)
  numbers = numbers.reshape(rows, -1).astype(jnp.int32)
  order, number = _sorted(number, numbers)
  kv = jnp.concatenate([state.reshape(rows, -1, 2 * width), kv], axis=1)
  earlier = kv.shape[1] - time
  kv = jnp.take_along_axis(kv, order[..., None], axis=1)
  back = jnp.argsort(order, axis=-1)[:, earlier:]
  q = jnp.pad(q, ((0, 0), (earlier, 0), (0, 0)))
  q = jnp.take_along_axis(q, order[..., None], axis=1)
  begins = jnp.pad(number[:, 1:] != number[:, :-1], ((0, 0), (1, 0)))
  k, v = jnp.split(kv, 2, axis=-1)
  arguments = (x[:, :, None] for x in (q, k, v))
  o, _ = window.window_attention(
    # Blocks of queries that read few more keys than they see.
    *arguments,
    reach - 1,
    reset=begins,
    block_size=max(64, reach),
  )
  o = jnp.take_along_axis(o[:, :, 0], back[..., None], axis=1)
  return o, *_from_sorted(kv, number, last, state)


def _sorted(number, buffered):
  """The order by episodes and clusters, older first, and the sorted numbers."""
  number = jnp.concatenate([buffered, number], axis=1)
  order = jnp.argsort(number, axis=-1, stable=True)
  return order, jnp.take_along_axis(number, order, axis=-1)


def _kept(kv, order, number, last, like):
  """Buffers and counts of one chunk, shaped like the given ones."""
  kv = jnp.take_along_axis(kv, order[..., None], axis=1)
  return _from_sorted(kv, number, last, like)


def _from_sorted(kv, number, last, like):
  """The last elements (rows, clusters, window, 2 D) of the last episode."""
  clusters, window = like.shape[1:3]
  wanted = last[:, None] * clusters + jnp.arange(clusters)

  def below(edge):
    return jnp.sum(number[:, None] < edge[..., None], axis=-1, dtype=jnp.int32)

  start, end = below(wanted), below(wanted + 1)
  index = end[..., None] - window + jnp.arange(window)
  valid = index >= start[..., None]
  flat = jnp.maximum(index, 0).reshape(kv.shape[0], -1)
  values = jnp.take_along_axis(kv, flat[..., None], axis=1)
  values = values.reshape(like.shape)
  values = jnp.where(valid[..., None], values, jnp.zeros((), values.dtype))
  return values, jnp.minimum(end - start, window)


def _shaped(state, count, init):
  """Reshapes buffers and counts of rows to the shapes of a state."""
  keys, values = jnp.split(state, 2, axis=-1)
  return ClusterState(
    keys.reshape(init.keys.shape),
    values.reshape(init.values.shape),
    count.reshape(init.count.shape),
  )


def _check(q, k, v, cluster, init, reset):
  """Checks the arguments; returns batch shape, time and heads."""
  *batch, time, heads, width = validate.shape(
    "q", q, ("*batch", "time", "heads", "D")
  )
  validate.shape("k", k, q.shape)
  validate.shape("v", v, q.shape)
  validate.shape("cluster", cluster, q.shape[:-1])
  shape = validate.shape(
    "init.keys", init.keys, (*batch, heads, "clusters", "window", width)
  )
  if shape[-2] < 2:
    raise validate.error("init.keys", f"shape {shape}", "a window of 2 or more")
  validate.shape("init.values", init.values, shape)
  validate.shape("init.count", init.count, shape[:-2])
  _checks.floating(q=q)
  _checks.reset(reset, (*batch, time))
  return tuple(batch), time, heads
