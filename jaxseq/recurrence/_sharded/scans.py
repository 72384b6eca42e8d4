"""The linear recurrences with time split over devices; `_sharded` has the idea.

Each function runs the scan of its name, given as `run`, a function of this
device's chunk alone, with the state that enters the chunk.
"""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.recurrence import _contractions
from jaxseq.recurrence import _outer_decays
from jaxseq.recurrence import _siso_systems
from jaxseq.recurrence._sharded import prefix
from jaxseq.recurrence._sharded import summaries

Decayed = summaries.Decayed
Run = Callable[..., tuple[jax.Array, jax.Array]]


def linear_scan(
  run: Run, a, b, init, *, reset, reverse, dtype, axis: str, exchange: str
) -> tuple[jax.Array, jax.Array]:
  """`linear_scan`; a summary is the product of decays, and a state."""
  begin = init
  a, b, reset, init = prefix.vary(axis, a, b, reset, init)
  summary = summaries.linear(
    a.astype(dtype), b.astype(dtype), reset, reverse=reverse
  )
  combine = summaries.combine_linear
  where = {"axis": axis, "reverse": reverse}
  state, chunks = _entering(summary, init, combine, exchange=exchange, **where)
  h, last = run(a, b, state, reset=reset)
  return h, _final(chunks, begin, combine, last, **where)


def lti_scan(
  run: Run,
  Lambda_bar,
  B_bar,
  C,
  u,
  init,
  *,
  D,
  reset,
  reverse,
  axis: str,
  exchange: str,
) -> tuple[jax.Array, jax.Array]:
  """`lti_scan`; a summary is a state, and with resets one flag."""
  begin, power = init, lax.integer_pow(Lambda_bar, u.shape[-2])
  Lambda_bar, B_bar, C, u, init, D, reset = prefix.vary(
    axis, Lambda_bar, B_bar, C, u, init, D, reset
  )
  # The states alone: one output row of zeros.
  nothing = jnp.zeros_like(C[:1])
  _, state = run(Lambda_bar, B_bar, nothing, u, init=None, reset=reset)
  through = None if reset is None else ~jnp.any(reset, axis=-1)

  def combine(power, left, right, hops):
    carried = lax.integer_pow(power, hops) * left.state
    carried = summaries.entered(right.through, carried)
    through = summaries.all_through(left, right)
    return Decayed(through, None, carried + right.state)

  where = {"axis": axis, "reverse": reverse}
  own_power = lax.integer_pow(Lambda_bar, u.shape[-2])
  summary = Decayed(through, None, state)
  own = functools.partial(combine, own_power)
  state, chunks = _entering(summary, init, own, exchange=exchange, **where)
  y, last = run(Lambda_bar, B_bar, C, u, state, D=D, reset=reset)
  combine = functools.partial(combine, power)
  return y, _final(chunks, begin, combine, last, **where)


def siso_scan(
  run: Run, A, B, C, u, init, *, reset, axis: str, exchange: str
) -> tuple[jax.Array, jax.Array]:
  """`siso_scan`; a summary is a state, and with resets one flag.

  The convolutions inside the chunk run beside the exchange; the response to
  the entering state is added at the end.
  """
  begin, power = init, _siso_systems.power(A, u.shape[-2])
  A, B, C, u, init, reset = prefix.vary(axis, A, B, C, u, init, reset)
  wide = u.astype(jnp.promote_types(u.dtype, jnp.float32))
  y, state = run(A, B, C, wide, reset=reset)
  if init is not None:
    state = state.astype(jnp.result_type(state, init))
  through = None if reset is None else ~jnp.any(reset, axis=-1)

  def advance(power, chunk, state, hops):
    carried = _siso_systems.apply(_siso_systems.power(power, hops), state)
    carried = carried.astype(chunk.state.dtype)
    return summaries.entered(chunk.through, carried) + chunk.state

  def combine(power, left, right, hops):
    through = summaries.all_through(left, right)
    return Decayed(through, None, advance(power, right, left.state, hops))

  summary = Decayed(through, None, state)
  own_power = _siso_systems.power(A, u.shape[-2])
  own = functools.partial(combine, own_power)
  state, chunks = _entering(summary, init, own, axis=axis, exchange=exchange)
  seen = _siso_systems.response(A, C, state, u.shape[-2])
  y = y + summaries.entered(_before_resets(reset), seen)
  last = advance(own_power, summary, state, 1)
  combine = functools.partial(combine, power)
  return y.astype(u.dtype), _final(chunks, begin, combine, last, axis=axis)


