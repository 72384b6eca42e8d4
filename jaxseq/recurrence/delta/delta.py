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
import math

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.delta import _delta_chunk
from jaxseq.recurrence.delta import _delta_forms
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _cotangents
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import affine

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
  x = _delta_forms.Tied(q, k, v, read, decay)
  how = {"chunk_size": chunk_size, "method": method}
  return _scan(x, init, reset, axis=axis, **how)


def delta_scan_heads(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  read: jax.Array,
  decay: jax.Array | None = None,
  init: jax.Array | None = None,
  *,
  reset: jax.Array | None = None,
  **how,
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
    **how: further options of `delta_scan`.

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
  o, final = delta_scan(*elements, init, reset=reset, **how)
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
  x = _delta_forms.General(q, k, v, a, b, decay)
  how = {"chunk_size": chunk_size, "method": method}
  return _scan(x, init, reset, axis=axis, **how)


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
  return _step(_delta_forms.Tied(q, k, v, read, decay), state, reset)


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
  return _step(_delta_forms.General(q, k, v, a, b, decay), state, reset)


def _scan(x, init, reset, *, chunk_size, method, axis=None, wide=False):
  """Runs the recurrence of `Tied` or `General` inputs."""
  if axis is not None:
    how = {"chunk_size": chunk_size, "method": method}
    return _over_devices(x, init, reset, axis, how)
  lead, narrow, dtype = _check(x, "init", init, ("*batch", "time", "dv"))
  out = dtype if wide else narrow
  *batch, time = lead
  _checks.reset(reset, lead)
  validate.choice("method", method, METHODS)
  if chunk_size is not None:
    chunk_size = min(validate.positive("chunk_size", chunk_size), time)
  rows, dk, dv = math.prod(batch), jnp.shape(x.k)[-1], jnp.shape(x.v)[-1]
  x = jax.tree.map(lambda leaf: jnp.reshape(leaf, (rows, time, -1)), x)
  if init is None:
    init = jnp.zeros_like(x.v, dtype, shape=(rows, dk, dv))
  init = jnp.reshape(init, (rows, dk, dv)).astype(dtype)
  reset = None if reset is None else jnp.reshape(reset, (rows, time))

  def run(x, init, reset, *, method, chunk_size):
    guarded = contexts.is_guarded()

    def once(x, init):
      if method == "pallas":
        o, final = _by_kernel(x, init, reset, chunk_size)
        return o.astype(out), final
      operands = _contractions.operand_dtype(narrow, dtype)
      how = method, operands, out, guarded
      chunk = functools.partial(_delta_chunk.chunk, *how)
      final, o = _chunks.over_chunks(chunk, chunk_size, init, x, reset)
      return o, final

    apart = reset if guarded and method != "sequential" else None
    return _cotangents.of_episodes(once, x, init, apart)

  shape = (rows, time, dk, dv)
  o, final = choice.by_platform(
    _op(x),
    dtype,
    shape,
    run,
    x,
    init,
    reset,
    method=method,
    chunk_size=chunk_size,
  )
  return o.reshape(*lead, dv), final.reshape(*batch, dk, dv)


def _over_devices(x, init, reset, axis, how):
  """Runs the recurrence with time split over devices."""
  arrays = [leaf for leaf in (*x, init) if leaf is not None]
  out = jnp.result_type(x.q, x.k, x.v)
  dtype = jnp.result_type(*arrays, jnp.float32)
  operands = _contractions.operand_dtype(out, dtype)
  decay = None if x.decay is None else x.decay.astype(dtype)
  x = jax.tree.map(lambda leaf: leaf.astype(operands), x)._replace(decay=decay)
  x = _prefix.vary(axis, x)

  def run(values, state, reset):
    # Not rounded before the contributions of other devices' states.
    return _scan(x._replace(v=values), state, reset, wide=True, **how)

  rows = x.k.shape[-1]
  o, final = affine.split_affine(run, init, x.v, reset, rows=rows, axis=axis)
  return o.astype(out), final


def _by_kernel(x, init, reset, chunk_size):
  """Outputs and the last state, by a kernel."""
  if not isinstance(x, _delta_forms.Tied):
    message = support.sentence("delta", "dplr_scan", "delta_scan")
    raise NotImplementedError(message)
  form = support.form(_op(x), jnp.result_type(*x[:4], init))
  kernel = registry.find(_op(x), form.chip)
  how = {"chunk_size": chunk_size, "plain": delta_scan}
  return kernel(form, *x, init, reset, **how)


def _op(x):
  """Returns the name of the recurrence in `choice.choose`."""
  if isinstance(x, _delta_forms.Tied) and x.decay is not None:
    if x.decay.shape[-1] > 1:
      return "delta_per_channel"
  return "delta"


def _step(x, state, reset):
  lead, out, dtype = _check(x, "state", state, ("*batch", "dv"))
  _checks.reset(reset, lead)
  x, state = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (x, state))
  state, o = _delta_chunk.step(x, state, reset)
  return o.astype(out), state


def _check(x, name, state, axes):
  """Checks all shapes and dtypes."""
  arrays = {field: y for field, y in x._asdict().items() if y is not None}
  _checks.floating(**arrays, **{name: state})
  *lead, dv = validate.shape("v", x.v, axes)
  lead = tuple(lead)
  shape = validate.shape("k", x.k, (*lead, "dk"))
  for field in arrays:
    if field not in ("k", "v", "decay"):
      validate.shape(field, arrays[field], shape)
  options = shape, (*lead, 1)
  if x.decay is not None and jnp.shape(x.decay) not in options:
    raise validate.error(
      "decay", f"shape {jnp.shape(x.decay)}", f"{shape} or {options[1]}"
    )
  batch = lead[:-1] if "time" in axes else lead
  _checks.shape(name, state, (*batch, shape[-1], dv))
  leaves = [y for y in (*arrays.values(), state) if y is not None]
  return (
    lead,
    jnp.result_type(x.q, x.k, x.v),
    jnp.result_type(*leaves, jnp.float32),
  )
