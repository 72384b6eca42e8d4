"""Log-linear attention: one matrix state per range of past elements.

  o_t = sum_{s <= t} scales_t[level(t, s)] exp(decay_{s+1} + ... + decay_t)
        (q_t . k_s) v_s
  level(t, s) = bit_length(t xor s)

with t and s the numbers of earlier elements in the episode. Level 0 is the
element itself; older elements are in ranges whose lengths are powers of 2, each
with its own state and a weight chosen by the reading element. Guo et al.,
"Log-linear attention", arXiv:2506.04761.

Elements older than 2^(levels - 2) may share the last level.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import validate
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import chunked

# Counts restart at 0 after so many elements, which float32 represents exactly:
# by then all earlier elements are in the last level.
_MOST = 2**23
LARGEST = 23


@_serialization.exported("jaxseq.recurrence.LogLinearState")
class LogLinearState(NamedTuple):
  """State of log-linear attention.

  Attributes:
    S: (*batch, levels, dk, dv), a matrix for each level; the first is empty
      between elements.
    count: (*batch,), number of elements of the episode so far.
  """

  S: jax.Array
  count: jax.Array


def log_linear_initial(
  batch: tuple[int, ...],
  levels: int,
  dk: int,
  dv: int,
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> LogLinearState:
  """Returns the state of a fresh sequence: zeros."""
  S = jnp.zeros((*batch, levels, dk, dv), dtype)
  return LogLinearState(S, jnp.zeros(batch, dtype))


def log_linear_scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array,
  scales: jax.Array,
  init: LogLinearState | None = None,
  *,
  reset: jax.Array | None = None,
  chunk_size: int = 64,
  axis: str | None = None,
) -> tuple[jax.Array, LogLinearState]:
  """Runs the recurrence over time; heads are batch axes.

  Args:
    q: (*batch, time, dk) queries.
    k: (*batch, time, dk) keys.
    v: (*batch, time, dv) values.
    decay: (*batch, time, 1) logarithms of the states' factors, finite and at
      most 0.
    scales: (*batch, time, levels) weights of the levels, 2 to 23 of them.
    init: state before the first element; the fresh state if None.
    reset: (*batch, time) bool; if true, the state is fresh before that
      element is consumed.
    chunk_size: elements per chunk, of which all pairs are stored together.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.

  Returns:
    Outputs (*batch, time, dv) in the dtype of v, and the last state. Computed
    in at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  batch, levels = _check(q, k, v, decay, scales, time=True)
  time, (dk, dv) = q.shape[-2], (q.shape[-1], v.shape[-1])
  _checks.reset(reset, (*batch, time))
  arrays = (q, k, v, decay, scales)
  dtype = jnp.result_type(*arrays, jnp.float32)
  if init is None:
    init = log_linear_initial(batch, levels, dk, dv, dtype)
  _checks.shape("init.S", init.S, (*batch, levels, dk, dv))
  places, count, stretches = _places(
    init.count.astype(dtype), reset, (*batch, time), axis
  )
  wide_q, wide_k, values, *rest = (x.astype(dtype) for x in arrays)
  before = init.S.astype(dtype).reshape(*batch, levels * dk, dv)

  def run(values, state, reset):
    x = wide_q, wide_k, values, *rest, places[..., None].astype(dtype)
    chunk = functools.partial(_chunk, levels)
    return chunked.chunked(chunk, state, x, reset, size=chunk_size)

  if axis is not None:
    _, local = run(values, jnp.zeros_like(before), reset)
    local, S = (x.reshape(init.S.shape) for x in (local, before))
    total = jnp.sum(rest[0][..., 0], axis=-1)
    before = _entering(S, local, total, stretches, axis)
    before = before.reshape(*batch, levels * dk, dv)
  o, last = run(values, before, reset)
  if axis is not None:
    last = _prefix.replicate_last(last, axis)
  S = last.reshape(*batch, levels, dk, dv)
  return o.astype(v.dtype), LogLinearState(S, count)