def selective_scan(
  run: Run,
  x,
  delta,
  A,
  B,
  C,
  init,
  *,
  D,
  reset,
  by_kernel: bool,
  axis: str,
  exchange: str,
) -> tuple[jax.Array, jax.Array]:
  """`selective_scan`; a summary is a state and the sums of delta.

  Kernels take no C that is the same at all times.
  """
  begin, rates = init, A
  x, delta, A, B, C, init, D, reset = prefix.vary(
    axis, x, delta, A, B, C, init, D, reset
  )
  given = (A, B, C) + (() if init is None else (init,))
  dtype = jnp.result_type(*given, x, delta, jnp.float32)
  # The states alone: read off by zeros. Sums in closed form, with an
  # exponential for each element and state, took four times as long on a CPU.
  nothing = jnp.zeros_like(A, shape=(1,) * (x.ndim - 1) + A.shape)
  nothing = jnp.zeros_like(C) if by_kernel else nothing
  _, state = run(x, delta, A, B, nothing, reset=reset)
  steps = delta.astype(jnp.finfo(dtype).dtype)

  def combine(A):
    return functools.partial(summaries.combine_selective, A.astype(dtype))

  summary = summaries.selective(state.astype(dtype), steps, reset)
  where = {"axis": axis, "exchange": exchange}
  state, chunks = _entering(summary, init, combine(A), **where)
  y, last = run(x, delta, A, B, C, state, D=D, reset=reset)
  return y, _final(chunks, begin, combine(rates), last, axis=axis)


