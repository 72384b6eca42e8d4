"""Parallel single-input, single-output linear systems, one per channel.

    x_t = A x_{t-1} + B u_t,   y_t = Re(C x_t)      (reset: x_{t-1} taken as 0)

Time is cut into chunks of L elements. Within a chunk this is the causal
convolution with K_l = C A^l B; from chunk to chunk the state is carried:

    y_t    = sum_{s <= t} K_{t-s} u_s + C A^{t+1} x      t = 0 .. L-1
    x next = A^L x + sum_s A^{L-1-s} B u_s

All of it is matrix products, batched over channels; only the states between
chunks are computed one after the other. With resets, only elements after the
last one in a chunk reach the next chunk, only elements before the first one
read the state, and the convolution does not cross them.

With bfloat16 inputs the products are of bfloat16 with float32 sums; matrices of
a chunk, and states, are rounded only for them.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.convolution import convolution
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _recurrences
from jaxseq.recurrence.shared import _summaries
from jaxseq.recurrence.systems import _siso_sharded
from jaxseq.recurrence.systems import _siso_systems


class _Chunk(NamedTuple):
  """Matrices of a chunk of L elements; S real numbers make up a state."""

  kernel: jax.Array  # [H, L], C A^l B
  read_in: jax.Array  # [H, S, L], A^l B
  read_out: jax.Array  # [H, S, L], C A^(l + 1)
  powers: list[_siso_systems.Transition]  # A^1, A^2, A^4, ..., A^L


def siso_scan(
  A: jax.Array,
  B: jax.Array,
  C: jax.Array,
  u: jax.Array,
  init: jax.Array | None = None,
  *,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Runs x_t = A x_{t-1} + B u_t, y_t = Re(C x_t) in every channel.

  The layers of S4 and S4D (Gu et al., arXiv:2111.00396 and 2206.11893) with
  conjugate symmetry are this with 2 C. Memory beyond inputs and outputs is that
  of a state per chunk, in the gradient too.

  Args:
    A: (H, N) diagonals, real or complex; or (H, N, N) matrices, real.
    B: (H, N) input vectors.
    C: (H, N) output vectors.
    u: (*batch, time, H) real inputs.
    init: (*batch, H, N) state before the first element; zeros if None.
    reset: (*batch, time) bool; if true, the state is reset to zeros (not
      to `init`) before that element is consumed.
    chunk_size: elements per chunk, a power of two; by the size of the state if
      None.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.

  Returns:
    Outputs (*batch, time, H) in the dtype of u, and the state (*batch, H, N)
    after the last element; it is complex if any of A, B, C and init is.
    Computed in float32 or wider.

  Raises:
    ValueError: if shapes, dtypes or the chunk size do not fit the above.
  """
  x = _Inputs(A, B, C, u)
  run = functools.partial(_scan, chunk_size)
  if axis is None:
    return run(x, init, reset)
  power = _siso_systems.power(jnp.asarray(A), jnp.shape(u)[-2])
  part = functools.partial(_siso_sharded.part, run, power)
  y, last = _summaries.split(part, x, init, reset, axis=axis)
  return y.astype(u.dtype), last


def _scan(chunk_size, x, init, reset):
  """Runs on one device."""
  sizes = _checks.arguments(_ARGUMENTS, x._asdict() | {"init": init})
  _check(x, init, chunk_size)
  batch, time = sizes["*batch"], sizes["time"]
  _checks.reset(reset, (*batch, time))
  A, B, C, is_complex = _siso_systems.real_form(*x[:3], init, x.u)
  size = chunk_size or _siso_systems.chunk_size(time, B.shape[1])
  chunk = _chunk(A, B, C, size)
  if init is not None:
    init = _siso_systems.joined_parts(init, is_complex).astype(B.dtype)
  y, final = _recurrences.over_rows(
    functools.partial(_forward_in_chunks, chunk), batch, x.u, init, reset
  )
  if is_complex:
    final = lax.complex(*jnp.split(final, 2, axis=-1))
  return y, final


