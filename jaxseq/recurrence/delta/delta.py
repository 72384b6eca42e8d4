"""Delta rules: linear recurrences that correct their matrix state.

    D_t = exp(decay_t)[:, None] * S_{t-1}
    S_t = D_t + k_t (v_t - read_t^T D_t)^T,   o_t = q_t^T S_t

is `delta_scan`: the value stored at a key is read, and replaced in part.
DeltaNet (arXiv:2406.06484) has read = beta k and v times beta and no decay,
Gated DeltaNet (arXiv:2412.06464) one decay per head, Kimi Delta Attention
(arXiv:2510.26692) one per channel of the keys.

    S_t = exp(decay_t)[:, None] * S_{t-1} + b_t (a_t^T S_{t-1})^T + k_t v_t^T

is `dplr_scan`, with a diagonal plus a rank-one matrix: RWKV-7
(arXiv:2503.14456). Time is cut into chunks, and only the matrix states between
them are stored; the backward pass runs chunk by chunk and recomputes the rest.
"""

import functools

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.delta import _delta_chunk
from jaxseq.recurrence.delta import _delta_forms
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _recurrences
from jaxseq.recurrence.shared import _summaries

METHODS = ("auto", "sequential", "chunked", "pallas")


def delta_scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  read: jax.Array,
  decay: jax.Array | None = None,
  init: jax.Array | None = None,
  *,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Runs the delta rule over time; heads are batch axes.

  Args:
    q: (*batch, time, dk) queries, floating.
    k: (*batch, time, dk) keys.
    v: (*batch, time, dv) values.
    read: (*batch, time, dk) vector that reads the decayed state; the result is
      subtracted from the value. With read_t = beta_t k_t, the state stays
      bounded for beta |k|^2 in [0, 2]; nothing is normalized here.
    decay: (*batch, time, dk) or (*batch, time, 1) logarithm of the state's
      factor, usually at most 0; -inf forgets. None means a factor of 1.
    init: (*batch, dk, dv) state before the first element; zeros if None.
    reset: (*batch, time) bool; if true, the state is reset to zeros (not
      to `init`) before that element is consumed.
    chunk_size: elements per chunk; by platform and sizes if None.
    method: how a chunk is computed: "sequential" (one element at a time),
      "chunked" (matrix products), "pallas" (matrix products in a kernel that
      keeps the state on the chip; on GPUs in bfloat16, for at most 128 keys,
      and as many values if each key has a decay) or "auto" (by platform). All
      agree to rounding.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.

  Returns:
    Outputs (*batch, time, dv) in the common dtype of q, k and v, and the state
    (*batch, dk, dv) after the last element, at least float32 like all
    intermediate results.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: if there is no kernel for "pallas" here, or none for
      these sizes and dtypes.
  """
  options = {"chunk_size": chunk_size, "method": method, "axis": axis}
  x = _delta_forms.Tied(q, k, v, read, decay)
  return _recurrences.scan(_DELTA, x, init, reset, **options)


def delta_scan_heads(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  read: jax.Array,
  decay: jax.Array | None = None,
  init: jax.Array | None = None,
  *,
  reset: jax.Array | None = None,
  **options,
) -> tuple[jax.Array, jax.Array]:
  """`delta_scan` with heads as an axis after time.

  Heads are in the layout of projections, as in `outer_scan_heads`.

  Args:
    q: (*batch, time, heads, dk) queries, floating.
    k: (*batch, time, heads, dk) keys.
    v: (*batch, time, heads, dv) values.
    read: (*batch, time, heads, dk), as in `delta_scan`.
    decay: (*batch, time, heads, dk), (*batch, time, heads, 1) or None.
    init: (*batch, heads, dk, dv) state before the first element, or None.
    reset: (*batch, time) bool or None.
    **options: further options of `delta_scan`.

  Returns:
    Outputs (*batch, time, heads, dv) and the last state (*batch, heads, dk,
    dv); dtypes as in `delta_scan`.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: as in `delta_scan`.
  """
  *batch, time, heads, _ = validate.shape(
    "v", v, ("*batch", "time", "heads", "dv")
  )
  _checks.reset(reset, (*batch, time))
  elements = (
    None if x is None else jnp.moveaxis(jnp.asarray(x), -2, -3)
    for x in (q, k, v, read, decay)
  )
  if reset is not None:
    reset = jnp.broadcast_to(reset[..., None, :], (*batch, heads, time))
  o, final = delta_scan(*elements, init, reset=reset, **options)
  return jnp.moveaxis(o, -3, -2), final


def dplr_scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  a: jax.Array,
  b: jax.Array,
  decay: jax.Array | None = None,
  init: jax.Array | None = None,
  *,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Runs a recurrence with a diagonal plus a rank-one matrix over time.

  Takes twice the work of `delta_scan`, whose a = exp(decay) read and b = -k.

  Args:
    q: (*batch, time, dk) queries; all arguments are like those of `delta_scan`.
    k: (*batch, time, dk) keys of v.
    v: (*batch, time, dv) values.
    a: (*batch, time, dk) vector that reads the state before the decay.
    b: (*batch, time, dk) vector at which the read value is added.
    decay: (*batch, time, dk) or (*batch, time, 1) log-decays, or None.
    init: (*batch, dk, dv) state before the first element; zeros if None.
    reset: (*batch, time) bool or None.
    chunk_size: elements per chunk.
    method: "sequential", "chunked" or "auto"; there is no kernel.
    axis: name of the mesh axis over which time is split.

  Returns:
    Outputs and state like those of `delta_scan`.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
  """
  options = {"chunk_size": chunk_size, "method": method, "axis": axis}
  x = _delta_forms.General(q, k, v, a, b, decay)
  return _recurrences.scan(_DPLR, x, init, reset, **options)


