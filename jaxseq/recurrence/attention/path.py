"""PaTH: attention whose keys are transformed by the elements after them.

  score(t, s) = (q_t^T P_t ... P_{s+1} k_s + decay_{s+1} + ... + decay_t)
                / sqrt(d)
  P_j = I - beta_j w_j w_j^T,  |w_j| = 1

Yang et al., "PaTH attention: position encoding via accumulating Householder
transformations", arXiv:2505.16381. The state is a window of transformed keys:
each element transforms all of them and appends its own. In a chunk of time the
products of maps are I - W^T T W with one triangular inverse T, as in section 3
of the paper.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import validate
from jaxseq.recurrence.delta import _unit_triangular
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import chunked


@_serialization.exported("jaxseq.recurrence.PathState")
class PathState(NamedTuple):
  """The last elements of PaTH attention, oldest first.

  Attributes:
    keys: (*batch, window, groups, d), turned by all elements after them.
    values: (*batch, window, groups, dv).
    fades: (*batch, window, heads), sums of the decays after them.
    count: (*batch, 1), how many of the last places hold elements.
  """

  keys: jax.Array
  values: jax.Array
  fades: jax.Array
  count: jax.Array


def path_initial(
  batch: tuple[int, ...],
  window: int,
  heads: int,
  groups: int,
  widths: tuple[int, int],
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> PathState:
  """Returns the state of no elements; widths are d and dv."""
  keys, values = (jnp.zeros((*batch, window, groups, n), dtype) for n in widths)
  fades = jnp.zeros((*batch, window, heads), dtype)
  return PathState(keys, values, fades, jnp.zeros((*batch, 1), dtype))


def path_scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  w: jax.Array,
  beta: jax.Array,
  decay: jax.Array,
  init: PathState,
  *,
  reset: jax.Array | None = None,
  chunk_size: int = 64,
) -> tuple[jax.Array, PathState]:
  """Attends over a sequence; elements see a window of those before them.

  Args:
    q: (*batch, time, heads, d) queries.
    k: (*batch, time, groups, d) keys, each for heads / groups neighboring
      heads, like v, w and beta.
    v: (*batch, time, groups, dv) values.
    w: (*batch, time, groups, d) directions of length 1.
    beta: (*batch, time, groups) in (0, 2).
    decay: (*batch, time, heads), at most 0.
    init: state before the first element, with as many elements as each query
      sees beside itself.
    reset: (*batch, time) bool; if true, earlier elements are no longer visible.
    chunk_size: elements per chunk.

  Returns:
    Outputs (*batch, time, heads, dv) in the dtype of v, and the last state.
    Computed in at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  arrays = (q, k, v, w, beta, decay)
  names = ("q", "k", "v", "w", "beta", "decay")
  _checks.floating(**dict(zip(names, arrays)))
  *lead, heads, d = validate.shape("q", q, ("*lead", "heads", "d"))
  groups, dv = v.shape[-2:]
  validate.shape("k", k, (*lead, groups, d))
  validate.shape("w", w, (*lead, groups, d))
  validate.shape("v", v, (*lead, groups, dv))
  validate.shape("beta", beta, (*lead, groups))
  validate.shape("decay", decay, (*lead, heads))
  if heads % groups:
    raise validate.error("groups", groups, f"a divisor of {heads} heads")
  _checks.reset(reset, tuple(lead))
  dtype = jnp.result_type(*arrays, *init, jnp.float32)
  x = tuple(x.astype(dtype) for x in arrays)
  state = tuple(leaf.astype(dtype) for leaf in init)
  # In a chunk longer than the window, some keys would be visible for too long.
  size = min(chunk_size, init.keys.shape[-3] + 1)
  o, last = chunked.chunked(_chunk, state, x, reset, size=size)
  return o.astype(v.dtype), PathState(*last)


def _chunk(state, x, reset):
  """Attends to all pairs of a chunk, and to the state before it."""
  q, k, v, w, beta, decay = x
  keys, values, fades, count = state
  rows, time, groups, d = k.shape
  window, shared = keys.shape[1], q.shape[2] // groups
  episode = jnp.zeros((rows, time), jnp.int32)
  if reset is not None:
    episode = jnp.cumsum(reset, axis=1, dtype=jnp.int32)

  # Heads in front of time: (rows, groups, [heads of a group,] time, n).
  q = jnp.moveaxis(q.reshape(rows, time, groups, shared, d), 1, 3)
  k, v, w, old, seen_values = (
    jnp.moveaxis(z, 1, 2) for z in (k, v, w, keys, values)
  )
  decay = jnp.moveaxis(decay.reshape(rows, time, groups, shared), 1, 3)
  faded = jnp.moveaxis(fades.reshape(rows, window, groups, shared), 1, 3)
  beta = jnp.moveaxis(beta, 1, 2)

  product = functools.partial(jnp.einsum, "...td,...sd->...ts")
  lower = _unit_triangular.inverse(
    jnp.tril(beta[..., None] * product(w, w), -1)
  )
  T = lower * beta[..., None, :]
  turned = T @ w
  by_q = jnp.tril(product(q, w[:, :, None]))
  by_k = jnp.tril(product(w, k), -1)
  inside = product(q, k[:, :, None]) - by_q @ (T @ by_k)[:, :, None]
  before = product(q - by_q @ turned[:, :, None], old[:, :, None])

  # Sums of pairs: differences of large sums would round.
  earlier = jnp.tril(jnp.ones((time, time), bool), -1)
  fade = jnp.cumsum(jnp.where(earlier, decay[..., None], 0), axis=-2)
  through = jnp.cumsum(decay, axis=-1)
  inside += fade
  before += faded[..., None, :] + through[..., None]

  pairs = jnp.tril(episode[:, :, None] == episode[:, None, :])
  place = jnp.arange(window)
  held = place >= window - _whole(count)  # (rows, window)
  near = place >= jnp.arange(time)[:, None]
  reach = (episode == 0)[:, :, None] & held[:, None] & near
  visible = jnp.concatenate([reach, pairs], axis=-1)[:, None, None]
  scores = jnp.concatenate([before, inside], axis=-1) / math.sqrt(d)
  shares = jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1)
  shares = jnp.where(visible, shares, 0)
  all_values = jnp.concatenate([seen_values, v], axis=2)
  o = jnp.moveaxis(shares @ all_values[:, :, None], 3, 1)
  o = o.reshape(rows, time, groups * shared, -1)

  old -= product(old, w) @ (jnp.swapaxes(T, -1, -2) @ w)
  k -= jnp.swapaxes(T @ by_k, -1, -2) @ w
  faded = jnp.concatenate([faded + through[..., -1:], fade[..., -1, :]], -1)
  last_episode = jnp.sum(episode == episode[:, -1:], axis=1, keepdims=True)
  carried = jnp.where(episode[:, -1:] == 0, count, 0)
  count = jnp.minimum(window, carried + last_episode).astype(count.dtype)
  held = place >= window - _whole(count)

  def newest(x, axis):
    """The last elements of this episode, with time after the rows."""
    x = jnp.moveaxis(x, axis, 1)[:, -window:]
    return jnp.where(held.reshape(*held.shape, *[1] * (x.ndim - 2)), x, 0)

  fades = newest(faded, 3).reshape(rows, window, -1)
  keys = newest(jnp.concatenate([old, k], axis=2), 2)
  return (keys, newest(all_values, 2), fades, count), o


def _whole(count):
  """Rounds a count, which keeps its floating dtype."""
  return jnp.round(jax.lax.stop_gradient(count))
