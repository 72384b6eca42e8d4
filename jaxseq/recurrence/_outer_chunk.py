"""One chunk of `outer_scan`: matrix products in place of a loop.

Arrays have their heads before time and time before features:

  q, k   [B, 1, C, K]   one for all R heads of a group
  v      [B, R, C, V]
  a      [B, R, C, A]   log-decays, A = 1 or K; or None
  S      [B, R, K, V]   state before the chunk
  reset  [B, C]         or None

With s_t the sum of the log-decays up to element t,

  o_t = sum_{j <= t} (q_t exp(s_t - s_j) k_j) v_j + q_t exp(s_t) S
  S'  = exp(s_C) S + sum_j exp(s_C - s_j) k_j v_j^T

where resets take pairs out of the sums. The three exponents are those of true
decays, never their inverses: exp(s_t) exp(-s_j) would overflow. The scalar form
is the state space duality of Mamba-2 (arXiv:2405.21060, section 6), the form
with a decay per channel that of gated linear attention (arXiv:2312.06635,
section 4). Both have their derivatives written out, with (inputs, S) as the
only residuals.
"""

import functools
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence import linear
from jaxseq.recurrence import resets

# Below this many elements a triangle of decays per channel is taken pair by
# pair.
_SMALLEST_HALF = 4


class Inputs(NamedTuple):
  """What a chunk consumes; layouts as above."""

  q: jax.Array
  k: jax.Array
  v: jax.Array
  a: jax.Array | None


class _Masks(NamedTuple):
  """Which elements see which, in the presence of resets."""

  pairs: jax.Array  # [B|1, 1, C, C], element t sees element j
  enter: jax.Array | None  # [B, 1, C, 1], t sees the state before the chunk
  leave: jax.Array | None  # [B, 1, C, 1], the state after the chunk sees j
  through: jax.Array | None  # [B, 1, 1, 1], one state sees the other