def delta_step(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  read: jax.Array,
  decay: jax.Array | None,
  state: jax.Array,
  *,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Consumes one element; `delta_scan` without the time axis.

  Args:
    q: (*batch, dk) query.
    k: (*batch, dk) key.
    v: (*batch, dv) value.
    read: (*batch, dk) vector that reads the decayed state.
    decay: (*batch, dk) or (*batch, 1) log-decay, or None.
    state: (*batch, dk, dv) state before the element.
    reset: (*batch,) bool; if true, the state is reset to zeros first.

  Returns:
    The output (*batch, dv) in the common dtype of q, k and v, and the state
    (*batch, dk, dv) after the element, at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = _delta_forms.Tied(q, k, v, read, decay)
  return _recurrences.step(_DELTA, x, state, reset)


def dplr_step(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  a: jax.Array,
  b: jax.Array,
  decay: jax.Array | None,
  state: jax.Array,
  *,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Consumes one element; `dplr_scan` without the time axis.

  Args:
    q: (*batch, dk) query.
    k: (*batch, dk) key of v.
    v: (*batch, dv) value.
    a: (*batch, dk) vector that reads the state before the decay.
    b: (*batch, dk) vector at which the read value is added.
    decay: (*batch, dk) or (*batch, 1) log-decay, or None.
    state: (*batch, dk, dv) state before the element.
    reset: (*batch,) bool; if true, the state is reset to zeros first.

  Returns:
    Output and state like those of `delta_step`.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = _delta_forms.General(q, k, v, a, b, decay)
  return _recurrences.step(_DPLR, x, state, reset)


def _run(call, x, state, reset, *, method, chunk_size):
  """Runs the recurrence of `Tied` or `General` inputs by a method."""
  if method == "pallas":
    o, final = _by_kernel(call, x, state, reset, chunk_size)
    return o.astype(call.out), final
  narrow = jnp.result_type(x.q, x.k, x.v)
  operands = _contractions.operand_dtype(narrow, call.dtype)
  options = method, operands, call.out, call.guarded
  chunk = functools.partial(_delta_chunk.chunk, *options)
  final, o = _chunks.over_chunks(chunk, chunk_size, state, x, reset)
  return o, final


def _by_kernel(call, x, state, reset, chunk_size):
  """Outputs and the last state, by a kernel."""
  if not isinstance(x, _delta_forms.Tied):
    message = support.sentence("delta", "dplr_scan", "delta_scan")
    raise NotImplementedError(message)
  op, *_ = _chosen(call, x)
  form = support.form(op, jnp.result_type(*x[:4], state))
  kernel = registry.find(op, form.chip)
  options = {"chunk_size": chunk_size, "plain": delta_scan}
  return kernel(form, *x, state, reset, **options)


def _chosen(call, x):
  """Arguments of `choice.choose`."""
  tied = isinstance(x, _delta_forms.Tied) and x.decay is not None
  per_channel = tied and x.decay.shape[-1] > 1
  op = "delta_per_channel" if per_channel else "delta"
  return op, call.dtype, call.shape("time dk dv")


def _part(run, x, init, reset):
  """The part of a device, if time is split over devices."""
  out = jnp.result_type(x.q, x.k, x.v)
  dtype = jnp.result_type(*jax.tree.leaves((x, init)), jnp.float32)
  operands = _contractions.operand_dtype(out, dtype)
  decay = None if x.decay is None else x.decay.astype(dtype)
  x = jax.tree.map(lambda leaf: leaf.astype(operands), x)._replace(decay=decay)

  def of_values(values, state, reset):
    # Not rounded before the contributions of other devices' states.
    return run(x._replace(v=values), state, reset, wide=True)

  rows = x.k.shape[-1]
  return _summaries.affine(of_values, x.v, init, reset, rows=rows)


def _recurrence(*reads):
  """The recurrence whose further vectors have these names."""
  like_k = "".join(f" {name}: *batch time dk;" for name in reads)
  return _recurrences.Recurrence(
    arguments="v: *batch time dv; k: *batch time dk; q: *batch time dk;"
    f"{like_k} decay?: *batch time dk|1; init?: *batch dk dv",
    outputs="q k v",
    run=_run,
    methods=METHODS,
    chosen=_chosen,
    element=_delta_chunk.step,
    part=_part,
    products=("chunked", "pallas"),
  )


_DELTA, _DPLR = _recurrence("read"), _recurrence("a", "b")
