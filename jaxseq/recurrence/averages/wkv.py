"""WKV: one running softmax average per channel, whose weights decay.

    o_t = (sum_{s<t} e^{(t-1-s) decay + k_s} v_s + e^{bonus + k_t} v_t)
        / (sum_{s<t} e^{(t-1-s) decay + k_s}     + e^{bonus + k_t})

Peng et al., "RWKV: reinventing RNNs for the Transformer era", arXiv:2305.13048,
section 3.1.2 and appendix D. All weights are relative to the largest one so
far, which decays like them, so that k is not bounded. The maxima are computed
first, and are constants afterwards: the sums of weights, and of weighted
values, are linear recurrences then.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.averages import _averages_sharded
from jaxseq.recurrence.averages import _softmax_linear
from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.averages import softmax_outer
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _recurrences
from jaxseq.recurrence.shared import _resets

SoftmaxState = _softmax_state.SoftmaxState
NEG = _softmax_state.NEG


def wkv_scan(
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array,
  bonus: jax.Array,
  init: SoftmaxState | None = None,
  *,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
) -> tuple[jax.Array, SoftmaxState]:
  """Runs the averages over time.

  Args:
    k: (*batch, time, n) logarithms of the weights; -inf leaves an element out.
    v: (*batch, time, n) values.
    decay: (n,) added by every element to the logarithms of all weights before
      it, usually below 0.
    bonus: (n,) added to k of the present element, in its own output only.
    init: state before the first element; the empty average if None.
    reset: (*batch, time) bool; if true, the state is reset to the empty average
      (not to `init`) before the element is consumed.
    chunk_size: elements whose sums are stored together; by platform and width
      if None. The results do not depend on it.
    method: how the sums are computed, as in `linear_scan`. All agree to
      rounding.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.

  Returns:
    o (*batch, time, n) in the dtype of v; and the state after the last element,
    with its decay applied: m, u (*batch, n) and w (*batch, n, 1), at least
    float32 like all intermediate results.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: if the method is "pallas", and no kernel runs here.
  """
  x = _Inputs(k, v, decay, bonus)
  options = {"chunk_size": chunk_size, "method": method, "named": method}
  return _recurrences.scan(_WKV, x, init, reset, axis=axis, **options)


def wkv_step(
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array,
  bonus: jax.Array,
  state: SoftmaxState,
  *,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, SoftmaxState]:
  """Consumes one element; `wkv_scan` without the time axis.

  Args:
    k: (*batch, n).
    v: (*batch, n).
    decay: (n,).
    bonus: (n,).
    state: state before the element, as from `wkv_initial`.
    reset: (*batch,) bool; if true, the state is reset to the empty average
      first.

  Returns:
    o (*batch, n) in the dtype of v, and the state after the element.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = _Inputs(k, v, decay, bonus)
  return _recurrences.step(_WKV, x, state, reset)


def wkv_initial(
  batch: tuple[int, ...], n: int, dtype: jax.typing.DTypeLike = jnp.float32
) -> SoftmaxState:
  """Returns the empty average: m, u (*batch, n) and w (*batch, n, 1)."""
  return softmax_outer.softmax_outer_initial(batch, n, 1, dtype)


class _Inputs(NamedTuple):
  k: jax.Array
  v: jax.Array
  decay: jax.Array
  bonus: jax.Array


def _element(x, state, reset):
  """One element, all of it in one dtype."""
  k, v, decay, bonus = x
  m, u, w = jnp.maximum(state.m, NEG), state.u, state.w[..., 0]
  if reset is not None:
    fresh = jnp.full_like(m, NEG), jnp.zeros_like(u), jnp.zeros_like(w)
    m, u, w = _resets.select(reset, fresh, (m, u, w))
  o = _read(k, v, bonus, m, u, w)
  top = jnp.maximum(m + decay, k)
  factor, weight = jnp.exp(m + decay - top), jnp.exp(k - top)
  u, w = factor * u + weight, factor * w + weight * v
  return o, SoftmaxState(top, u, w[..., None])


