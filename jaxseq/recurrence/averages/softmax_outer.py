"""LightNet's additive recurrence: one softmax average per key channel."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.averages import _averages_sharded
from jaxseq.recurrence.averages import _softmax_chunk
from jaxseq.recurrence.averages import _softmax_linear
from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _recurrences
from jaxseq.recurrence.shared import _resets

SoftmaxState = _softmax_state.SoftmaxState

METHODS = (*linear.KERNEL_METHODS, "decays")


def softmax_outer_scan(
  q: jax.Array,
  logits: jax.Array,
  k: jax.Array | None,
  v: jax.Array,
  init: SoftmaxState | None = None,
  *,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  sink: float | None = None,
  axis: str | None = None,
) -> tuple[jax.Array, SoftmaxState]:
  """Averages k v^T under running softmax weights per channel, and reads with q.

    o_t = sum_d q_t[d] (sum_{s<=t} exp(logits_s[d]) k_s[d] v_s)
                       / (sum_{s<=t} exp(logits_s[d]))

  Qin et al., "You Only Scan Once: Efficient Multi-dimension Sequential Modeling
  with LightNet", arXiv:2405.21022, in a form that is stable for any logits: all
  weights are relative to a running maximum. Memory beyond inputs and outputs
  grows with time / chunk_size times the state, in the gradient too.

  Args:
    q: (*batch, time, dk) queries.
    logits: (*batch, time, n), n a divisor of dk: channel d of q and k has logit
      d modulo n; -inf leaves the element out.
    k: (*batch, time, dk) factors of the values; ones if None.
    v: (*batch, time, dv) values.
    init: state before the first element; the fresh state if None.
    reset: (*batch, time) bool; if true, the state is reset to the fresh state
      (not to `init`) before the element is consumed.
    chunk_size: elements per chunk; by platform if None.
    method: how a chunk is computed: "sequential" (one step at a time),
      "associative" (a tree over time; stores dk * dv numbers for each element
      of the chunk), "chunked" (matrix products), "decays" (the multiplicative
      recurrence: `softmax_decay`, then `outer_scan`), "pallas" (the same in
      kernels; on GPUs those of `outer_scan`, with decays of bfloat16) or "auto"
      (by platform). All agree to rounding. In "chunked" and "pallas" a NaN or
      infinity in one element makes all channels of the outputs that depend on
      it NaN, without a gradient.
    sink: logit of an element without a value that every fresh sequence starts
      with; 0 gives the phantom element of LightNet's first author's code. A
      channel's weights then sum to less than 1. Absent if None.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.

  Returns:
    o (*batch, time, dv) in the common dtype of q, k and v; a channel that has
    seen no element adds 0 to it. And the state after the last element: m, u
    (*batch, n) and w (*batch, dk, dv), at least float32 like all intermediate
    results.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: as in `outer_scan`.
  """
  _check_sink(sink)
  x = _softmax_state.Inputs(q, logits, k, v)
  options = {"chunk_size": chunk_size, "method": method, "sink": sink}
  return _recurrences.scan(_SOFTMAX_OUTER, x, init, reset, axis=axis, **options)


def softmax_outer_step(
  q: jax.Array,
  logits: jax.Array,
  k: jax.Array | None,
  v: jax.Array,
  state: SoftmaxState,
  *,
  reset: jax.Array | None = None,
  sink: float | None = None,
) -> tuple[jax.Array, SoftmaxState]:
  """Consumes one element; `softmax_outer_scan` without the time axis.

  Args:
    q: (*batch, dk).
    logits: (*batch, n), as in `softmax_outer_scan`.
    k: (*batch, dk) or None.
    v: (*batch, dv).
    state: state before the element.
    reset: (*batch,) bool; if true, the state is reset to the fresh state first.
    sink: as in `softmax_outer_scan`.

  Returns:
    o (*batch, dv) and the state after the element.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  _check_sink(sink)
  x = _softmax_state.Inputs(q, logits, k, v)
  return _recurrences.step(_SOFTMAX_OUTER, x, state, reset, sink=sink)