def log_linear_step(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array,
  scales: jax.Array,
  state: LogLinearState,
  *,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, LogLinearState]:
  """Runs one element of `log_linear_scan`: arrays without the time axis.

  Returns:
    Outputs (*batch, dv) in the dtype of v, and the state.
  """
  batch, levels = _check(q, k, v, decay, scales, time=False)
  _checks.reset(reset, batch)
  arrays = (q, k, v, decay, scales)
  dtype = jnp.result_type(*arrays, jnp.float32)
  wide_q, wide_k, values, decay, scales = (x.astype(dtype) for x in arrays)
  S, count = state.S.astype(dtype), state.count.astype(dtype)
  if reset is not None:
    S = jnp.where(reset[..., None, None, None], 0, S)
    count = jnp.where(reset, 0, count)
  S = jnp.exp(decay)[..., None, None] * S
  S = S.at[..., 0, :, :].add(wide_k[..., :, None] * values[..., None, :])
  o = jnp.einsum("...l,...k,...lkv->...v", scales, wide_q, S)
  # Levels below the lowest bit of the new count move to the level above it.
  count += 1
  number = _whole(count)
  target = jnp.minimum(_bit_length(number & -number), levels - 1)[..., None]
  level = jnp.arange(levels)
  moved = (level < target)[..., None, None]
  total = jnp.sum(jnp.where(moved, S, 0), axis=-3, keepdims=True)
  S = jnp.where(moved, 0, S)
  S += jnp.where((level == target)[..., None, None], total, 0)
  return o.astype(v.dtype), LogLinearState(S, _wrapped(count))


def _check(q, k, v, decay, scales, *, time):
  """Checks arrays; returns the batch shape and the number of levels."""
  _checks.floating(q=q, k=k, v=v, decay=decay, scales=scales)
  lead = validate.shape("q", q, ("*lead", "dk"))[:-1]
  validate.shape("k", k, (*lead, q.shape[-1]))
  validate.shape("v", v, (*lead, "dv"))
  validate.shape("decay", decay, (*lead, 1))
  levels = validate.shape("scales", scales, (*lead, "levels"))[-1]
  if not 2 <= levels <= LARGEST:
    raise validate.error("levels of scales", levels, f"2 to {LARGEST}")
  return tuple(lead[:-1] if time else lead), levels


def _places(count, reset, shape, axis):
  """Each element's place in its episode, the last count, and chunk counts."""
  # With an axis, `stretches` has for each device's chunk, of (batch,): whether
  # an episode begins in it, and the counts before and after it. Else it is
  # empty.
  *batch, time = shape
  index = jnp.arange(time, dtype=jnp.int32)
  start = jnp.full((*batch, time), -1)
  if reset is not None:
    start = lax.cummax(jnp.where(reset, index, -1), axis=len(batch))
  fresh, last = start >= 0, start[..., -1]
  after = jnp.where(last >= 0, time - last, time)
  last = last >= 0
  count, stretches = jnp.broadcast_to(count, tuple(batch)), []
  if axis is not None:
    last, after, count = _prefix.vary(axis, last, after, count)
    gathered = lax.all_gather((last, after), axis)
    for ended, more in zip(*gathered):
      before = count
      count = jnp.where(ended, more, count + more)
      stretches.append((ended, before, count))
    rank, count = lax.axis_index(axis), stretches[0][1]
    for device, (_, before, _) in enumerate(stretches):
      count = jnp.where(device == rank, before, count)
  final = _wrapped(jnp.where(last, after, count + after))
  if axis is not None:
    final = _prefix.replicate_last(final, axis)
  places = jnp.where(fresh, index - start, index + _whole(count)[..., None])
  return places % _MOST, final, stretches


