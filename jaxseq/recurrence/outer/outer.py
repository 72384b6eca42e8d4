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

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.outer import _outer_chunk
from jaxseq.recurrence.outer import _outer_forms
from jaxseq.recurrence.outer import _outer_sharded
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _recurrences
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
  x, options = _outer_forms.Inputs(q, k, v, decay), {"chunk_size": chunk_size}
  options |= {"method": method, "inclusive": inclusive, "axis": axis}
  return _recurrences.one_head(_OUTER, x, init, reset, **options)


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
  x, options = _outer_forms.Inputs(q, k, v, decay), {"chunk_size": chunk_size}
  options |= {"method": method, "inclusive": inclusive, "axis": axis}
  return _recurrences.scan(_OUTER, x, init, reset, **options)


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
  x = _outer_forms.Inputs(q, k, v, decay)
  one = _recurrences.of_one_head(_OUTER)
  return _recurrences.step(one, x, state, reset, inclusive=inclusive)


def _chosen(call, x):
  """Arguments of `choice.choose`."""
  per_channel = x.decay is not None and x.decay.shape[-1] > 1
  narrow = jnp.result_type(x.q, x.k, x.v)
  dtype = narrow if call.dtype == jnp.float32 else call.dtype
  op = "outer_per_channel" if per_channel else "outer"
  return op, dtype, call.shape("time heads dk dv")


def _run(call, x, state, reset, *, inclusive, **options):
  """Runs [N, T, G, K], ..., [N, H, K, V]; reads before or after an element."""
  if inclusive:
    return _inclusive(call, x, state, reset, **options)
  # The outputs, shifted back, have then read the state before their element.
  # Unlike a product with inverse decays, this divides by no decay.
  first = jnp.repeat(
    x.q[:, :1].astype(state.dtype), x.v.shape[2] // x.q.shape[2], axis=2
  )
  q, before = x.q, state
  if reset is not None:
    # Here too, for the gradients: an undefined state must not enter.
    q = _resets.forget(reset[..., None], q)
    before = _resets.select(reset[:, 0], jnp.zeros_like(state), state)
  first = jnp.einsum("...thk,...hkv->...thv", first, before)
  q = jnp.concatenate([q[:, 1:], jnp.zeros_like(q[:, :1])], axis=1)
  o, state = _inclusive(call, x._replace(q=q), state, reset, **options)
  o = jnp.concatenate([first.astype(o.dtype), o[:, :-1]], axis=1)
  return o if reset is None else _resets.forget(reset[..., None], o), state


def _inclusive(call, x, state, reset, *, method, chunk_size):
  """Result of `_run` that reads after an element, by a method."""
  if method == "pallas":
    op, dtype, _ = _chosen(call, x)
    form = support.form(op, dtype)
    kernel = registry.find(op, form.chip)
    options = {"chunk_size": chunk_size, "plain": outer_scan_heads}
    o, final = kernel(form, *x, state, reset, **options)
    return o.astype(call.out), final
  rows, time, groups, dk = x.q.shape
  heads, dv = x.v.shape[2:]
  operands = state.dtype
  if method == "chunked":
    narrow = jnp.result_type(x.q, x.k, x.v)
    operands = _contractions.operand_dtype(narrow, state.dtype)

  def grouped(leaf):
    shared = leaf.shape[2] // groups
    return leaf.reshape(rows, time, groups, shared, leaf.shape[-1])

  options = method, operands, call.out, call.guarded
  final, o = _chunks.over_chunks(
    functools.partial(_chunk, *options),
    chunk_size,
    state.reshape(rows * groups, heads // groups, dk, dv),
    jax.tree.map(grouped, x),
    reset,
  )
  return o.reshape(x.v.shape), final.reshape(state.shape)


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
  decay = None if x.decay is None else heads_first(x.decay, state.dtype)
  x = _outer_forms.Inputs(q, k, v, decay)
  o, state = _outer_chunk.run(method, x, state, reset, guarded)
  o = jnp.moveaxis(o.reshape(-1, groups, *o.shape[1:]), 3, 1)
  return state, o.astype(out)


def _check_groups(x, sizes):
  """Checks that heads share queries and keys in groups of one size."""
  if sizes["heads"] % sizes["groups"]:
    expected = f"as many heads as a multiple of the groups of q, {x.q.shape}"
    raise validate.error("v", f"shape {x.v.shape}", expected)


_OUTER = _recurrences.Recurrence(
  arguments="v: *batch time heads dv; k: *batch time groups dk;"
  " q: *batch time groups dk; decay?: *batch time heads dk|1;"
  " init?: *batch heads dk dv",
  outputs="q k v",
  run=_run,
  check=_check_groups,
  methods=linear.KERNEL_METHODS,
  chosen=_chosen,
  element=_outer_chunk.step,
  part=_outer_sharded.part,
  products=("chunked", "pallas"),
)
