"""Time split over devices for any recurrence that is linear in its state.

A chunk of time is an affine map of states, S -> M S + N, with a dense M. The
columns of a state are independent: one scan from [0, 1] with values [v, 0] ends
in [N, M], and its outputs are those from zeros and the vectors that read the
entering state. It runs before the exchange, nothing is computed twice.
"""

from collections.abc import Callable
import functools

import jax

from jaxseq import validate
from jaxseq.recurrence.shared import _checks
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
  _checks.shape("init", init, (*lead[:-1], rows, values.shape[-1]))
  _checks.reset(reset, lead)
  part = functools.partial(_summaries.affine, run, rows=rows)
  return _summaries.split(part, values, init, reset, axis=axis)