def outer_scan_heads(
  run: Run,
  q,
  k,
  v,
  decay,
  init,
  *,
  reset,
  inclusive: bool,
  axis: str,
  exchange: str,
) -> tuple[jax.Array, jax.Array]:
  """`outer_scan_heads`, by LASP-2.

  A summary is a state and the sums of the log-decays, and with resets one flag.
  The scan of the chunk from zeros runs beside the exchange, and the entering
  state is read with the decayed queries at the end. In the gradient its
  cotangent, one more product, is sent while the scan runs backwards.
  """
  begin = init
  q, k, v, decay, init, reset = prefix.vary(axis, q, k, v, decay, init, reset)
  given = [z for z in (q, k, v, decay, init) if z is not None]
  out, dtype = jnp.result_type(q, k, v), jnp.result_type(*given, jnp.float32)
  operands = _contractions.operand_dtype(out, dtype)
  q, k, v = (z.astype(operands) for z in (q, k, v))
  decay = None if decay is None else decay.astype(dtype)
  o, _ = run(q, k, v, decay, reset=reset)
  heads = v.shape[-2]
  summary = summaries.outer(k, v, decay, reset, heads)
  combine = summaries.combine_outer
  where = {"axis": axis, "exchange": exchange}
  state, chunks = _entering(summary, init, combine, **where)
  before = _before_resets(reset)
  q = jnp.repeat(q, heads // q.shape[-2], axis=-2)
  if decay is not None:
    decay = summaries.keep(before, _outer_decays.clamp(decay))
    if not inclusive:
      # What an element reads is without its own decay.
      earlier = decay[..., :-1, :, :]
      nothing = jnp.zeros_like(decay[..., :1, :, :])
      decay = jnp.concatenate([nothing, earlier], axis=-3)
    q = q * jnp.exp(lax.cumsum(decay, decay.ndim - 3))
  seen = _contractions.batched(
    "...thk,...hkv->...thv", q, state, operands
  ).astype(dtype)
  o = o + summaries.entered(before, seen)
  last = summaries.advance_outer(summary, state)
  return o.astype(out), _final(chunks, begin, combine, last, axis=axis)


def delta_scan(
  run: Run, x, init, *, reset, axis: str, exchange: str
) -> tuple[jax.Array, jax.Array]:
  """The delta rules, `x` being `Tied` or `General` inputs.

  A chunk is an affine map of states, S -> M S + N, with a dense M. The columns
  of a state do not know of each other: one scan from [0, 1] with values [v, 0]
  ends in [N, M], and its outputs are those from zeros and what the entering
  state is read with. It runs before the exchange, and nothing is done twice.
  """
  begin = init
  x, init, reset = prefix.vary(axis, x, init, reset)
  given = [leaf for leaf in (*x, init) if leaf is not None]
  out = jnp.result_type(x.q, x.k, x.v)
  dtype = jnp.result_type(*given, jnp.float32)
  operands = _contractions.operand_dtype(out, dtype)
  decay = None if x.decay is None else x.decay.astype(dtype)
  x = jax.tree.map(lambda leaf: leaf.astype(operands), x)._replace(decay=decay)
  dk, dv = x.k.shape[-1], x.v.shape[-1]
  nothing = jnp.zeros_like(x.v, shape=(*x.v.shape[:-1], dk))
  eye = jnp.eye(dv + dk, dtype=dtype)[dv:]
  shape = *x.v.shape[:-2], dk, dv + dk
  state = jnp.zeros_like(x.v, dtype, shape=shape) + eye
  x = x._replace(v=jnp.concatenate([x.v, nothing], axis=-1))
  o, state = run(x, state, reset)
  through = None if reset is None else ~jnp.any(reset, axis=-1)
  summary = Decayed(through, state[..., dv:], state[..., :dv])
  combine = summaries.combine_affine
  where = {"axis": axis, "exchange": exchange}
  state, chunks = _entering(summary, init, combine, **where)
  seen = _contractions.batched(
    "...tk,...kv->...tv", o[..., dv:], state, operands
  ).astype(dtype)
  o = o[..., :dv] + summaries.entered(_before_resets(reset), seen)
  last = summaries.advance_affine(summary, state)
  return o.astype(out), _final(chunks, begin, combine, last, axis=axis)


def mlstm_scan_heads(
  run: Callable[..., tuple[jax.Array, PyTree]],
  x,
  init,
  *,
  reset,
  axis: str,
  exchange: str,
) -> tuple[jax.Array, PyTree]:
  """`mlstm_scan_heads`; a summary is C, n, m, sums of logarithms, a flag."""
  begin = init
  x, init, reset = prefix.vary(axis, x, init, reset)
  dtype = jnp.result_type(*jax.tree.leaves((x, init)), jnp.float32)
  out = jnp.result_type(x.q, x.k, x.v)
  operands = _contractions.operand_dtype(out, dtype)
  k, v = (leaf.astype(operands) for leaf in (x.k, x.v))
  i, f = (leaf.astype(dtype) for leaf in (x.i, x.f))
  summary = summaries.mlstm(k, v, i, f, reset)
  by = {"combine": summaries.combine_mlstm, "neutral": summaries.no_mlstm}
  state, chunks = _entering(summary, init, axis=axis, exchange=exchange, **by)
  h, last = run(*x, state, reset=reset)
  return h, _final(chunks, begin, last=last, axis=axis, **by)


def _entering(summary: Decayed, init: PyTree, combine, neutral=None, **options):
  """The state that enters this device's chunk; and all chunks, if gathered.

  `neutral` makes of zeros what changes nothing on the left; else zeros do.
  """
  zeros = jax.tree.map(jnp.zeros_like, summary)
  nothing = zeros if neutral is None else neutral(zeros)
  entering, chunks = prefix.entering(
    summary, _begun(zeros, init), nothing, combine, **options
  )
  return entering.state, chunks


def _final(chunks, init, combine, last, neutral=None, **options):
  """The state after the whole sequence; init and operator not varied."""
  begin = nothing = None
  if chunks is not None:
    zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), chunks)
    begin = _begun(zeros, init)
    nothing = zeros if neutral is None else neutral(zeros)
  return prefix.final(chunks, begin, nothing, combine, last, **options)


def _begun(zeros, init):
  """The summary that brings the state before the whole sequence with it."""
  if init is None:
    return zeros
  state = jax.tree.map(lambda x, like: x.astype(like.dtype), init, zeros.state)
  return zeros._replace(state=state)


def _before_resets(reset):
  """(*batch, time) bool: the state before the chunk is seen; None for all."""
  return None if reset is None else jnp.cumsum(reset, axis=-1) == 0
