"""Running softmax averages per channel over chunks of time, in three ways."""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _resets

NEG = _softmax_state.NEG
SoftmaxState = _softmax_state.SoftmaxState
Inputs = _softmax_state.Inputs

# A chunk whose logits stay this close together needs one shift per channel:
# exp(30) squared, which the gradient divides by, is far inside float32.
_RANGE = 30.0
# Largest logits up to this shift nothing, so that an episode's numbers do not
# depend, in their last bits, on those of another one in the chunk.
_UNSHIFTED = 15.0

# Rows of the blocks in which each pair of elements has its own exponent.
_BLOCK = 16


def run(
  inputs: Inputs,
  init: SoftmaxState,
  reset: jax.Array | None,
  *,
  sink: float | None,
  size: int,
  method: str,
) -> tuple[SoftmaxState, jax.Array]:
  """State after the last element, and outputs [R, T, E]; chunks of `size`."""
  # m, u [R, n] and w [R, D, E] have the dtype to compute in; m is a constant
  # for gradients. Outputs have the common dtype of q, k and v.
  function = _function(method, sink)
  return _chunks.over_chunks(function, size, init, inputs, reset)


@functools.cache
def _function(method, sink):
  """Returns the function of a chunk; the same object for equal options."""
  function = _METHODS[method]

  def chunk(state, inputs, reset):
    dtype = state.w.dtype
    out, n = _softmax_state.output_dtype(inputs), inputs.logits.shape[-1]
    inputs = jax.tree.map(lambda x: x.astype(dtype), inputs)
    state = state._replace(m=lax.stop_gradient(state.m))
    logits = _softmax_state.clamp(inputs.logits)
    logits, state = _softmax_state.in_all_channels(logits, state)
    inputs = inputs._replace(logits=logits)
    state, o = function(state, inputs, reset, sink)
    return _softmax_state.in_own_channels(state, n), o.astype(out)

  return chunk


def _sequential(state, inputs, reset, sink):
  """One element at a time."""

  def body(state, x):
    (q, logits, k, v), reset_t = x
    if reset_t is not None:
      state = _resets.select(reset_t, _softmax_state.fresh(sink, state), state)
    # As in `step`, with m a constant.
    m = jnp.maximum(state.m, lax.stop_gradient(logits))
    state = _softmax_state.next_state(logits, k, v, state, m)
    o = jnp.einsum("rd,rde->re", _softmax_state.divide(q, state.u), state.w)
    return state, o

  xs = jax.tree.map(lambda x: x.swapaxes(0, 1), (inputs, reset))
  state, o = lax.scan(body, state, xs)
  return state, o.swapaxes(0, 1)


def _associative(state, inputs, reset, sink):
  """A tree over the chunk; stores the matrix state of each element."""
  q, logits, k, v = inputs
  shift = lax.stop_gradient(logits)
  weight = jnp.where(logits > NEG, jnp.exp(logits - shift), 0)
  key = weight if k is None else weight * k
  leaves = SoftmaxState(shift, weight, key[..., None] * v[:, :, None, :])
  if reset is None:
    reset = jnp.zeros(logits.shape[:2], bool)
  elif sink is not None:
    # A fresh sequence starts with the sink.
    after_reset = _softmax_state.softmax_combine(
      _softmax_state.fresh(sink, leaves), leaves
    )
    leaves = _resets.select(reset, after_reset, leaves)
  states = _scan_tree(state, leaves, reset)
  o = jnp.einsum(
    "rtd,rtde->rte", _softmax_state.divide(q, states.u[:, 1:]), states.w[:, 1:]
  )
  return jax.tree.map(lambda x: x[:, -1], states), o


def _scan_tree(first, leaves, reset):
  """The states before the first element and after each, [R, C + 1, ...]."""
  nothing = jax.tree.map(
    lambda x: x[:, None], _softmax_state.fresh(None, first)
  )
  leaves = jax.tree.map(
    lambda x, y: jnp.concatenate([x[:, None], y], axis=1), first, leaves
  )
  reset = jnp.pad(reset, ((0, 0), (1, 0)))

  def combine(left, right):
    # Selected before the merge, so that no undefined number on the left enters
    # the gradients on the right.
    earlier = _resets.select(right[1], nothing, left[0])
    return _softmax_state.softmax_combine(earlier, right[0]), left[1] | right[1]

  return lax.associative_scan(combine, (leaves, reset), axis=1)[0]