def _entering(S, local, total, stretches, axis):
  """Returns the states before this device's chunk."""
  # `own` are the states after each chunk from zeros, `total` its sums of
  # decays.
  S, local, total = _prefix.vary(axis, S, local, total)
  entering, rank = S, lax.axis_index(axis)
  devices = zip(stretches, *lax.all_gather((local, total), axis))
  for device, ((ended, before, after), local, total) in enumerate(devices):
    entering = jnp.where(device == rank, S, entering)
    ends = _whole(before) % _MOST, _whole(after)
    kept = jnp.where(ended, 0, jnp.exp(total))
    S = _merged(S, *ends, kept) + local
  return entering


def _merged(S, entering, leaving, kept):
  """Moves decayed states (*batch, levels, dk, dv) to their new levels."""
  levels = S.shape[-3]
  moved = jnp.minimum(_bit_length(leaving ^ entering), levels - 1)
  moved = jnp.maximum(moved[..., None], jnp.arange(levels))
  moves = jax.nn.one_hot(moved, levels, dtype=S.dtype)
  return jnp.einsum("...lm,...lkv->...mkv", moves * kept[..., None, None], S)


def _wrapped(count):
  """Wraps counts around, with a gradient of 1."""
  return count - _MOST * jnp.floor(lax.stop_gradient(count) / _MOST)


def _whole(count):
  """Rounds counts to integers; undefined ones become 0."""
  count = jnp.round(lax.stop_gradient(count))
  return jnp.where(jnp.isfinite(count), count, 0).astype(jnp.int32)


def _bit_length(x):
  return 32 - lax.clz(x.astype(jnp.int32))


def _chunk(levels, state, x, reset):
  """Computes all pairs of a chunk, and its effect on the entering levels."""
  q, k, v, decay, scales, places = x
  rows, time, dk = k.shape
  g, places = decay[..., 0], places[..., 0].astype(jnp.int32)
  S = state.reshape(rows, levels, dk, -1)
  episode = jnp.zeros((rows, time), jnp.int32)
  if reset is not None:
    episode = jnp.cumsum(reset, axis=1, dtype=jnp.int32)
  alive = (episode == 0, episode == episode[:, -1:])

  def level(of, since):
    return jnp.minimum(_bit_length(of ^ since), levels - 1)

  # Sums of pairs: differences of large sums would round.
  earlier = jnp.tril(jnp.ones((time, time), bool), -1)
  faded = jnp.cumsum(jnp.where(earlier, g[:, :, None], 0), axis=1)
  seen = jnp.tril(episode[:, :, None] == episode[:, None, :])
  chosen = level(places[:, :, None], places[:, None, :])
  weight = jnp.take_along_axis(scales, chosen, axis=-1) * jnp.exp(faded)
  scores = jnp.einsum("rtk,rsk->rts", q, k) * jnp.where(seen, weight, 0)
  y = scores @ v

  entering, leaving = places[:, :1], places[:, -1:] + 1
  through = jnp.cumsum(g, axis=1)
  slots = jnp.arange(levels)
  chosen = level(places, entering)[..., None]
  chosen = jnp.maximum(chosen, slots)
  weight = jnp.take_along_axis(scales, chosen, axis=-1)
  weight *= jnp.where(alive[0], jnp.exp(through), 0)[..., None]
  read = (weight[..., None] * q[:, :, None, :]).reshape(rows, time, -1)
  y += read @ state

  kept = jnp.where(alive[0][:, -1], jnp.exp(through[:, -1]), 0)
  S = _merged(S, entering[:, 0], leaving[:, 0], kept)
  weight = jnp.where(alive[1], jnp.exp(faded[:, -1]), 0)[..., None]
  weight *= jax.nn.one_hot(level(leaving, places), levels, dtype=S.dtype)
  added = (weight[..., None] * k[:, :, None, :]).reshape(rows, time, -1)
  return S.reshape(state.shape) + added.swapaxes(1, 2) @ v, y
