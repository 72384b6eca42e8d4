"""Time split over devices for any recurrence that is linear in its state.

A chunk of time is an affine map of states, S -> M S + N, with a dense M. The
columns of a state are independent: one scan from [0, 1] with values [v, 0] ends
in [N, M], and its outputs are those from zeros and the vectors that read the
entering state. It runs before the exchange, nothing is computed twice.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _summaries

Run = Callable[..., tuple[jax.Array, jax.Array]]


def split_affine(
  run: Run,
  init: jax.Array | None,
  values: jax.Array,
  reset: jax.Array | None = None,
  *,
  rows: int,
  axis: str,
) -> tuple[jax.Array, jax.Array]:
  """Runs a recurrence with time split over devices, inside `jax.shard_map`.

  For recurrences S_t = A_t S_{t-1} + k_t v_t^T of a matrix state of `rows`
  rows, or of several that are stacked, whose outputs q_t^T S_t are linear in
  it, too. Every column of the state then depends only on the same columns of
  the values.

      def run(values, state, reset):
        return my_scan(q, k, values, state, reset=reset)

      o, final = recurrence.split_affine(
        run, init, v, reset, rows=q.shape[-1], axis="time"
      )

  Args:
    run: `run(values, state, reset) -> (o, state)` on this device's chunk of
      time, for any number of columns: values and o (*batch, time, columns), the
      state (*batch, rows, columns). Outputs as wide as the state are rounded
      once.
    init: (*batch, rows, columns) state before the whole sequence, the same on
      all devices; zeros if None.
    values: (*batch, time, columns), this device's chunk.
    reset: (*batch, time) bool, this device's chunk, or None.
    rows: number of rows of the state.
    axis: name of the mesh axis over which time is split.

  Returns:
    o of this device's chunk, and the state after the whole sequence, the same
    on all devices; both at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  _checks.floating(values=values, init=init)
  lead = validate.shape("values", values, ("*batch", "time", "columns"))[:-1]
  columns = values.shape[-1]
  _checks.shape("init", init, (*lead[:-1], rows, columns))
  _checks.reset(reset, lead)
  begin = init
  values, init, reset = _prefix.vary(axis, values, init, reset)
  arrays = [values] if init is None else [values, init]
  dtype = jnp.result_type(*arrays, jnp.float32)
  operands = _contractions.operand_dtype(values.dtype, dtype)
  nothing = jnp.zeros_like(values, shape=(*lead, rows))
  eye = jnp.eye(columns + rows, dtype=dtype)[columns:]
  shape = *lead[:-1], rows, columns + rows
  state = jnp.zeros_like(values, dtype, shape=shape) + eye
  o, state = run(jnp.concatenate([values, nothing], -1), state, reset)
  through = None if reset is None else ~jnp.any(reset, axis=-1)
  summary = _summaries.Decayed(
    through, state[..., columns:], state[..., :columns]
  )

  # Outputs that do not read the entering state stay out of its gradient.
  before = _summaries.before_resets(reset)
  reads = _summaries.keep(before, o[..., columns:])

  def completed(state):
    seen = _contractions.batched(
      "...tk,...kv->...tv", reads, state, operands
    ).astype(dtype)
    seen = _summaries.entered(before, seen)
    return o[..., :columns] + seen, _advance(summary, state)

  inits = init, begin
  return _summaries.scan(completed, summary, inits, _combine, axis=axis)


def _combine(
  left: _summaries.Decayed, right: _summaries.Decayed, hops: int
) -> _summaries.Decayed:
  """Composes a dense map `decay` and a state."""
  del hops
  through = _summaries.all_through(left, right)
  decay, before = _summaries.coming_through(right, left.decay)
  decay = decay @ before
  return _summaries.Decayed(through, decay, _advance(right, left.state))


def _advance(chunk: _summaries.Decayed, state: jax.Array) -> jax.Array:
  """Returns the state after a chunk from the one before it."""
  decay, state = _summaries.coming_through(chunk, state)
  return decay @ state + chunk.state
