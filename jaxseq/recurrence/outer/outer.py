"""Linear recurrences with a matrix state and rank-one updates.

    S_t = exp(decay_t)[:, None] * S_{t-1} + k_t v_t^T,   o_t = q_t S_t

Linear attention (arXiv:2006.16236) has no decay, RetNet (arXiv:2307.08621) a
constant one, Mamba-2 (arXiv:2405.21060) one per head and element, gated linear
attention (arXiv:2312.06635) one per channel of the keys. RWKV-6
(arXiv:2404.05892) reads the state before its element: o_t = q_t S_{t-1}.

Time is cut into chunks, and only the matrix states between them are stored; the
backward pass runs chunk by chunk and recomputes the rest.
"""

import functools
import math

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.outer import _outer_chunk
from jaxseq.recurrence.outer import _outer_forms
from jaxseq.recurrence.outer import _outer_sharded
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _cotangents
from jaxseq.recurrence.shared import _resets


def outer_scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None = None,
  init: jax.Array | None = None,
  *,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  inclusive: bool = True,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Runs the recurrence over time; heads are batch axes.

  Args:
    q: (*batch, time, dk) queries, floating.
    k: (*batch, time, dk) keys.
    v: (*batch, time, dv) values.
    decay: (*batch, time, dk) or (*batch, time, 1) logarithm of the state's
      factor, usually at most 0; -inf forgets. None means a factor of 1.
    init: (*batch, dk, dv) state before the first element; zeros if None.
    reset: (*batch, time) bool; if true, the state is reset to zeros (not
      to `init`) before that element is consumed.
    chunk_size: elements per chunk; by platform and state size if None.
    method: how a chunk is computed: "sequential" (one element at a time),
      "associative" (a tree, which stores one chunk's matrix states), "chunked"
      (matrix products), "pallas" (matrix products in a kernel that keeps the
      state on the chip; on GPUs in bfloat16, for at most 128 keys with one
      decay per head, at most 256 keys and 128 values with one per channel) or
      "auto" (by platform and size). All agree to rounding.
    inclusive: whether an element reads the state after itself, q_t S_t, or the
      one before itself, q_t S_{t-1}: q_1 init at first, and 0 at a reset.
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
  _checks.floating(q=q, k=k, v=v)
  lead = validate.shape("v", v, ("*batch", "time", "dv"))[:-1]
  _check_keys(lead, lead, q, k, decay)
  batch = lead[:-1]
  state_shape = (*batch, jnp.shape(k)[-1], jnp.shape(v)[-1])
  _check_state("init", init, state_shape)
  _checks.reset(reset, lead)
  rows, time = math.prod(batch), lead[-1]

  def one_head(x):
    if x is None:
      return None
    return jnp.reshape(x, (rows, time, 1, jnp.shape(x)[-1]))

  if init is not None:
    init = jnp.reshape(init, (rows, 1, *state_shape[-2:]))
  reset = None if reset is None else jnp.reshape(reset, (rows, time))
  how = {"chunk_size": chunk_size, "method": method, "inclusive": inclusive}
  elements = map(one_head, (q, k, v, decay))
  o, final = outer_scan_heads(*elements, init, reset=reset, axis=axis, **how)
  return o.reshape(*lead, o.shape[-1]), final.reshape(state_shape)


def outer_scan_heads(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None = None,
  init: jax.Array | None = None,
  *,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  inclusive: bool = True,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """`outer_scan` with heads as an axis after time.

  Heads are in the layout of projections. They may share queries and keys in
  groups (head h belongs to group h * groups // heads, as in Mamba-2); the
  products of queries and keys are then computed once per group.

  Args:
    q: (*batch, time, groups, dk) queries, floating.
    k: (*batch, time, groups, dk) keys.
    v: (*batch, time, heads, dv) values; heads is a multiple of groups.
    decay: (*batch, time, heads, dk), (*batch, time, heads, 1) or None.
    init: (*batch, heads, dk, dv) state before the first element, or None.
    reset: (*batch, time) bool or None.
    chunk_size: as in `outer_scan`.
    method: as in `outer_scan`.
    inclusive: as in `outer_scan`.
    axis: as in `outer_scan`.

  Returns:
    Outputs (*batch, time, heads, dv) and the last state (*batch, heads, dk,
    dv); dtypes as in `outer_scan`.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: as in `outer_scan`.
  """
  how = {"chunk_size": chunk_size, "method": method, "inclusive": inclusive}
  if axis is not None:
    # Not rounded before the contributions of other devices' states.
    run = functools.partial(_scan_heads, wide=True, **how)
    where = {"reset": reset, "inclusive": inclusive, "axis": axis}
    return _outer_sharded.outer_scan_heads(run, q, k, v, decay, init, **where)
  return _scan_heads(q, k, v, decay, init, reset=reset, wide=False, **how)


def _scan_heads(
  q, k, v, decay=None, init=None, *, reset, chunk_size, method, inclusive, wide
):
  """Runs on one device; `wide` outputs have the dtype of the state."""
  _checks.floating(q=q, k=k, v=v)
  lead = validate.shape("v", v, ("*batch", "time", "heads", "dv"))[:-1]
  *batch, time, heads = lead
  groups = jnp.shape(q)[-2] if jnp.ndim(q) == len(lead) + 1 else heads
  if groups < 1 or heads % groups:
    expected = f"as many heads as a multiple of the groups of q, {jnp.shape(q)}"
    raise validate.error("v", f"shape {jnp.shape(v)}", expected)
  _check_keys((*batch, time, groups), lead, q, k, decay)
  dk, dv = jnp.shape(k)[-1], jnp.shape(v)[-1]
  _check_state("init", init, (*batch, heads, dk, dv))
  _checks.reset(reset, (*batch, time))
  validate.choice("method", method, linear.KERNEL_METHODS)
  if chunk_size is not None:
    chunk_size = min(validate.positive("chunk_size", chunk_size), time)
  out = jnp.result_type(q, k, v)
  dtype = _accumulator_dtype(q, k, v, decay, init)
  rows = math.prod(batch)
  if init is None:
    init = jnp.zeros_like(v, dtype, shape=(*batch, heads, dk, dv))
  first = None
  if not inclusive:
    q, first = _read_before(q, init.astype(dtype), reset)

  def flat(x):
    return None if x is None else jnp.reshape(x, (rows, *x.shape[len(batch) :]))

  op = _op(decay is not None and jnp.shape(decay)[-1] > 1)
  inputs = out if dtype == jnp.float32 else dtype
  run = functools.partial(_run, op, inputs, dtype if wide else out)
  o, final = choice.by_platform(
    op,
    inputs,
    (rows, time, heads, dk, dv),
    run,
    *map(flat, map(jnp.asarray, (q, k, v))),
    *map(flat, (decay, init.astype(dtype), reset)),
    method=method,
    chunk_size=chunk_size,
  )
  o = o.reshape(*lead, dv)
  if first is not None:
    o = jnp.concatenate([first.astype(o.dtype), o[..., :-1, :, :]], axis=-3)
    if reset is not None:
      o = _resets.forget(reset[..., None], o)
  return o, final.reshape(*batch, heads, dk, dv)


def _read_before(q, init, reset):
  """Shifts queries to the element before; also returns the first output."""
  # The outputs, shifted back, have then read the state before their element.
  # Unlike a product with inverse decays, this divides by no decay.
  q = jnp.asarray(q)
  shared = init.shape[-3] // q.shape[-2]
  first = jnp.repeat(q[..., :1, :, :].astype(init.dtype), shared, axis=-2)
  if reset is not None:
    # Here too, for the gradients: an undefined state must not enter.
    q = _resets.forget(reset[..., None], q)
    init = _resets.select(reset[..., 0], jnp.zeros_like(init), init)
  first = jnp.einsum("...thk,...hkv->...thv", first, init)
  nothing = jnp.zeros_like(q[..., :1, :, :])
  return jnp.concatenate([q[..., 1:, :, :], nothing], axis=-3), first


def outer_step(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None,
  state: jax.Array,
  *,
  reset: jax.Array | None = None,
  inclusive: bool = True,
) -> tuple[jax.Array, jax.Array]:
  """Consumes one element; `outer_scan` without the time axis.

  Args:
    q: (*batch, dk) query.
    k: (*batch, dk) key.
    v: (*batch, dv) value.
    decay: (*batch, dk) or (*batch, 1) log-decay, or None.
    state: (*batch, dk, dv) state before the element.
    reset: (*batch,) bool; if true, the state is reset to zeros first.
    inclusive: as in `outer_scan`.

  Returns:
    The output (*batch, dv) in the common dtype of q, k and v, and the state
    (*batch, dk, dv) after the element, at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  _checks.floating(q=q, k=k, v=v)
  batch = validate.shape("v", v, ("*batch", "dv"))[:-1]
  _check_keys(batch, batch, q, k, decay)
  _check_state("state", state, (*batch, jnp.shape(k)[-1], jnp.shape(v)[-1]))
  _checks.reset(reset, batch)
  out = jnp.result_type(q, k, v)
  dtype = _accumulator_dtype(q, k, v, decay, state)
  x = jax.tree.map(lambda x: jnp.asarray(x, dtype), (q, k, v, decay, state))
  o, state = _outer_chunk.step(*x, reset, inclusive=inclusive)
  return o.astype(out), state


def _check_keys(lead, decay_lead, q, k, decay):
  """Checks q, k and decay against the axes before their features."""
  shape = validate.shape("k", k, (*lead, "dk"))
  validate.shape("q", q, shape)
  if decay is None:
    return
  _checks.floating(decay=decay)
  options = (*decay_lead, shape[-1]), (*decay_lead, 1)
  if jnp.shape(decay) not in options:
    raise validate.error(
      "decay", f"shape {jnp.shape(decay)}", f"{options[0]} or {options[1]}"
    )


def _check_state(name, state, shape):
  _checks.shape(name, state, shape)
  _checks.floating(**{name: state})


def _accumulator_dtype(*arrays):
  return jnp.result_type(*(x for x in arrays if x is not None), jnp.float32)


def _op(per_channel):
  """Name of the recurrence in `platform.choice`."""
  return "outer_per_channel" if per_channel else "outer"


def _run(op, dtype, out, q, k, v, decay, init, reset, *, method, chunk_size):
  """Runs [N, T, G, K], ..., [N, H, K, V] in the dtype of init by a method."""
  how = {"reset": reset, "method": method, "chunk_size": chunk_size}
  run = functools.partial(_once, op, dtype, out, **how)
  products = method in ("chunked", "pallas")
  apart = reset if products and contexts.is_guarded() else None
  return _cotangents.of_episodes(run, (q, k, v, decay), init, apart)


def _once(op, dtype, out, x, init, *, reset, method, chunk_size):
  """Result of `_run`."""
  q, k, v, decay = x
  if method == "pallas":
    form = support.form(op, dtype)
    kernel = registry.find(op, form.chip)
    how = {"chunk_size": chunk_size, "plain": outer_scan_heads}
    o, final = kernel(form, q, k, v, decay, init, reset, **how)
    return o.astype(out), final
  rows, time, groups, dk = q.shape
  heads, dv = v.shape[2:]

  def grouped(x, heads):
    if x is None:
      return None
    return x.reshape(rows, time, groups, heads, x.shape[-1])

  shared = (grouped(x, 1) for x in (q, k))
  per_head = (grouped(x, heads // groups) for x in (v, decay))
  x = _outer_forms.Inputs(*shared, *per_head)
  state = init.reshape(rows * groups, heads // groups, dk, dv)
  operands = init.dtype
  if method == "chunked":
    narrow = jnp.result_type(q, k, v)
    operands = _contractions.operand_dtype(narrow, init.dtype)
  how = method, operands, out, contexts.is_guarded()
  chunk = functools.partial(_chunk, *how)
  final, o = _chunks.over_chunks(chunk, chunk_size, state, x, reset)
  return o.reshape(v.shape), final.reshape(init.shape)


def _chunk(method, operands, out, guarded, state, x, reset):
  """State [N G, R, K, V] after inputs [N, C, G, R|1, F], and outputs."""
  groups = x.v.shape[2]

  def heads_first(leaf, dtype=operands):
    # [N, C, G, R, F] -> [N G, R, C, F].
    leaf = jnp.moveaxis(leaf.astype(dtype), 1, 3)
    return leaf.reshape(-1, *leaf.shape[2:])

  if reset is not None:
    reset = jnp.repeat(reset, groups, axis=0)
  q, k, v = map(heads_first, x[:3])
  a = None if x.a is None else heads_first(x.a, state.dtype)
  x = _outer_forms.Inputs(q, k, v, a)
  o, state = _outer_chunk.run(method, x, state, reset, guarded)
  o = jnp.moveaxis(o.reshape(-1, groups, *o.shape[1:]), 3, 1)
  return state, o.astype(out)
