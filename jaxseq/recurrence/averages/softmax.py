"""Attention with one query as a recurrence: a running softmax average."""

import functools

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.averages import _averages_sharded
from jaxseq.recurrence.averages import _softmax_linear
from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.averages import softmax_outer
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _recurrences

SoftmaxState = _softmax_state.SoftmaxState
softmax_combine = _softmax_state.softmax_combine


def softmax_scan(
  scores: jax.Array,
  values: jax.Array,
  init: SoftmaxState | None = None,
  *,
  reset: jax.Array | None = None,
  mask: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
) -> tuple[jax.Array, SoftmaxState]:
  """Averages values under softmax weights, over every prefix.

    outputs_t = sum_{s<=t} exp(scores_s) values_s / sum_{s<=t} exp(scores_s)

  Feng et al., "Attention as an RNN", arXiv:2405.13956, section 3. Stable for
  any scores: all weights are relative to a running maximum, which a reset also
  resets.

  Args:
    scores: (*batch, time); -inf counts as masked.
    values: (*batch, time, dv).
    init: state before the first element; the empty average if None.
    reset: (*batch, time) bool; if true, the state is reset to the empty average
      (not to `init`) before the element is consumed.
    mask: (*batch, time) bool; elements with False are left out. Their output is
      the average of the earlier elements.
    chunk_size: elements whose sums are stored together; by platform and size of
      the values if None. The results do not depend on it.
    method: how the sums are computed, as in `linear_scan`. All agree to
      rounding.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.

  Returns:
    outputs (*batch, time, dv) in the dtype of the values, 0 for an empty
    average; and the state after the last element: m, u (*batch,) and w (*batch,
    dv), at least float32 like all intermediate results. (In float32 u stops
    growing at 2^24 equal weights that come one at a time.)

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: if the method is "pallas", and no kernel runs here.
  """
  scores, values = _checked(scores, values, init, mask)
  init = None if init is None else _one_channel(init)
  validate.choice("method", method, linear.KERNEL_METHODS)
  # Of the sums; how chunks are cut is chosen in any case.
  options = {"chunk_size": chunk_size, "named": method}
  x = _elements(scores, values)
  outputs, final = _recurrences.scan(
    _SOFTMAX, x, init, reset, axis=axis, **options
  )
  return outputs, _no_channel(final)


def softmax_step(
  scores: jax.Array,
  values: jax.Array,
  state: SoftmaxState,
  *,
  reset: jax.Array | None = None,
  mask: jax.Array | None = None,
) -> tuple[jax.Array, SoftmaxState]:
  """Consumes one element; `softmax_scan` without the time axis.

  Args:
    scores: (*batch,).
    values: (*batch, dv).
    state: state before the element.
    reset: (*batch,) bool; if true, the state is reset to the empty average
      first.
    mask: (*batch,) bool; if false, the element is left out.

  Returns:
    The output (*batch, dv) and the state after the element.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  scores, values = _checked(scores, values, state, mask, time=False)
  outputs, state = softmax_outer.softmax_outer_step(
    *_elements(scores, values), _one_channel(state), reset=reset
  )
  return outputs, _no_channel(state)


def softmax_initial(
  batch: tuple[int, ...], dv: int, dtype=jnp.float32
) -> SoftmaxState:
  """Returns the empty average: m, u (*batch,) and w (*batch, dv)."""
  return _no_channel(softmax_outer.softmax_outer_initial(batch, 1, dv, dtype))


def _over_time(call, x, init, reset, *, named, method, chunk_size):
  """Runs chunk after chunk; a single chunk is not recomputed."""
  del call
  steps = (method if named == "auto" else named) == "sequential"
  chunk, inputs = _chunk_function(steps, named), (x.logits, x.v)

  def fold(state):
    if x.v.shape[1] <= chunk_size:
      return chunk(state, inputs, reset)
    return _chunks.over_chunks(chunk, chunk_size, state, inputs, reset)

  final, outputs = _softmax_state.with_constant_shift(
    fold, x.logits, init, reset, None
  )
  return outputs, final


@functools.cache
def _chunk_function(steps, method):
  """Returns the function of a chunk; the same object for equal options."""

  def chunk(state, inputs, reset):
    state, o = _softmax_linear.one_channel(
      state, *inputs, reset, steps=steps, method=method
    )
    return state, o.astype(inputs[1].dtype)

  return chunk


def _elements(scores, values):
  """Returns queries, logits, keys and values of one channel."""
  logits = scores[..., None]
  q = jnp.ones_like(logits, values.dtype)
  return _softmax_state.Inputs(q, logits, None, values)


def _one_channel(state):
  m, u, w = (jnp.asarray(x) for x in state)
  return SoftmaxState(m[..., None], u[..., None], w[..., None, :])


def _no_channel(state):
  return SoftmaxState(state.m[..., 0], state.u[..., 0], state.w[..., 0, :])


def _checked(scores, values, state, mask, *, time=True):
  """Scores and values as arrays, without the masked elements."""
  line = "scores: *batch time; values: *batch time dv;"
  line += " init?: any m *batch, u *batch, w *batch dv"
  arrays = {"scores": scores, "values": values, "init": state}
  _checks.arguments(line, arrays, time=time)
  scores, values = jnp.asarray(scores), jnp.asarray(values)
  _checks.flags("mask", mask, scores.shape)
  if mask is None:
    return scores, values
  # Values too, so that their undefined numbers enter no gradient.
  scores = jnp.where(mask, scores, _softmax_state.NEG)
  return scores, jnp.where(mask[..., None], values, 0)


_SOFTMAX = _recurrences.Recurrence(
  arguments="q: any ...; logits: *batch time one; v: *batch time dv;"
  " init?: any m *batch one, u *batch one, w *batch one dv",
  outputs="v",
  run=_over_time,
  methods=("auto",),
  chosen=lambda call, x: ("softmax", call.dtype, call.shape("time one dv")),
  fresh=lambda zeros, **options: _softmax_state.fresh(None, zeros),
  state=SoftmaxState,
  part=_averages_sharded.softmax_outer,
)
