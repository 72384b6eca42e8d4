"""The recurrences with time split over the devices of a mesh axis.

For use inside `jax.shard_map`. Each function is that of the same name in
`jaxseq.recurrence` with two more options:

  axis: name of the mesh axis over which time is split into equal, contiguous
    chunks, the first on the first device; arrays are this device's chunks.
    `init` is the state before the first element of the whole sequence, the same
    on all devices, and the state returned that after the last element of the
    whole sequence, the same on all devices. None stands for time that is not
    split: the plain function.
  exchange: "gather", one `all_gather` of a packed summary per chunk,
    "ppermute", ceil(log2(devices)) + 1 messages with one summary each, or
    "auto", which is the first unless very much would be gathered; see
    `sharded_exchange.entering`.

Gathered summaries tell every device the state after the whole sequence too.
After messages, the last device hands it out in a sum over devices, which is
dropped with it. So it is for arguments that do not depend on time, such as
`A`, that the devices compute from what differs between them, and under
`check_vma=False`: `sharded_exchange.final`.

A summary has the size of a state and does not grow with time. It is computed
first, from sums over the chunk without outputs; then the plain function runs
with the state that enters, in one pass, after the exchange: nothing overlaps
with it. Only `outer_scan`, `outer_scan_heads` and `siso_scan`, whose outputs
are cheap to correct afterwards, run from zeros beside the exchange and add what
the entering state contributes: the chunk's own work then does not wait for
other devices, as in LASP-2 (Sun et al., arXiv:2502.07563, section 3). Whether
the two do go on at the same time is up to the compiler. That of a TPU v5e makes
all-reduces of small gathers and schedules these alone, so that there is no
overlap; `ppermute`s it starts early and ends late, with other work between
(docs/compile.md).

What that adds to the work of a device, in parts of the plain function's time on
a busy CPU core with 2048 elements, forward: a summary takes 0.5 (`lti_scan`,
`softmax_outer_scan`), 0.9 (`selective_scan`), 1.1 (`linear_scan`) and 0.3
(`outer_scan`), a correction 0.5 (`outer_scan`) and 0.7 (`siso_scan`). On an
axis of one device nothing is added.
"""

import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence import linear
from jaxseq.recurrence import lti
from jaxseq.recurrence import outer
from jaxseq.recurrence import outer_decays
from jaxseq.recurrence import selective
from jaxseq.recurrence import sharded_exchange
from jaxseq.recurrence import sharded_softmax
from jaxseq.recurrence import sharded_summaries
from jaxseq.recurrence import siso

Decayed = sharded_summaries.Decayed

softmax_decay = sharded_softmax.softmax_decay
softmax_outer_scan = sharded_softmax.softmax_outer_scan
softmax_scan = sharded_softmax.softmax_scan


def linear_scan(
  a: jax.Array,
  b: jax.Array,
  init: jax.Array | None = None,
  *,
  axis: str | None,
  exchange: str = "auto",
  reset: jax.Array | None = None,
  reverse: bool = False,
  method: str = "auto",
) -> tuple[jax.Array, jax.Array]:
  """`recurrence.linear_scan`; a summary is the product of decays, and a state.

  With `reverse`, time runs from the last device to the first, `init` is the
  state after the end of the sequence, and the state returned that after its
  first element.
  """
  run = functools.partial(linear.linear_scan, reverse=reverse, method=method)
  if axis is None:
    return run(a, b, init, reset=reset)
  dtype = linear.accumulator_dtype(a, b, init)
  begin = init
  a, b, reset, init = sharded_exchange.vary(axis, a, b, reset, init)
  summary = sharded_summaries.linear(
    a.astype(dtype), b.astype(dtype), reset, reverse=reverse
  )
  combine = sharded_summaries.combine_linear
  where = {"axis": axis, "reverse": reverse}
  state, chunks = _entering(summary, init, combine, exchange=exchange, **where)
  h, last = run(a, b, state, reset=reset)
  return h, _final(chunks, begin, combine, last, **where)


