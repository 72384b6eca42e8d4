"""Running softmax averages as linear recurrences, their maxima known first.

With m_t the largest logit up to element t, a constant for all that follows,

    u_t = exp(m_{t-1} - m_t) u_{t-1} + exp(g_t - m_t)
    w_t = exp(m_{t-1} - m_t) w_{t-1} + exp(g_t - m_t) k_t v_t^T
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.outer import outer
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _resets

NEG = _softmax_state.NEG
SoftmaxState = _softmax_state.SoftmaxState
# Elements per section of narrow inputs, whose decays are stored together.
_SECTION = 512


class _Weights(NamedTuple):
  """Weights of elements [R, T, D]; only `weight` and `u` have gradients."""

  before: jax.Array  # the largest logit before it
  after: jax.Array  # the largest logit
  decay: jax.Array  # exp(before - after)
  weight: jax.Array  # exp(logit - after)
  u: jax.Array  # the sum of the weights


def one_channel(
  state: SoftmaxState,
  scores: jax.Array,
  v: jax.Array,
  reset: jax.Array | None,
  *,
  steps: bool,
  method: str,
) -> tuple[SoftmaxState, jax.Array]:
  """State after the last element, and averages [R, T, E] of one channel."""
  # m, u [R, 1] and w [R, 1, E] have the dtype to compute in. Maxima are found
  # step by step, or by a tree.
  dtype = state.w.dtype
  scores, v = scores.astype(dtype), v.astype(dtype)
  x = _weights(scores, state.m, state.u, reset, None, steps, method)
  w, last = linear.linear_scan(
    x.decay, x.weight * v, state.w[:, 0], reset=reset, method=method
  )
  o = _softmax_state.divide(jnp.ones_like(x.u), x.u) * w
  return SoftmaxState(x.after[:, -1], x.u[:, -1], last[:, None]), o


def channels(
  state: SoftmaxState,
  inputs: _softmax_state.Inputs,
  reset: jax.Array | None,
  *,
  sink: float | None,
  size: int | None,
  method: str,
) -> tuple[SoftmaxState, jax.Array]:
  """State after the last element, and averages [R, T, E] per channel."""
  # m, u [R, n] and w [R, D, E] have the dtype to compute in; `size` is the
  # chunk size of `outer_scan`, which runs by `method`.
  run = _channels_function(sink, size, method)
  narrow = _contractions.is_narrow(_softmax_state.output_dtype(inputs))
  shared = inputs.logits.shape[-1] < inputs.q.shape[-1]
  if method != "pallas" and narrow and shared and inputs.v.shape[1] > _SECTION:
    # Decays of all channels are wide, and several times as many as logits: they
    # are computed section by section. The gradient recomputes them, which is
    # not worth it if there are as many logits as decays.
    return _chunks.over_chunks(run, _SECTION, state, inputs, reset)
  return run(state, inputs, reset)


@functools.cache
def _channels_function(sink, size, method):
  """Returns the function of a section; the same object for equal options."""

  def run(state, inputs, reset):
    align = _softmax_state.beside
    average = _softmax_state.divide(state.w, align(state.u, state.w))
    options = {"sink": sink, "size": size, "method": method}
    o, average, m, u = averages(
      inputs, state.m, state.u, average, reset, **options
    )
    state = SoftmaxState(m, u, align(u, average) * average)
    return state, o.astype(_softmax_state.output_dtype(inputs))

  return run


def averages(
  inputs: _softmax_state.Inputs,
  m: jax.Array,
  u: jax.Array,
  average: jax.Array,
  reset: jax.Array | None,
  *,
  sink: float | None,
  size: int | None,
  method: str,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Outputs, and average [R, D, E], m and u after the last element."""
  q, logits, k, v = inputs
  out = _softmax_state.output_dtype(inputs)
  if method == "pallas":
    form = support.form("softmax_outer", out)
    kernel = registry.find("softmax_outer", form.chip)
    return kernel(form, inputs, m, u, average, reset, sink=sink, plain=averages)
  logits = logits.astype(u.dtype)
  decay, share, m, u = log_decay(logits, m, u, reset, sink)
  decay, share = (_softmax_state.spread(x, q.shape[-1]) for x in (decay, share))
  k = share if k is None else share * k
  if _contractions.is_narrow(out):
    # Rounded to the dtype of the products.
    k = k.astype(jnp.result_type(q, v))
  o, average = outer.outer_scan(
    *(q, k, v, decay, average), reset=reset, chunk_size=size, method=method
  )
  return o, average, m, u


