"""The mLSTM: a matrix state with exponential gates, and its normalizer.

    C_t = e^f_t C_{t-1} + e^i_t k_t v_t^T,   n_t = e^f_t n_{t-1} + e^i_t k_t
    h_t = C_t^T q_t / max(|n_t^T q_t|, 1)

Beck et al., "xLSTM", arXiv:2405.04517, section 2.3. Gates can be of any size: C
and n are stored relative to exp(m_t), m_t = max(f_t + m_{t-1}, i_t) being the
largest logarithm of a weight (its appendix A.3). Time is cut into chunks, and
only the states between them are stored; the backward pass runs chunk by chunk
and recomputes the rest.
"""

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.mlstm import _mlstm_chunk
from jaxseq.recurrence.mlstm import _mlstm_sharded
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _cotangents
from jaxseq.recurrence.shared import _recurrences

METHODS = ("auto", "sequential", "chunked", "pallas")
MLSTMState = _mlstm_chunk.MLSTMState

_EPS = 1e-6


def mlstm_scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  log_input: jax.Array,
  log_forget: jax.Array,
  init: MLSTMState | None = None,
  *,
  eps: float = _EPS,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
) -> tuple[jax.Array, MLSTMState]:
  """Runs the recurrence over time; heads are batch axes.

  Args:
    q: (*batch, time, dk) queries, floating.
    k: (*batch, time, dk) keys; the paper divides them by sqrt(dk), this
      function does not scale them.
    v: (*batch, time, dv) values.
    log_input: (*batch, time) i, logarithm of the input gate, of any size; -inf
      leaves the element out.
    log_forget: (*batch, time) f, logarithm of the forget gate, as
      `jax.nn.log_sigmoid` gives it; -inf forgets.
    init: state before the first element; the fresh state, all zeros, if None.
    eps: added to the divisor, relative to exp(m).
    reset: (*batch, time) bool; if true, the state is reset to zeros (not
      to `init`) before that element is consumed.
    chunk_size: elements per chunk; by platform and state size if None.
    method: how a chunk is computed: "sequential" (one element at a time),
      "chunked" (matrix products), "pallas" (the kernels of `outer_scan`, over
      all elements; on GPUs in bfloat16, for at most 128 keys) or "auto" (by
      platform). All agree to rounding.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.

  Returns:
    h (*batch, time, dv) in the common dtype of q, k and v, and the state after
    the last element, C (*batch, dk, dv), n (*batch, dk) and m (*batch,), at
    least float32 like all intermediate results.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: if there is no kernel for "pallas" here.
  """
  validate.number("eps", eps, 0)
  x = _mlstm_chunk.Inputs(q, k, v, log_input, log_forget)
  options = {
    "eps": eps,
    "chunk_size": chunk_size,
    "method": method,
    "axis": axis,
  }
  return _recurrences.one_head(_MLSTM, x, init, reset, **options)


def mlstm_scan_heads(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  log_input: jax.Array,
  log_forget: jax.Array,
  init: MLSTMState | None = None,
  *,
  eps: float = _EPS,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
) -> tuple[jax.Array, MLSTMState]:
  """`mlstm_scan` with heads as an axis after time.

  Heads are in the layout of projections.

  Args:
    q: (*batch, time, heads, dk) queries, floating.
    k: (*batch, time, heads, dk) keys.
    v: (*batch, time, heads, dv) values.
    log_input: (*batch, time, heads), as in `mlstm_scan`.
    log_forget: (*batch, time, heads), as in `mlstm_scan`.
    init: C (*batch, heads, dk, dv), n (*batch, heads, dk), m (*batch, heads);
      zeros if None.
    eps: as in `mlstm_scan`.
    reset: (*batch, time) bool or None.
    chunk_size: as in `mlstm_scan`.
    method: as in `mlstm_scan`.
    axis: as in `mlstm_scan`.

  Returns:
    h (*batch, time, heads, dv), and the state after the last element; dtypes as
    in `mlstm_scan`.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: if there is no kernel for "pallas" here.
  """
  validate.number("eps", eps, 0)
  x = _mlstm_chunk.Inputs(q, k, v, log_input, log_forget)
  options = {
    "eps": eps,
    "chunk_size": chunk_size,
    "method": method,
    "axis": axis,
  }
  return _recurrences.scan(_MLSTM, x, init, reset, **options)