def lti_scan(
  Lambda_bar: jax.Array,
  B_bar: jax.Array,
  C: jax.Array,
  u: jax.Array,
  init: jax.Array | None = None,
  *,
  axis: str | None,
  exchange: str = "auto",
  D: jax.Array | None = None,
  reset: jax.Array | None = None,
  reverse: bool = False,
  chunk_size: int | None = None,
  method: str = "auto",
) -> tuple[jax.Array, jax.Array]:
  """`recurrence.lti_scan`; a summary is a state, and with resets one flag.

  With `reverse` as in `linear_scan`.
  """
  run = functools.partial(
    lti.lti_scan, reverse=reverse, chunk_size=chunk_size, method=method
  )
  if axis is None:
    return run(Lambda_bar, B_bar, C, u, init, D=D, reset=reset)
  begin, power = init, lax.integer_pow(Lambda_bar, u.shape[-2])
  Lambda_bar, B_bar, C, u, init, D, reset = sharded_exchange.vary(
    axis, Lambda_bar, B_bar, C, u, init, D, reset
  )
  # The states alone: one output row of zeros.
  nothing = jnp.zeros_like(C[:1])
  _, state = run(Lambda_bar, B_bar, nothing, u, init=None, reset=reset)
  through = None if reset is None else ~jnp.any(reset, axis=-1)

  def combine(power, left, right, hops):
    carried = lax.integer_pow(power, hops) * left.state
    carried = sharded_summaries.entered(right.through, carried)
    through = sharded_summaries.all_through(left, right)
    return Decayed(through, None, carried + right.state)

  where = {"axis": axis, "reverse": reverse}
  state, chunks = _entering(
    Decayed(through, None, state),
    init,
    functools.partial(combine, lax.integer_pow(Lambda_bar, u.shape[-2])),
    exchange=exchange,
    **where,
  )
  y, last = run(Lambda_bar, B_bar, C, u, state, D=D, reset=reset)
  combine = functools.partial(combine, power)
  return y, _final(chunks, begin, combine, last, **where)


def siso_scan(
  A: jax.Array,
  B: jax.Array,
  C: jax.Array,
  u: jax.Array,
  init: jax.Array | None = None,
  *,
  axis: str | None,
  exchange: str = "auto",
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
) -> tuple[jax.Array, jax.Array]:
  """`recurrence.siso_scan`; a summary is a state, and with resets one flag.

  The convolutions inside the chunk run beside the exchange; the response to
  the entering state is added at the end.
  """
  run = functools.partial(siso.siso_scan, reset=reset, chunk_size=chunk_size)
  if axis is None:
    return run(A, B, C, u, init)
  begin, power = init, siso.siso_power(A, u.shape[-2])
  A, B, C, u, init, reset = sharded_exchange.vary(axis, A, B, C, u, init, reset)
  wide = u.astype(jnp.promote_types(u.dtype, jnp.float32))
  y, state = siso.siso_scan(A, B, C, wide, reset=reset, chunk_size=chunk_size)
  if init is not None:
    state = state.astype(jnp.result_type(state, init))
  through = None if reset is None else ~jnp.any(reset, axis=-1)

  def advance(power, chunk, state, hops):
    carried = siso.siso_advance(siso.siso_power(power, hops), state)
    carried = carried.astype(chunk.state.dtype)
    return sharded_summaries.entered(chunk.through, carried) + chunk.state

  def combine(power, left, right, hops):
    through = sharded_summaries.all_through(left, right)
    return Decayed(through, None, advance(power, right, left.state, hops))

  summary = Decayed(through, None, state)
  own_power = siso.siso_power(A, u.shape[-2])
  state, chunks = _entering(
    summary,
    init,
    functools.partial(combine, own_power),
    axis=axis,
    exchange=exchange,
  )
  seen = siso.siso_response(A, C, state, u.shape[-2])
  y = y + sharded_summaries.entered(_before_resets(reset), seen)
  last = advance(own_power, summary, state, 1)
  combine = functools.partial(combine, power)
  return y.astype(u.dtype), _final(chunks, begin, combine, last, axis=axis)


def selective_scan(
  x: jax.Array,
  delta: jax.Array,
  A: jax.Array,
  B: jax.Array,
  C: jax.Array,
  init: jax.Array | None = None,
  *,
  axis: str | None,
  exchange: str = "auto",
  D: jax.Array | None = None,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
) -> tuple[jax.Array, jax.Array]:
  """`recurrence.selective_scan`; a summary is a state and the sums of delta."""
  run = functools.partial(
    selective.selective_scan, chunk_size=chunk_size, method=method
  )
  if axis is None:
    return run(x, delta, A, B, C, init, D=D, reset=reset)
  begin, rates = init, A
  x, delta, A, B, C, init, D, reset = sharded_exchange.vary(
    axis, x, delta, A, B, C, init, D, reset
  )
  given = (A, B, C) + (() if init is None else (init,))
  dtype = jnp.result_type(*given, x, delta, jnp.float32)
  # The states alone: read off by zeros. Sums in closed form, with an
  # exponential for each element and state, took four times as long on a CPU.
  nothing = jnp.zeros_like(A, shape=(1,) * (x.ndim - 1) + A.shape)
  _, state = run(x, delta, A, B, nothing, reset=reset)
  steps = delta.astype(jnp.finfo(dtype).dtype)

  def combine(A):
    return functools.partial(
      sharded_summaries.combine_selective, A.astype(dtype)
    )

  state, chunks = _entering(
    sharded_summaries.selective(state.astype(dtype), steps, reset),
    init,
    combine(A),
    axis=axis,
    exchange=exchange,
  )
  y, last = run(x, delta, A, B, C, state, D=D, reset=reset)
  return y, _final(chunks, begin, combine(rates), last, axis=axis)