class _Inputs(NamedTuple):
  A: jax.Array
  B: jax.Array
  C: jax.Array
  u: jax.Array


def siso_kernel(
  A: jax.Array, B: jax.Array, C: jax.Array, length: int
) -> jax.Array:
  """The impulse responses Re(C A^l B), for l < length.

  K_{mj+i} is the product of C A^{mj} and A^i B, so that about 2 sqrt(length)
  vectors are computed for each channel.

  Args:
    A: (H, N) or (H, N, N), as in `siso_scan`.
    B: (H, N).
    C: (H, N).
    length: number of elements.

  Returns:
    (H, length), real.

  Raises:
    ValueError: if shapes or the length do not fit the above.
  """
  _check_system(A, B, C)
  validate.positive("length", length)
  A, B, C, _ = _siso_systems.real_form(A, B, C)
  inner = 1 << (length.bit_length() // 2)
  outer = -(-length // inner)
  powers = _siso_systems.all_powers(A, inner)
  ins = _siso_systems.orbit_of(powers, B, inner)
  last = _siso_systems.transpose(powers[-1])
  powers = _siso_systems.all_powers(last, outer)
  outs = _siso_systems.orbit_of(powers, C, outer)
  kernel = jnp.einsum("hsj,hsi->hji", outs, ins, precision="highest")
  return kernel.reshape(kernel.shape[0], -1)[:, :length]


def _check_system(A, B, C):
  shape = validate.shape("B", B, ("H", "N"))
  validate.shape("C", C, shape)
  if jnp.shape(A) not in (shape, shape + shape[1:]):
    raise validate.error(
      "A", f"shape {jnp.shape(A)}", f"{shape} or {shape + shape[1:]}"
    )
  if jnp.ndim(A) == 3 and any(jnp.iscomplexobj(x) for x in (A, B, C)):
    raise validate.error("A, B and C", "complex", "real if A has matrices")


_ARGUMENTS = (
  "A: any ...; B: any H N; C: any H N; u: *batch time H; init?: any *batch H N"
)


def _check(x, init, chunk_size):
  """Checks the system and the options."""
  _check_system(*x[:3])
  if init is not None and jnp.ndim(x.A) == 3 and jnp.iscomplexobj(init):
    raise validate.error("init", "complex", "real if A has matrices")
  if chunk_size is not None and not (
    isinstance(chunk_size, int)
    and chunk_size > 0
    and chunk_size.bit_count() == 1
  ):
    raise validate.error("chunk_size", chunk_size, "a power of two or None")


def _chunk(A, B, C, size):
  """Returns the matrices of a chunk of `size` elements, a power of two."""
  powers = _siso_systems.all_powers(A, size)
  read_in = _siso_systems.orbit_of(powers, B, size)
  transposed = [_siso_systems.transpose(power) for power in powers]
  read_out = _siso_systems.orbit_of(
    transposed, _siso_systems.times(transposed[0], C), size
  )
  kernel = jnp.einsum("hsl,hs->hl", read_in, C, precision="highest")
  return _Chunk(kernel, read_in, read_out, powers)


def _forward_in_chunks(chunk, u, init, reset):
  """Result of `_run`, section by section of time for narrow u."""
  rows, time, H = u.shape
  _, S, size = chunk.read_in.shape
  length = _siso_systems.section(rows * H, size)
  if not _contractions.is_narrow(u.dtype) or time <= length:
    return _run(chunk, u, init, reset)
  if init is None:
    init = jnp.zeros_like(u, chunk.kernel.dtype, shape=(rows, H, S))
  final, y = _chunks.over_chunks(_section, length, init, u, reset, chunk)
  return y, final


def _section(init, u, reset, chunk):
  """`_run` for `over_chunks`."""
  y, final = _run(chunk, u, init, reset)
  return final, y


def _run(chunk, u, init, reset):
  """Outputs [B, T, H] and state [B, H, S]."""
  # Arrays are [H, L, R] inside: channels, elements of a chunk, and chunks times
  # rows, which are adjacent in memory.
  H, S, size = chunk.read_in.shape
  rows, time, _ = u.shape
  operands = _contractions.operand_dtype(u.dtype, chunk.kernel.dtype)
  product = functools.partial(_contractions.einsum, operands=operands)
  count = -(-time // size)
  # The first chunk is the shorter one: zeros before it have no effect.
  pad = count * size - time

  def split(x):
    """Array [L, chunks, B, ...] of [B, T, ...]."""
    x = jnp.pad(x, ((0, 0), (pad, 0)) + ((0, 0),) * (x.ndim - 2))
    x = x.reshape((rows, count, size) + x.shape[2:])
    return jnp.moveaxis(x, 0, 2).swapaxes(0, 1)

  blocks = jnp.moveaxis(split(u.astype(operands)), -1, 0)
  blocks = blocks.reshape(H, size, count * rows)
  ids = alive = None
  if reset is not None:
    # Number of resets in the chunk, up to and including an element.
    ids = jnp.cumsum(split(reset).astype(jnp.int32), axis=0)
    alive = ids == 0
    ids = ids.reshape(size, count * rows)

  y = jax.checkpoint(convolution.chunk_convolution)(chunk.kernel, blocks, ids)
  reaching = blocks if ids is None else jnp.where(ids == ids[-1], blocks, 0)
  gains = product("hsl,hlr->hsr", chunk.read_in[:, :, ::-1], reaching)
  gains = jnp.moveaxis(gains.reshape(H, S, count, rows), 2, 0)

  start = None
  if init is not None:
    start = jnp.moveaxis(init, 0, 2)  # [H, S, B]
    if reset is not None:
      # A state that no element reads may be undefined.
      start = jnp.where(alive[pad, 0], start, 0)
    seen = product("hsl,hsr->hlr", chunk.read_out[..., : size - pad], start)
    start = _siso_systems.advance(chunk.powers, start, size - pad)
    if reset is not None:
      seen = jnp.where(alive[pad:, 0], seen, 0)
      start = jnp.where(alive[-1, 0], start, 0)
    first = jnp.pad(seen, ((0, 0), (pad, 0), (0, 0)))
  else:
    first = jnp.zeros((H, size, rows), y.dtype)
  entering, final = _between(chunk.powers[-1], gains, start, alive)
  if count > 1:
    # XLA's CPU backend can crash over empty products inside `jax.shard_map`.
    entering = jnp.moveaxis(entering, 0, 2).reshape(H, S, -1)
    seen = product("hsl,hsr->hlr", chunk.read_out, entering)
    if reset is not None:
      seen = jnp.where(alive[:, 1:].reshape(size, -1), seen, 0)
    first = jnp.concatenate([first, seen], axis=2)
  y = y + first

  y = y.reshape(H, size, count, rows).transpose(3, 2, 1, 0)
  y = y.reshape(rows, count * size, H)[:, pad:]
  return y.astype(u.dtype), jnp.moveaxis(final, 2, 0)


def _between(decay, gains, start, alive):
  """The states between chunks."""
  state = gains[0] if start is None else gains[0] + start
  if len(gains) == 1:
    # A loop without iterations, which jax rejects if it does not compile.
    return gains[1:], state

  def body(state, x):
    gain, first, last = x
    if first is not None:
      # A state that no element reads may be undefined.
      state = jnp.where(first, state, 0)
    after = _siso_systems.times(decay, state)
    if last is not None:
      after = jnp.where(last, after, 0)
    return after + gain, state

  flags = (None, None) if alive is None else (alive[0, 1:], alive[-1, 1:])
  final, entering = lax.scan(body, state, (gains[1:], *flags))
  return entering, final