def _chunked(state, inputs, reset, sink):
  """Matrix products over the chunk."""
  q, logits, k, v = inputs
  good = _finite(logits) & _finite(v)
  if k is not None:
    good &= _finite(k)
    k = jnp.where(good[..., None], k, 0)
  good_q = _finite(q)
  q = jnp.where(good_q[..., None], q, 0)
  logits = jnp.where(good[..., None], logits, NEG)
  inputs = Inputs(q, logits, k, jnp.where(good[..., None], v, 0))
  good_state = (
    _finite(state.m) & _finite(state.u) & jnp.all(_finite(state.w), axis=-1)
  )
  state = _resets.select(good_state, state, _softmax_state.fresh(sink, state))
  spoiled = _spoiled(~good, ~good_state, reset)

  if logits.shape[1] <= _BLOCK:
    state, o = _block(state, inputs, reset, sink=sink)
  else:
    shift, one_shift = _shift(state, logits, reset, sink)
    forms = [
      functools.partial(form, sink=sink) for form in (_one_shift, _blocks)
    ]
    state, o = lax.cond(one_shift, *forms, state, inputs, reset, shift)
  o = jnp.where((spoiled | ~good_q)[..., None], jnp.nan, o)
  undefined = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state)
  return _resets.select(spoiled[:, -1], undefined, state), o


def _finite(x):
  return jnp.all(jnp.isfinite(x), axis=-1)


def _spoiled(bad, bad_state, reset):
  """Flags of elements with a bad one since the last reset, [R, C]."""
  index = jnp.arange(1, bad.shape[1] + 1)
  start = jnp.where(bad_state, 0, -1)[:, None]
  last_bad = jnp.maximum(lax.cummax(jnp.where(bad, index, -1), axis=1), start)
  if reset is None:
    return last_bad >= 0
  return last_bad >= lax.cummax(jnp.where(reset, index, 0), axis=1)


def _shift(state, logits, reset, sink):
  """Returns a shift [R, D] of the chunk, and whether it fits all logits."""

  def shift_by(largest):
    return jnp.where(jnp.abs(largest) <= _UNSHIFTED, 0, largest)

  logits = lax.stop_gradient(logits)
  bottom = NEG if sink is None else sink
  if reset is None:
    shift = shift_by(jnp.maximum(state.m, jnp.max(logits, axis=1)))
    gap = shift - jnp.maximum(state.m, logits[:, 0])
    return shift, jnp.all(gap <= _RANGE)
  start = jnp.where(reset[:, :1], bottom, state.m)
  start_or_sink = jnp.maximum(start, bottom)
  shift = shift_by(jnp.maximum(start_or_sink, jnp.max(logits, axis=1)))
  gap = shift - jnp.maximum(start, logits[:, 0])
  gaps = shift[:, None] - jnp.maximum(logits, bottom)
  gaps = jnp.where(reset[..., None], gaps, 0)
  return shift, jnp.all(gap <= _RANGE) & jnp.all(gaps <= _RANGE)


def _masks(reset, length):
  """Masks: t counts s; t reads the initial state; the last state counts s."""
  causal = jnp.tri(length, dtype=bool)[None]
  if reset is None:
    all_visible = jnp.ones((1, length, 1), bool)
    return causal, all_visible, all_visible
  segment = jnp.cumsum(reset, axis=1)[..., None]
  same = segment == segment.swapaxes(1, 2)
  return causal & same, segment == 0, segment == segment[:, -1:]