def _over_time(call, x, init, reset, *, named, method, chunk_size):
  """Runs chunk after chunk; a single chunk is not recomputed."""
  steps = (method if named == "auto" else named) == "sequential"
  chunk, inputs = _chunk_function(steps, named), (x.k, x.v)
  weights = tuple(z.astype(call.dtype) for z in (x.decay, x.bonus))

  def fold(state):
    if x.k.shape[1] <= chunk_size:
      return chunk(state, inputs, reset, weights)
    return _chunks.over_chunks(chunk, chunk_size, state, inputs, reset, weights)

  final, o = _softmax_state.with_constant_shift(
    fold, x.k, init, reset, None, known=True, decay=weights[0]
  )
  return o, final


@functools.cache
def _chunk_function(steps, method):
  """Returns the function of a chunk; the same object for equal options."""

  def chunk(state, inputs, reset, weights):
    dtype, (decay, bonus) = state.w.dtype, weights
    k, v = (x.astype(dtype) for x in inputs)
    fixed = lax.stop_gradient((k, decay, state.m))
    find = _maxima_in_steps if steps else _maxima_in_a_tree
    after = find(*fixed, reset)
    before = _softmax_linear.previous(after, fixed[-1], reset, NEG)
    # An undefined k makes the weight and everything added to it undefined, but
    # not the factor: a product of factors that ends in a reset has to be 0.
    fall = before + decay - after
    factor = jnp.where(jnp.isnan(fall), 1, jnp.exp(fall))
    weight = jnp.exp(k - after)
    entering = state.u, state.w[..., 0]
    sums, last = zip(
      *(
        linear.linear_scan(factor, x, first, reset=reset, method=method)
        for x, first in zip((weight, weight * v), entering)
      )
    )
    u, w = (
      _softmax_linear.previous(x, first, reset, 0)
      for x, first in zip(sums, entering)
    )
    o = _read(k, v, bonus, before, u, w).astype(inputs[1].dtype)
    return SoftmaxState(after[:, -1], last[0], last[1][..., None]), o

  return chunk


def _read(k, v, bonus, m, u, w):
  """Output of an element, from the state before it."""
  present = bonus + k
  top = lax.stop_gradient(jnp.maximum(m, present))
  old, new = jnp.exp(m - top), jnp.exp(present - top)
  total = old * u + new
  # A product, so that undefined numbers stay undefined.
  share = _softmax_state.divide(jnp.ones_like(total), total)
  return share * (old * w + new * v)


def _maxima_in_steps(k, decay, m, reset):
  """The largest logarithm of a weight after each element, [R, T, n]."""

  def body(m, x):
    k, flags = x
    if flags is not None:
      m = _resets.select(flags, jnp.full_like(m, NEG), m)
    m = jnp.maximum(m + decay, jnp.maximum(k, NEG))
    return m, m

  xs = jax.tree.map(lambda x: x.swapaxes(0, 1), (k, reset))
  return lax.scan(body, m, xs)[1].swapaxes(0, 1)


def _maxima_in_a_tree(k, decay, m, reset):
  """Result of `_maxima_in_steps`, by a tree over time."""
  counts, k = jnp.ones_like(k[:, :, :1]), jnp.maximum(k, NEG)
  flags = None if reset is None else reset[..., None]

  def combine(left, right):
    before, flags = left[1], None
    if right[2] is not None:
      before = jnp.where(right[2], NEG, before)
      flags = left[2] | right[2]
    highest = jnp.maximum(before + right[0] * decay, right[1])
    return left[0] + right[0], highest, flags

  counts, highest, flags = lax.associative_scan(
    combine, (counts, k, flags), axis=1
  )
  m = m[:, None] if flags is None else jnp.where(flags, NEG, m[:, None])
  return jnp.maximum(m + counts * decay, highest)


def _chosen(call, x):
  """Arguments of `choice.choose`."""
  # Weights, factors and two sums are stored together.
  rows, time, n = call.shape("time n")
  return "softmax", call.dtype, (rows, time, 1, 4 * n)


_WKV = _recurrences.Recurrence(
  arguments="k: *batch time n; v: *batch time n; decay: n; bonus: n;"
  " init?: any m *batch n, u *batch n, w *batch n 1",
  outputs="v",
  run=_over_time,
  methods=linear.KERNEL_METHODS,
  chosen=_chosen,
  element=_element,
  fresh=lambda zeros, **options: _softmax_state.fresh(None, zeros),
  state=SoftmaxState,
  part=_averages_sharded.wkv,
)