def softmax_decay(
  logits: jax.Array,
  m: jax.Array,
  u: jax.Array,
  *,
  reset: jax.Array | None = None,
  sink: float | None = None,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
  """Computes decays and shares: an additive recurrence as a decaying one.

  With Delta_t the sum of exp(logits_s) over s <= t, the weight exp(logits_s) /
  Delta_t of element s is its share exp(logits_s) / Delta_s times the decays
  Delta_{r-1} / Delta_r of the elements r after it.

  Args:
    logits: (*batch, time, n); -inf adds nothing.
    m: (*batch, n) largest logit before the first element; -1e30 if there is no
      element.
    u: (*batch, n) sum of exp(logit - m) before the first element; 0 if there is
      no element.
    reset: (*batch, time) bool; if true, the sum restarts with the element.
    sink: as in `softmax_outer_scan`.
    axis: as in `softmax_outer_scan`; m and u are those of the whole sequence.

  Returns:
    The logarithms (*batch, time, n) of the decays, 0 if the sum before is 0;
    the shares (*batch, time, n); and m and u after the last element. At least
    float32.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
  """
  if axis is not None:
    run = functools.partial(softmax_decay, sink=sink)
    return _averages_sharded.softmax_decay(
      run, logits, m, u, reset=reset, sink=sink, axis=axis
    )
  line = "logits: any *batch time n; m: any *batch n; u: any *batch n"
  sizes = _checks.arguments(line, {"logits": logits, "m": m, "u": u})
  _checks.reset(reset, jnp.shape(logits)[:-1])
  _check_sink(sink)
  dtype = jnp.result_type(logits, m, u, jnp.float32)
  logits, m, u = (jnp.asarray(x, dtype) for x in (logits, m, u))

  def run(logits, init, reset):
    def fold(state):
      decay, share, m, u = _softmax_linear.log_decay(
        logits, state.m, state.u, reset, sink
      )
      return SoftmaxState(m, u, None), (decay, share)

    final, y = _softmax_state.with_constant_shift(
      fold, logits, SoftmaxState(*init, None), reset, sink
    )
    return y, final

  (decay, share), final = _recurrences.over_rows(
    run, sizes["*batch"], logits, (m, u), reset
  )
  return decay, share, (final.m, final.u)


def softmax_outer_initial(
  batch: tuple[int, ...],
  dk: int,
  dv: int,
  dtype=jnp.float32,
  *,
  sink: float | None = None,
) -> SoftmaxState:
  """Returns the state of a fresh sequence.

  Args:
    batch: leading axes.
    dk: number of channels with a logit.
    dv: width of the values.
    dtype: dtype of the state.
    sink: as in `softmax_outer_scan`.

  Returns:
    m, u (*batch, dk) and w (*batch, dk, dv).
  """
  like = SoftmaxState(
    *(jnp.zeros(batch + shape, dtype) for shape in ((dk,), (dk,), (dk, dv)))
  )
  return _softmax_state.fresh(sink, like)


def _over_time(call, x, init, reset, *, sink, method, chunk_size=None):
  """Outputs and the last state, of one batch axis."""

  def fold(state):
    options = {"sink": sink, "size": chunk_size, "method": method}
    if method in ("decays", "pallas"):
      options["method"] = "auto" if method == "decays" else method
      return _softmax_linear.channels(state, x, reset, **options)
    return _softmax_chunk.run(x, state, reset, **options)

  final, o = _softmax_state.with_constant_shift(
    *(fold, x.logits, init, reset, sink), known=method == "pallas"
  )
  return o, final


def _element(x, state, reset, *, sink):
  """One element, all of it in one dtype."""
  if reset is not None:
    state = _resets.select(reset, _softmax_state.fresh(sink, state), state)
  return _softmax_state.step(x, state)


def _check(x, sizes):
  """Checks that channels share logits."""
  dk, n = sizes["dk"], sizes["n"]
  if dk % n:
    lead = x.q.shape[:-1]
    expected = f"{(*lead, 'n')}, n a divisor of {dk}"
    raise validate.error("logits", f"shape {x.logits.shape}", expected)


def _check_sink(sink):
  if sink is not None and not (
    isinstance(sink, (int, float)) and math.isfinite(sink)
  ):
    raise validate.error("sink", sink, "a finite number or None")


_SOFTMAX_OUTER = _recurrences.Recurrence(
  arguments="q: *batch time dk; logits: *batch time n; k?: *batch time dk;"
  " v: *batch time dv; init?: any m *batch n, u *batch n, w *batch dk dv",
  outputs="q k v",
  run=_over_time,
  methods=METHODS,
  chosen=lambda call, x: (
    "softmax_outer",
    call.dtype,
    call.shape("time dk dv"),
  ),
  element=_element,
  fresh=lambda zeros, *, sink: _softmax_state.fresh(sink, zeros),
  state=SoftmaxState,
  check=_check,
  part=_averages_sharded.softmax_outer,
  products=("chunked", "pallas"),
)