def _one_shift(state, inputs, reset, shift, *, sink):
  """All weights of the chunk relative to one shift: plain matrix products."""
  q, logits, k, v = inputs
  counts, sees, stays = _masks(reset, q.shape[1])
  weight = jnp.where(logits > NEG, jnp.exp(logits - shift[:, None]), 0)
  # Unused if masked, but must not be infinite.
  entering = jnp.where(sees[:, 0], state.m - shift, 0)
  entering = jnp.where(sees[:, 0], jnp.exp(entering), 0)
  # All outputs are divided by u: accelerators must use full precision here.
  each = jnp.broadcast_to(counts, q.shape[:1] + counts.shape[1:])
  each = each.astype(q.dtype)
  u = jnp.einsum("rts,rsd->rtd", each, weight, precision="highest")
  begin = 0
  if sink is not None:
    begin = jnp.exp(jnp.minimum(sink - shift, _RANGE))[:, None]
  u = u + jnp.where(sees, (entering * state.u)[:, None], begin)
  read = _softmax_state.divide(q, u)
  key = weight if k is None else weight * k
  scores = jnp.einsum("rtd,rsd->rts", read, key)
  o = jnp.where(counts, scores, 0) @ v
  before = jnp.where(sees, read * entering[:, None], 0) @ state.w
  o = o + jnp.where(sees, before, 0)

  start = jnp.where(sees[:, -1], state.m, NEG if sink is None else sink)
  m = jnp.maximum(start, jnp.max(jnp.where(stays, logits, NEG), axis=1))
  m = lax.stop_gradient(m)
  grow = jnp.exp(shift - m)
  w = jnp.where(stays, key, 0).swapaxes(1, 2) @ v
  w = w + jnp.where(sees[:, -1:], entering[..., None] * state.w, 0)
  return SoftmaxState(m, grow * u[:, -1], grow[..., None] * w), o


def _blocks(state, inputs, reset, shift, *, sink):
  """Blocks of 16 elements, one after the other, for any logits."""
  del shift
  rows, length = inputs.q.shape[:2]
  size = min(_BLOCK, length)
  count = -(-length // size)

  def split(x, fill):
    widths = ((0, 0), (0, count * size - length)) + ((0, 0),) * (x.ndim - 2)
    x = jnp.pad(x, widths, constant_values=fill)
    return x.reshape((rows, count, size) + x.shape[2:]).swapaxes(0, 1)

  q, logits, k, v = inputs
  k = None if k is None else split(k, 0)
  xs = Inputs(split(q, 0), split(logits, NEG), k, split(v, 0))
  flags = None if reset is None else split(reset, False)
  block = jax.checkpoint(functools.partial(_block, sink=sink))
  state, o = lax.scan(lambda state, x: block(state, *x), state, (xs, flags))
  o = o.swapaxes(0, 1).reshape(rows, count * size, -1)
  return state, o[:, :length]


def _block(state, inputs, reset, *, sink):
  """Each pair of elements has its own exponent, at most 0."""
  q, logits, k, v = inputs
  counts, sees, _ = _masks(reset, q.shape[1])
  pairs = counts[..., None] & (logits > NEG)[:, None]
  start = jnp.where(sees, state.m[:, None], NEG if sink is None else sink)
  highest = jnp.max(jnp.where(pairs, logits[:, None], NEG), axis=2)
  m = lax.stop_gradient(jnp.maximum(start, highest))
  exponents = jnp.where(pairs, logits[:, None] - m[:, :, None], NEG)
  weights = jnp.exp(exponents)  # [R, t, s, D]
  entering = jnp.exp(start - m)
  u = jnp.sum(weights, axis=2) + entering * jnp.where(
    sees, state.u[:, None], 0 if sink is None else 1
  )
  read = _softmax_state.divide(q, u)
  keys = weights if k is None else weights * k[:, None]
  o = jnp.sum(read[:, :, None] * keys, axis=-1) @ v
  before = jnp.where(sees, read * entering, 0) @ state.w
  o = o + jnp.where(sees, before, 0)
  w = keys[:, -1].swapaxes(1, 2) @ v
  left = jnp.where(sees[:, -1], entering[:, -1], 0)
  w = w + left[..., None] * state.w
  return SoftmaxState(m[:, -1], u[:, -1], w), o


_METHODS = {
  "sequential": _sequential,
  "associative": _associative,
  "chunked": _chunked,
}