def mlstm_step(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  log_input: jax.Array,
  log_forget: jax.Array,
  state: MLSTMState,
  *,
  eps: float = _EPS,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, MLSTMState]:
  """Consumes one element; `mlstm_scan` without the time axis.

  Args:
    q: (*batch, dk) query.
    k: (*batch, dk) key.
    v: (*batch, dv) value.
    log_input: (*batch,) logarithm of the input gate.
    log_forget: (*batch,) logarithm of the forget gate.
    state: state before the element.
    eps: as in `mlstm_scan`.
    reset: (*batch,) bool; if true, the state is reset to zeros first.

  Returns:
    h (*batch, dv) in the common dtype of q, k and v, and the state after the
    element, at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  validate.number("eps", eps, 0)
  x = _mlstm_chunk.Inputs(q, k, v, log_input, log_forget)
  one = _recurrences.of_one_head(_MLSTM)
  return _recurrences.step(one, x, state, reset, eps=eps)


def mlstm_initial(
  batch: tuple[int, ...], dk: int, dv: int, dtype=jnp.float32
) -> MLSTMState:
  """Returns the state of a fresh sequence: zeros.

  Args:
    batch: leading axes.
    dk: width of queries and keys.
    dv: width of values.
    dtype: dtype of the state.

  Returns:
    C (*batch, dk, dv), n (*batch, dk) and m (*batch,).
  """
  return MLSTMState(
    *(jnp.zeros((*batch, *shape), dtype) for shape in ((dk, dv), (dk,), ()))
  )


def _run(call, x, state, reset, *, eps, method, chunk_size=None):
  """Outputs (rows, time, heads, dv) and the last state."""
  rows, heads = state.m.shape
  state = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), state)
  packed = _mlstm_chunk.pack(state)
  if method == "pallas":
    h, packed = _by_kernel(call, eps, x, packed, reset)
  else:
    operands = _contractions.operand_dtype(call.out, call.dtype)
    options = method, operands, call.out, call.guarded, eps

    def heads_first(leaf):
      leaf = jnp.moveaxis(leaf, 2, 1)
      return leaf.reshape(-1, *leaf.shape[2:])

    def chunk(state, x, reset):
      if reset is not None:
        reset = jnp.repeat(reset, heads, axis=0)
      x = jax.tree.map(heads_first, x)
      state, h = _mlstm_chunk.chunk(*options, state, x, reset)
      h = h.reshape(-1, heads, *h.shape[1:])
      return state, jnp.moveaxis(h, 1, 2)

    packed, h = _chunks.over_chunks(chunk, chunk_size, packed, x, reset)
  final = _mlstm_chunk.unpack(packed)
  return h, jax.tree.map(lambda z: z.reshape(rows, heads, *z.shape[1:]), final)


def _by_kernel(call, eps, x, packed, reset):
  """Outputs and state by the kernels of `outer_scan`, without chunks."""
  out, dtype = jnp.result_type(x.q, x.k, x.v), call.dtype
  rows, time, heads, _ = x.v.shape
  gates = x.log_input, x.log_forget
  i, f = (jnp.moveaxis(gate, 2, 1).reshape(-1, time) for gate in gates)
  flags = None if reset is None else jnp.repeat(reset, heads, axis=0)
  of = _mlstm_chunk.weights(i, f, packed.m, flags)
  m, shift, log_weight, decay = (
    jnp.moveaxis(leaf.reshape(rows, heads, time), 1, 2) for leaf in of
  )
  before = jax.lax.stop_gradient(packed.m)
  Cn = _mlstm_chunk.rescaled(packed, before).Cn
  Cn = Cn.reshape(rows, heads, *Cn.shape[1:])
  form = support.form("mlstm", out if dtype == jnp.float32 else dtype)
  kernel = registry.find("mlstm", form.chip)
  q, v = x.q.astype(out), x.v.astype(out)
  C, n = Cn[..., :-1], Cn[..., -1]

  def scan(elements, state):
    o, total, *state = kernel(form, *elements, *state, reset)
    return (o, total), tuple(state)

  elements = q, x.k.astype(out), v, log_weight, decay
  episodes = reset if call.guarded else None
  (o, total), (C, n) = _cotangents.of_episodes(scan, elements, (C, n), episodes)
  Cn = jnp.concatenate([C, n[..., None]], axis=-1)
  h = _mlstm_chunk.read(o.astype(dtype), total, m, shift, eps)
  last = _mlstm_chunk.Packed(Cn.reshape(packed.Cn.shape), of.shift[:, -1])
  last = _mlstm_chunk.rescaled(last, of.m[:, -1])
  return h.astype(out), last


def _chosen(call, x):
  """Arguments of `choice.choose`."""
  del x
  return "mlstm", call.dtype, call.shape("time heads dk dv")


def _step(x, state, reset, *, eps):
  h, packed = _mlstm_chunk.step(x, _mlstm_chunk.pack(state), reset, eps)
  return h, _mlstm_chunk.unpack(packed)


_MLSTM = _recurrences.Recurrence(
  arguments="v: *batch time heads dv; k: *batch time heads dk;"
  " q: *batch time heads dk; log_input: *batch time heads;"
  " log_forget: *batch time heads;"
  " init?: C *batch heads dk dv, n *batch heads dk, m *batch heads",
  outputs="q k v",
  run=_run,
  methods=METHODS,
  chosen=_chosen,
  element=_step,
  state=MLSTMState,
  part=_mlstm_sharded.part,
)