def log_decay(
  logits: jax.Array,
  m: jax.Array,
  u: jax.Array,
  reset: jax.Array | None,
  sink: float | None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Decays log(Delta_{t-1} / Delta_t), shares, and the last m and u."""
  # Delta is the sum of exp(logits), logits [R, T, D], and m a constant.
  # Differences of logarithms of Delta would lose the digits of its growth; here
  # maxima and sums are compared separately.

  # Its residuals would be a dozen arrays of the size of the logits: the
  # gradient recomputes them.
  @jax.checkpoint
  def run(logits, m, u, reset):
    return choice.by_platform(
      *("linear", logits.dtype, logits.shape),
      functools.partial(_log_decay, sink=sink),
      *(logits, m, u, reset),
    )

  return run(logits, m, u, reset)


def _log_decay(logits, m, u, reset, *, sink, method, **options):
  del options  # The `linear_scan` inside chooses its own.
  steps = method == "sequential"
  x = _weights(logits, m, u, reset, sink, steps, "auto")
  u_before = previous(x.u, u, reset, 0 if sink is None else 1)
  # The decay is 1 if the sum is empty.
  some = (u_before > 0) & (x.u > 0)
  ratio = jnp.where(some, u_before, 1) / jnp.where(some, x.u, 1)
  decay = jnp.where(some, x.before - x.after + jnp.log(ratio), 0)
  share = _softmax_state.divide(x.weight, x.u)
  return decay, share, x.after[:, -1], x.u[:, -1]


def _weights(logits, m, u, reset, sink, steps, method):
  """Weights of the elements, which do not depend on the values."""
  logits = _softmax_state.clamp(logits)
  form = _steps if steps else _tree
  fixed, *init = lax.stop_gradient((logits, m, u))
  after, total = form(fixed, reset, sink, tuple(init))
  before = previous(after, init[0], reset, NEG if sink is None else sink)
  # An undefined logit makes the weight and everything added to it undefined,
  # but not the decay: a product of decays that ends in a reset has to be 0.
  fall = before - after
  decay = jnp.where(jnp.isnan(fall), 1, jnp.exp(fall))
  weight = jnp.where(logits <= NEG, 0, jnp.exp(logits - after))
  addend = weight
  if reset is not None and sink is not None:
    addend += jnp.where(reset[..., None], jnp.exp(sink - after), 0)
  u = _as_linear_scan(method, total, decay, addend, u, reset)
  return _Weights(before, after, decay, weight, u)


def _steps(logits, reset, sink, init):
  """Result of `_tree`, computed step by step."""
  begin = (NEG, 0) if sink is None else (sink, 1)

  def body(state, x):
    logits, flags = x
    if flags is not None:
      fresh = (jnp.full_like(y, z) for y, z in zip(state, begin))
      state = _resets.select(flags, tuple(fresh), state)
    state = _merge(state, _one(logits))
    return state, state

  xs = jax.tree.map(lambda x: x.swapaxes(0, 1), (logits, reset))
  _, states = lax.scan(body, init, xs)
  return tuple(x.swapaxes(0, 1) for x in states)


def _tree(logits, reset, sink, init):
  """Maxima, and sums of weights relative to them, by a tree over time."""
  leaves = _one(logits)
  init = tuple(x[:, None] for x in init)
  if reset is None:
    return _merge(init, lax.associative_scan(_merge, leaves, axis=1))
  flags = jnp.broadcast_to(reset[..., None], logits.shape)
  if sink is not None:
    after_reset = _merge((jnp.full_like(logits, sink), 1), leaves)
    leaves = (jnp.where(flags, x, y) for x, y in zip(after_reset, leaves))

  def combine(left, right):
    flag, *state = right
    earlier = jnp.where(flag, NEG, left[1]), jnp.where(flag, 0, left[2])
    return flag | left[0], *_merge(earlier, state)

  states = lax.associative_scan(combine, (flags, *leaves), axis=1)
  return combine((False, *init), states)[1:]


def _one(logits):
  """Maximum and sum of single elements."""
  return logits, jnp.where(logits <= NEG, 0, jnp.ones_like(logits))


def _merge(left, right):
  """Merges two maxima and sums: `softmax_combine` without values."""
  m = jnp.maximum(left[0], right[0])
  return m, jnp.exp(left[0] - m) * left[1] + jnp.exp(right[0] - m) * right[1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _as_linear_scan(method, h, decay, b, init, reset):
  """Known states h, with the gradient of their `linear_scan` in b and init."""
  del method, decay, b, init, reset
  return h


def _as_linear_scan_forward(method, h, decay, b, init, reset):
  # Not h itself: second derivatives need this gradient, too.
  h = _as_linear_scan(method, h, decay, b, init, reset)
  return h, (decay, b, init, reset)


def _as_linear_scan_backward(method, residuals, g):
  decay, b, init, reset = residuals

  def run(b, init):
    return linear.linear_scan(decay, b, init, reset=reset, method=method)[0]

  return None, None, *jax.vjp(run, b, init)[1](g), None


_as_linear_scan.defvjp(_as_linear_scan_forward, _as_linear_scan_backward)


def previous(
  x: jax.Array, init: jax.Array, reset: jax.Array | None, begin: float
) -> jax.Array:
  """Elements one step later, [R, T, D]; `init` first, `begin` at resets."""
  before = jnp.concatenate([init[:, None], x[:, :-1]], axis=1)
  if reset is None:
    return before
  return jnp.where(reset[..., None], begin, before)
