"""Attention with one query as a recurrence: a running softmax average."""

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq.recurrence import _checks
from jaxseq.recurrence import _softmax_chunk
from jaxseq.recurrence import softmax_outer

SoftmaxState = _softmax_chunk.SoftmaxState
softmax_combine = _softmax_chunk.softmax_combine


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
  exchange: str = "auto",
) -> tuple[jax.Array, SoftmaxState]:
  """Averages values under softmax weights, over every prefix.

    outputs_t = sum_{s<=t} exp(scores_s) values_s / sum_{s<=t} exp(scores_s)

  Feng et al., "Attention as an RNN", arXiv:2405.13956, section 3. Stable for
  any scores: all weights are relative to a running maximum, which a reset puts
  back too.

  Args:
    scores: (*batch, time); -inf counts as masked.
    values: (*batch, time, dv).
    init: state before the first element; the average of nothing if None.
    reset: (*batch, time) bool; where true the state is put back to the average
      of nothing (not to `init`) before the element is consumed.
    mask: (*batch, time) bool; elements where it is false are left out. They
      still have an output: the average of what came before.
    chunk_size: elements that are worked on together; by platform if None. The
      results do not depend on it, memory in the gradient does.
    method: "sequential", "associative", "chunked" or "auto", as in
      `softmax_outer_scan`.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.
    exchange: what devices send, with `axis`, as in `linear_scan`.

  Returns:
    outputs (*batch, time, dv) in the common dtype of scores and values, 0 where
    there is nothing to average; and the state after the last element: m, u
    (*batch,) and w (*batch, dv), at least float32 like all that is computed
    inside. (In float32 u stops growing at 2^24 equal weights that come one at a
    time.)

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
  """
  scores, values = _checked(scores, values, init, mask, 1)
  if chunk_size is None and jax.default_backend() == "cpu":
    # Half the size for matrices: products of weights and values are all there
    # is, and their cost grows with it.
    chunk_size = 32
  init = None if init is None else _one_channel(init)
  how = {"chunk_size": chunk_size, "method": method}
  split = {"axis": axis, "exchange": exchange}
  outputs, final = softmax_outer.softmax_outer_scan(
    *_elements(scores, values), init, reset=reset, **how, **split
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
    reset: (*batch,) bool; where true the state is put back to the average of
      nothing first.
    mask: (*batch,) bool; where false the element is left out.

  Returns:
    The output (*batch, dv) and the state after the element.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  scores, values = _checked(scores, values, state, mask, 0)
  outputs, state = softmax_outer.softmax_outer_step(
    *_elements(scores, values), _one_channel(state), reset=reset
  )
  return outputs, _no_channel(state)


def softmax_initial(
  batch: tuple[int, ...], dv: int, dtype=jnp.float32
) -> SoftmaxState:
  """Returns the average of nothing: m, u (*batch,) and w (*batch, dv)."""
  return _no_channel(softmax_outer.softmax_outer_initial(batch, 1, dv, dtype))


def _elements(scores, values):
  """One channel: queries, logits, keys and values."""
  logits = scores[..., None]
  return jnp.ones_like(logits), logits, None, values


def _one_channel(state):
  m, u, w = (jnp.asarray(x) for x in state)
  return SoftmaxState(m[..., None], u[..., None], w[..., None, :])


def _no_channel(state):
  return SoftmaxState(state.m[..., 0], state.u[..., 0], state.w[..., 0, :])


def _checked(scores, values, state, mask, time_axes):
  """Scores and values as arrays, with what is masked left out."""
  scores, values = jnp.asarray(scores), jnp.asarray(values)
  time = ("time",) if time_axes else ()
  shape = _validate.shape("scores", scores, ("*batch", *time))
  _validate.shape("values", values, (*shape, "dv"))
  _checks.floating(scores=scores, values=values)
  _checks.flags("mask", mask, shape)
  batch = scores.shape[: scores.ndim - time_axes]
  softmax_outer.check_state(state, (batch, batch, batch + values.shape[-1:]))
  if mask is None:
    return scores, values
  # Values too, so that nothing undefined in them gets into a gradient.
  scores = jnp.where(mask, scores, _softmax_chunk.NEG)
  return scores, jnp.where(mask[..., None], values, 0)