def run(
  method: str, x: Inputs, state: jax.Array, reset: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Runs one chunk.

  Args:
    method: "sequential", "associative" or "chunked".
    x: inputs in one floating dtype.
    state: [B, R, K, V].
    reset: [B, C] bool or None.

  Returns:
    Outputs [B, R, C, V] and the state after the chunk.
  """
  if method == "sequential":
    return _sequential(x, state, reset)
  if method == "associative":
    return _associative(x, state, reset)
  masks = _masks(reset, x.v.shape[-2])
  if reset is not None:
    x, state, bad_rows, bad_state = _set_aside(x, state, masks)
  if x.a is None or x.a.shape[-1] == 1:
    o, state = _scalar(x, state, masks)
  else:
    o, state = _vector(x, state, masks)
  if reset is not None:
    o = jnp.where(bad_rows, jnp.nan, o)
    state = jnp.where(bad_state, jnp.nan, state)
  return o, state


def step(q, k, v, a, state, reset):
  """One element: as `run` without the time axis; reset is [B]."""
  if reset is not None:
    state = resets.select(reset, jnp.zeros_like(state), state)
  if a is not None:
    state = jnp.exp(a)[..., None] * state
  state = state + k[..., :, None] * v[..., None, :]
  q = jnp.broadcast_to(q, state.shape[:-1])
  return _dot(q[..., None, :], state, -1, -2)[..., 0, :], state


def _sequential(x, state, reset):
  """One element at a time."""

  def body(state, element):
    x_t, reset_t = element
    o, state = step(*x_t, state, reset_t)
    return state, o

  xs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -2, 0), x)
  reset = None if reset is None else reset.T
  state, o = lax.scan(body, state, (xs, reset))
  return jnp.moveaxis(o, 0, -2), state


def _associative(x, state, reset):
  """A tree over the chunk; all its states are stored for a while."""
  *lead, C, V = x.v.shape
  K = x.q.shape[-1]
  kv = x.k[..., :, None] * x.v[..., None, :]
  if x.a is None:
    decay = jnp.ones((1,), kv.dtype)
  else:
    decay = jnp.exp(x.a)
    if decay.shape[-1] > 1:
      decay = jnp.repeat(decay, V, axis=-1)
  if reset is not None:
    reset = jnp.broadcast_to(reset[:, None], (*lead, C))
  states, final = linear.linear_scan(
    decay,
    kv.reshape(*lead, C, K * V),
    state.reshape(*lead, K * V),
    reset=reset,
    method="associative",
  )
  states = states.reshape(*lead, C, K, V)
  q = jnp.broadcast_to(x.q, (*lead, C, K))
  o = _dot(q[..., None, :], states, -1, -2)[..., 0, :]
  return o, final.reshape(state.shape)


def _masks(reset, C):
  """Pairs within one episode, the earlier element first."""
  pairs = jnp.tril(jnp.ones((C, C), bool))[None, None]
  if reset is None:
    return _Masks(pairs, None, None, None)
  episode = jnp.cumsum(reset, axis=-1, dtype=jnp.int32)[:, None, :, None]
  last = episode[..., -1:, :]
  pairs = pairs & (episode == episode.swapaxes(-1, -2))
  return _Masks(pairs, episode == 0, episode == last, last == 0)


def _set_aside(x, state, masks):
  """Takes what is not finite out of the products.

  In a matrix product 0 * nan is nan: what one episode holds would reach all.
  So elements with infinite or undefined entries are replaced by zeros, and the
  outputs and the state that depend on them become nan afterwards.

  Returns:
    The inputs and the state without them, bad_rows [B, R, C, 1] and bad_state
    [B, R, 1, 1].
  """

  def bad(leaf, test=lambda leaf: ~jnp.isfinite(leaf)):
    # Counted by a product: see `_sum`.
    return _sum(test(leaf).astype(leaf.dtype), -1) > 0

  bad_q, bad_element = bad(x.q), bad(x.k) | bad(x.v)
  if x.a is not None:  # A decay of exp(-inf) = 0 is a decay.
    bad_element |= bad(x.a, lambda a: jnp.isnan(a) | (a == jnp.inf))
  bad_before = bad(state).any(axis=-2, keepdims=True)
  # [B, C, C] and [B, C, R]: one product for all heads.
  pairs = masks.pairs[:, 0].astype(x.v.dtype)
  elements = bad_element[..., 0].swapaxes(1, 2).astype(x.v.dtype)
  seen = _dot(pairs, elements, -1, -2).swapaxes(1, 2)[..., None] > 0
  bad_rows = seen | bad_q | (bad_before & masks.enter)
  bad_state = (bad_element & masks.leave).any(axis=-2, keepdims=True)
  bad_state |= bad_before & masks.through

  def clean(leaf):
    finite = jnp.isfinite(leaf)
    return jnp.where(finite, leaf, jnp.zeros((), leaf.dtype))

  a = x.a
  if a is not None:
    a = jnp.where(jnp.isnan(a) | (a == jnp.inf), 0, a)
  x = Inputs(clean(x.q), clean(x.k), clean(x.v), a)
  return x, clean(state), bad_rows, bad_state


class _Sums(NamedTuple):
  """Inclusive sums over time of log-decays, in two parts.

  The differences of sums are needed, and after a strong decay a plain float32
  sum has lost the digits of the weak ones. `high` adds up multiples of a power
  of two so coarse that no addition rounds; `low` what is left over, all small.
  """

  high: jax.Array
  low: jax.Array

  def __getitem__(self, index):
    return _Sums(self.high[index], self.low[index])

  def __sub__(self, other):
    return (self.high - other.high) + (self.low - other.low)

  def total(self):
    return self.high + self.low


def _lowest(dtype):
  """A log-decay whose exponential is zero in the dtype."""
  return 2 * math.log(jnp.finfo(dtype).tiny)


def _sums(a):
  """Sums of a [..., C, A] over time."""
  C = a.shape[-2]
  lowest = _lowest(a.dtype)
  bits = jnp.finfo(a.dtype).nmant + 1
  unit = 2.0 ** (math.ceil(math.log2(-lowest * C)) - bits)
  a = jnp.maximum(a, lowest)
  high = jnp.round(a / unit) * unit
  triangle = jnp.tril(jnp.ones((C, C), a.dtype))
  return _Sums(_over_time(triangle, high), _over_time(triangle, a - high))


def _d_log_decay(d_sums, a):
  """From cotangents of the sums to those of the log-decays, [..., C, A]."""
  C = a.shape[-2]
  da = _over_time(jnp.triu(jnp.ones((C, C), d_sums.dtype)), d_sums)
  return jnp.where(a < _lowest(a.dtype), 0, da)


def _over_time(matrix, x):
  """The product of matrix [C, C] and x [..., C, A].

  For cumulative sums, whose own operation XLA computes slowly.
  """
  if x.shape[-1] == 1:
    flat = x.reshape(-1, x.shape[-2])
    y = lax.dot(flat, matrix.T, precision=lax.Precision.HIGHEST)
    return y.reshape(x.shape)
  return _dot(matrix, x, -1, -2, exact=True)


def _exp_where(mask, exponent):
  return jnp.exp(
    exponent if mask is None else jnp.where(mask, exponent, -jnp.inf)
  )


def _ends(x, masks, sums):
  """Factors [B|1, R|1, C, A]: from the state before, to the one after.

  And [..., 1, A] from the one state to the other.
  """
  if sums is None:
    factors = (masks.enter, masks.leave, masks.through)
    one = jnp.ones((1, 1, 1, 1), x.v.dtype)
    return tuple(
      one if mask is None else mask.astype(x.v.dtype) for mask in factors
    )
  last = sums[..., -1:, :]
  return (
    _exp_where(masks.enter, sums.total()),
    _exp_where(masks.leave, last - sums),
    _exp_where(masks.through, last.total()),
  )


@jax.custom_vjp
def _scalar(x, state, masks):
  """A decay per head, or none: the pairs' decays [C, C] multiply q k^T."""
  parts = _scalar_parts(x, masks)
  gram, decays, enter, leave, through = parts
  o = _dot(gram * decays, x.v, -1, -2) + _dot(enter * x.q, state, -1, -2)
  return o, through * state + _dot(leave * x.k, x.v, -2, -2)


def _scalar_parts(x, masks):
  sums = None if x.a is None else _sums(x.a)
  if sums is None:
    decays = masks.pairs.astype(x.v.dtype)
  else:
    transposed = _Sums(*(part.swapaxes(-1, -2) for part in sums))
    decays = _exp_where(masks.pairs, sums - transposed)
  # One product for all heads of a group.
  gram = _dot(x.q, x.k, -1, -1)
  return (gram, decays, *_ends(x, masks, sums))


def _scalar_forward(x, state, masks):
  return _scalar(x, state, masks), (x, state, masks)


def _scalar_backward(residuals, cotangents):
  x, state, masks = residuals
  g, d_after = cotangents
  gram, decays, enter, leave, through = _scalar_parts(x, masks)
  q_in, k_out = enter * x.q, leave * x.k
  d_q_in = _dot(g, state, -1, -1)
  d_k_out = _dot(x.v, d_after, -1, -1)
  d_state = through * d_after + _dot(q_in, g, -2, -2)
  dv = _dot(gram * decays, g, -2, -2) + _dot(k_out, d_after, -1, -2)
  d_pairs = _dot(g, x.v, -1, -1) * decays
  d_gram = _sum(d_pairs, 1)
  dq = _dot(d_gram, x.k, -1, -2) + _sum(enter * d_q_in, 1)
  dk = _dot(d_gram, x.q, -2, -2) + _sum(leave * d_k_out, 1)
  da = None
  if x.a is not None:
    d_pairs = d_pairs * gram
    d_leave = _sum(d_k_out * k_out, -1)
    d_sums = (
      _sum(d_pairs, -1)
      - _sum(d_pairs, -2).swapaxes(-1, -2)
      + _sum(d_q_in * q_in, -1)
      - d_leave
    )
    d_last = jnp.sum(d_leave, -2, keepdims=True)
    d_last += through * jnp.sum(d_after * state, (-1, -2), keepdims=True)
    da = _d_log_decay(d_sums.at[..., -1:, :].add(d_last), x.a)
  return Inputs(dq, dk, dv, da), d_state, None


_scalar.defvjp(_scalar_forward, _scalar_backward)


@jax.custom_vjp
def _vector(x, state, masks):
  """A decay per channel of the keys: it cannot be taken out of q k^T."""
  return _vector_forward(x, state, masks)[0]


def _vector_parts(x, masks):
  sums = _sums(x.a)
  scores = functools.partial(_scores, sums=sums)
  return scores, _ends(x, masks, sums)


def _vector_forward(x, state, masks):
  scores, (enter, leave, through) = _vector_parts(x, masks)
  pairs = jnp.where(masks.pairs, scores(x.q, x.k), 0)
  o = _dot(pairs, x.v, -1, -2) + _dot(enter * x.q, state, -1, -2)
  after = through.swapaxes(-1, -2) * state + _dot(leave * x.k, x.v, -2, -2)
  return (o, after), (x, state, masks, after)


def _vector_backward(residuals, cotangents):
  """The decays' cotangents are read off those of q and k.

  The sums stand beside q as exp(s) q and beside k as exp(-s) k, so d_s = q dq -
  k dk, and S' is proportional to exp(s_C).
  """
  x, state, masks, after = residuals
  g, d_after = cotangents
  scores, (enter, leave, through) = _vector_parts(x, masks)
  pairs, pull = jax.vjp(
    scores,
    jnp.broadcast_to(x.q, x.a.shape),
    jnp.broadcast_to(x.k, x.a.shape),
  )
  pairs = jnp.where(masks.pairs, pairs, 0)
  d_pairs = jnp.where(masks.pairs, _dot(g, x.v, -1, -1), 0)
  dq, dk = pull(d_pairs)
  dq = dq + enter * _dot(g, state, -1, -1)
  dk = dk + leave * _dot(x.v, d_after, -1, -1)
  dv = _dot(pairs, g, -2, -2) + _dot(leave * x.k, d_after, -1, -2)
  d_state = through.swapaxes(-1, -2) * d_after + _dot(enter * x.q, g, -2, -2)
  d_last = _sum(d_after * after, -1).swapaxes(-1, -2)
  d_sums = (x.q * dq - x.k * dk).at[..., -1:, :].add(d_last)
  da = _d_log_decay(d_sums, x.a)
  return Inputs(_sum(dq, 1), _sum(dk, 1), dv, da), d_state, None


_vector.defvjp(_vector_forward, _vector_backward)


def _scores(q, k, sums):
  """sum_d q_t[d] exp(s_t[d] - s_j[d]) k_j[d] for j <= t: [..., C, C].

  The later half sees the earlier one through the sum at the border between
  them: both exponents that come of it are those of decays. Within the halves
  the same again, side by side, so that a channel takes 2 log(C) exponentials
  per element. Above the diagonal is nothing meant to be read.
  """
  shape = jnp.broadcast_shapes(q.shape, sums.high.shape)
  C, K = shape[-2:]
  size = _SMALLEST_HALF
  while size < C:
    size *= 2

  def padded(leaf, mode):
    leaf = jnp.broadcast_to(leaf, shape).reshape(-1, C, K)
    return jnp.pad(leaf, ((0, 0), (0, size - C), (0, 0)), mode=mode)

  scores = _triangle(
    padded(q, "constant"),
    padded(k, "constant"),
    _Sums(*(padded(part, "edge") for part in sums)),  # Decays of 1.
  )
  return scores[:, :C, :C].reshape(*shape[:-1], C)


def _triangle(q, k, sums):
  """`_scores` of [B, C, K] where C is a power of two."""
  B, C, K = q.shape
  if C <= _SMALLEST_HALF:
    difference = sums[:, :, None] - sums[:, None]
    lower = jnp.tril(jnp.ones((C, C), bool))[..., None]
    decays = _exp_where(lower, difference)
    return _sum(q[:, :, None] * decays * k[:, None], -1)[..., 0]
  half = C // 2
  halves = [leaf.reshape(B, 2, half, K) for leaf in (q, k, *sums)]
  high_low = _Sums(*halves[2:])
  earlier, later = high_low[:, 0], high_low[:, 1]
  border = earlier[:, -1:]
  across = _dot(
    halves[0][:, 1] * jnp.exp(later - border),
    halves[1][:, 0] * jnp.exp(border - earlier),
    -1,
    -1,
  )
  q, k, *parts = (leaf.reshape(2 * B, half, K) for leaf in halves)
  inside = _triangle(q, k, _Sums(*parts)).reshape(B, 2, half, half)
  upper = jnp.concatenate([inside[:, 0], jnp.zeros_like(across)], axis=-1)
  lower = jnp.concatenate([across, inside[:, 1]], axis=-1)
  return jnp.concatenate([upper, lower], axis=-2)


def _dot(x, y, x_axis, y_axis, exact=False):
  """Sums over one of the last two axes of each; the leading ones are a batch.

  Leading axes of size 1 are repeated. No operand is transposed first, which
  XLA would do by a copy.
  """
  lead = jnp.broadcast_shapes(x.shape[:-2], y.shape[:-2])
  # One leading axis: XLA on CPUs has a limit on their number.
  x, y = (
    jnp.broadcast_to(z, lead + z.shape[-2:]).reshape(-1, *z.shape[-2:])
    for z in (x, y)
  )
  product = lax.dot_general(
    x,
    y,
    (((3 + x_axis,), (3 + y_axis,)), ((0,), (0,))),
    precision=lax.Precision.HIGHEST if exact else None,
  )
  return product.reshape(lead + product.shape[1:])


def _sum(x, axis):
  """jnp.sum(x, axis, keepdims=True).

  On CPUs by a product with ones: measured there, XLA's own reductions take 3
  to 9 ns for an element, and these 0.5.
  """
  if x.shape[axis] == 1:
    return x
  if jax.default_backend() != "cpu":
    return jnp.sum(x, axis, keepdims=True)
  axis %= x.ndim
  if axis == x.ndim - 1:
    ones = jnp.ones((x.shape[-1], 1), x.dtype)
    return (x.reshape(-1, x.shape[-1]) @ ones).reshape(*x.shape[:-1], 1)
  flat = x.reshape(math.prod(x.shape[:axis]), x.shape[axis], -1)
  ones = jnp.ones((flat.shape[0], 1, flat.shape[1]), x.dtype)
  total = _dot(ones, flat, -1, -2)
  return total.reshape(*x.shape[:axis], 1, *x.shape[axis + 1 :])
