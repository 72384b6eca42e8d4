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
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _cotangents
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _varying

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
  if axis is not None:
    run = functools.partial(
      softmax_outer_scan, chunk_size=chunk_size, method=method, sink=sink
    )
    return _averages_sharded.softmax_outer_scan(
      run, q, logits, k, v, init, reset=reset, sink=sink, axis=axis
    )
  inputs, batch, dtype = _check(q, logits, k, v, init, 1)
  time, dk, dv = inputs.v.shape[-2], inputs.q.shape[-1], inputs.v.shape[-1]
  n = inputs.logits.shape[-1]
  _checks.reset(reset, batch + (time,))
  _check_sink(sink)
  validate.choice("method", method, METHODS)
  if chunk_size is not None:
    chunk_size = min(validate.positive("chunk_size", chunk_size), time)
  if init is None:
    init = softmax_outer_initial(batch, dk, dv, dtype, sink=sink)
    init = _softmax_state.in_own_channels(init, n)
    init = jax.tree.map(functools.partial(_varying.vary_as, inputs.v), init)
  return over_rows(
    "softmax_outer",
    dtype,
    (*batch, time, dk, dv),
    functools.partial(_over_time, sink=sink),
    *(inputs, init, reset),
    method=method,
    chunk_size=chunk_size,
  )


def over_rows(op, dtype, shape, run, inputs, init, reset, **how):
  """Runs `choice.by_platform` for a function of arrays with one batch axis.

  `shape` is (*batch, time, dk, dv); the state is brought to `dtype`.
  """
  batch = shape[:-3]
  rows = math.prod(batch)

  def flat(x):
    return x.reshape((rows,) + x.shape[len(batch) :])

  inputs = jax.tree.map(flat, inputs)
  init = jax.tree.map(lambda x: flat(jnp.asarray(x, dtype)), init)
  reset = None if reset is None else flat(reset)
  shape = (rows, *shape[-3:])
  arguments = inputs, init, reset
  results = choice.by_platform(op, dtype, shape, run, *arguments, **how)
  return jax.tree.map(lambda x: x.reshape(batch + x.shape[1:]), results)


def _over_time(inputs, init, reset, *, sink, method, chunk_size=None):
  """Outputs and the last state, of one batch axis."""

  def run(inputs, init):
    def fold(state):
      how = {"sink": sink, "size": chunk_size, "method": method}
      if method in ("decays", "pallas"):
        how["method"] = "auto" if method == "decays" else method
        return _softmax_linear.channels(state, inputs, reset, **how)
      return _softmax_chunk.run(inputs, state, reset, **how)

    final, o = _softmax_state.with_constant_shift(
      *(fold, inputs.logits, init, reset, sink), known=method == "pallas"
    )
    return o, final

  products = method in ("chunked", "pallas")
  apart = reset if products and contexts.is_guarded() else None
  return _cotangents.of_episodes(run, inputs, init, apart)


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
  inputs, batch, dtype = _check(q, logits, k, v, state, 0)
  out = _softmax_state.output_dtype(inputs)
  _checks.reset(reset, batch)
  _check_sink(sink)
  state = jax.tree.map(lambda x: jnp.asarray(x, dtype), state)
  if reset is not None:
    state = _resets.select(reset, _softmax_state.fresh(sink, state), state)
  inputs = jax.tree.map(lambda x: x.astype(dtype), inputs)
  o, state = _softmax_state.step(inputs, state)
  return o.astype(out), state


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
  logits = jnp.asarray(logits)
  *batch, _, n = validate.shape("logits", logits, ("*batch", "time", "n"))
  batch = tuple(batch)
  for name, x in (("m", m), ("u", u)):
    validate.shape(name, x, batch + (n,))
  _checks.reset(reset, logits.shape[:-1])
  _check_sink(sink)
  dtype = jnp.result_type(logits, m, u, jnp.float32)
  rows = math.prod(batch)
  flat = logits.astype(dtype).reshape((rows,) + logits.shape[-2:])
  m, u = (jnp.asarray(x, dtype).reshape(rows, n) for x in (m, u))
  reset = None if reset is None else reset.reshape(rows, -1)

  def fold(state):
    decay, share, m, u = _softmax_linear.log_decay(
      flat, state.m, state.u, reset, sink
    )
    return SoftmaxState(m, u, None), (decay, share)

  (m, u, _), (decay, share) = _softmax_state.with_constant_shift(
    fold, flat, SoftmaxState(m, u, None), reset, sink
  )
  decay, share = (x.reshape(logits.shape) for x in (decay, share))
  return decay, share, (m.reshape(*batch, n), u.reshape(*batch, n))


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


def _check(q, logits, k, v, state, time_axes):
  """Checks the arguments; returns arrays, batch shape and accumulator dtype."""
  time = ("time",) if time_axes else ()
  shape = validate.shape("q", q, ("*batch", *time, "dk"))
  *lead, n = validate.shape("logits", logits, (*shape[:-1], "n"))
  if n < 1 or shape[-1] % n:
    expected = f"{(*lead, 'n')}, n a divisor of {shape[-1]}"
    raise validate.error("logits", f"shape {jnp.shape(logits)}", expected)
  _checks.shape("k", k, shape)
  validate.shape("v", v, (*shape[:-1], "dv"))
  _checks.floating(q=q, logits=logits, k=k, v=v)
  batch = shape[: -1 - time_axes]
  dk, dv = shape[-1], jnp.shape(v)[-1]
  check_state(state, (batch + (n,), batch + (n,), batch + (dk, dv)))
  inputs = jax.tree.map(jnp.asarray, _softmax_state.Inputs(q, logits, k, v))
  leaves = jax.tree.leaves((inputs, state))
  return inputs, batch, jnp.result_type(*leaves, jnp.float32)


def check_state(state, shapes) -> None:
  """Raises ValueError unless `state` is None or three arrays of such shapes."""
  if state is None:
    return
  got = [jnp.shape(x) for x in state]
  if got != list(shapes):
    raise validate.error(
      "state", got, f"(m, u, w) of shapes {', '.join(map(str, shapes))}"
    )


def _check_sink(sink):
  if sink is not None and not (
    isinstance(sink, (int, float)) and math.isfinite(sink)
  ):
    raise validate.error("sink", sink, "a finite number or None")