def outer_scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None = None,
  init: jax.Array | None = None,
  *,
  axis: str | None,
  exchange: str = "auto",
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
) -> tuple[jax.Array, jax.Array]:
  """`recurrence.outer_scan`; as `outer_scan_heads` with a single head."""
  options = {"reset": reset, "chunk_size": chunk_size, "method": method}
  if axis is None:
    return outer.outer_scan(q, k, v, decay, init, **options)
  q, k, v, decay = (
    None if z is None else jnp.expand_dims(z, -2) for z in (q, k, v, decay)
  )
  o, final = outer_scan_heads(
    q,
    k,
    v,
    decay,
    None if init is None else jnp.expand_dims(init, -3),
    axis=axis,
    exchange=exchange,
    **options,
  )
  return o[..., 0, :], final[..., 0, :, :]


def outer_scan_heads(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None = None,
  init: jax.Array | None = None,
  *,
  axis: str | None,
  exchange: str = "auto",
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
) -> tuple[jax.Array, jax.Array]:
  """`recurrence.outer_scan_heads`, by LASP-2.

  A summary is a state and the sums of the log-decays, and with resets one flag.
  It is one product of keys and values; the scan of the chunk from zeros runs
  beside the exchange, and the entering state is read with the decayed queries
  at the end. In the gradient its cotangent, one more product, is sent while the
  scan runs backwards.
  """
  run = functools.partial(
    outer.outer_scan_heads, chunk_size=chunk_size, method=method
  )
  if axis is None:
    return run(q, k, v, decay, init, reset=reset)
  begin = init
  q, k, v, decay, init, reset = sharded_exchange.vary(
    axis, q, k, v, decay, init, reset
  )
  given = [z for z in (q, k, v, decay, init) if z is not None]
  out, dtype = jnp.result_type(q, k, v), jnp.result_type(*given, jnp.float32)
  q, k, v = (z.astype(dtype) for z in (q, k, v))
  decay = None if decay is None else decay.astype(dtype)
  o, _ = run(q, k, v, decay, reset=reset)
  heads = v.shape[-2]
  summary = sharded_summaries.outer(k, v, decay, reset, heads)
  combine = sharded_summaries.combine_outer
  state, chunks = _entering(
    summary, init, combine, axis=axis, exchange=exchange
  )
  before = _before_resets(reset)
  q = jnp.repeat(q, heads // q.shape[-2], axis=-2)
  if decay is not None:
    decay = sharded_summaries.keep(before, outer_decays.clamp(decay))
    q = q * jnp.exp(lax.cumsum(decay, decay.ndim - 3))
  seen = jnp.einsum("...thk,...hkv->...thv", q, state)
  o = o + sharded_summaries.entered(before, seen)
  last = sharded_summaries.advance_outer(summary, state)
  return o.astype(out), _final(chunks, begin, combine, last, axis=axis)


def _entering(summary: Decayed, init: Any, combine, **options):
  """The state that enters this device's chunk; and all chunks, if gathered.

  Args:
    summary: of the chunk.
    init: state before the whole sequence, or None.
    combine: the operator.
    **options: of `sharded_exchange.entering`.

  Returns:
    The state, and what `_final` wants.
  """
  zeros = jax.tree.map(jnp.zeros_like, summary)
  entering, chunks = sharded_exchange.entering(
    summary, _begun(zeros, init), zeros, combine, **options
  )
  return entering.state, chunks


def _final(chunks, init, combine, last, **options):
  """The state after the whole sequence; init and operator not varied."""
  begin = zeros = None
  if chunks is not None:
    zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), chunks)
    begin = _begun(zeros, init)
  return sharded_exchange.final(chunks, begin, zeros, combine, last, **options)


def _begun(zeros, init):
  if init is None:
    return zeros
  return zeros._replace(state=init.astype(zeros.state.dtype))


def _before_resets(reset):
  """(*batch, time) bool: the state before the chunk is seen; None for all."""
  return None if reset is None else jnp.cumsum(reset, axis=-1) == 0
