"""Time-invariant systems with time split over devices; see `shared`."""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _collectives
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _summaries

# Inputs whose contributions to the state are computed at once.
_SECTION = 2**13


def part(run, x, init, reset, *, reverse: bool) -> _summaries.Part:
  """A device's part; a summary is a state, and with resets one flag."""
  through = None if reset is None else ~jnp.any(reset, axis=-1)
  state = _state(run, reverse, x._replace(C=x.C[:1], D=None), reset)
  if init is not None:
    state = state.astype(jnp.result_type(state, init))

  def combine(x):
    power = lax.integer_pow(x.Lambda_bar, x.u.shape[-2])
    return functools.partial(_combine, power)

  summary = _summaries.Decayed(through, None, state)
  return _summaries.Part(
    summary, lambda state: run(x, state, reset), combine(x), combine
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _state(run, reverse, x, reset):
  """State after the chunk from zeros."""
  # By the scan, without outputs: one row of zeros. As a sum of products it
  # takes as long, and its gradient half as long, with no loop over elements.
  del reverse
  return run(x._replace(C=jnp.zeros_like(x.C)), None, reset)[1]


def _state_forward(run, reverse, x, reset):
  del run
  _, kept = _summaries.through_and_kept(reset, reverse=reverse)
  dtype = jnp.result_type(*jax.tree.leaves(x), jnp.float32)

  def state(x):
    a, B = x.Lambda_bar.astype(dtype), x.B_bar.astype(dtype)
    return _sum_of_products(a, B, x.u, kept, reverse)

  return jax.vjp(state, x)


def _state_backward(run, reverse, pull, cotangent):
  del run, reverse
  return *pull(cotangent), None


_state.defvjp(_state_forward, _state_backward)


def _sum_of_products(a, B, u, kept, reverse) -> jax.Array:
  """State (*batch, P) after inputs, of which those kept alone count."""
  *batch, time, H = u.shape
  rows, P = math.prod(batch), len(a)
  real = jnp.finfo(a.dtype).dtype
  operands = _contractions.operand_dtype(u.dtype, real)
  size = min(time, max(1, _SECTION // max(rows, 1)))
  # Elements of a piece: one product of matrices maps it to its state. Weights
  # of 16 bits are those of the plain scan, without powers of decays.
  most = 1 if _contractions.is_narrow(operands) else 8
  piece = max(1, min(most, size, rows * size // (4 * P)))
  if reverse:
    u, kept = jnp.flip(u, -2), None if kept is None else jnp.flip(kept, -1)
  weight = _powers(a, piece)[::-1, None] * B.T
  weight = _halves(weight).reshape(piece * H, -1)
  jumps = _powers(lax.integer_pow(a, piece), -(-size // piece))[::-1]
  function = functools.partial(_advance, piece, operands)
  state, _ = _chunks.over_chunks(
    function,
    size,
    jnp.zeros_like(u, a.dtype, shape=(rows, P)),
    u.reshape(rows, time, H),
    None if kept is None else kept.reshape(rows, time),
    (a, weight, jumps),
  )
  return state.reshape(*batch, P)


def _advance(piece, operands, state, u, kept, weights):
  """State after a section of time, in the form of `_chunks.over_chunks`."""
  a, weight, jumps = weights
  rows, time, H = u.shape
  count = -(-time // piece)

  def total(u, weight, jumps):
    u = _summaries.keep(kept, u)
    u = jnp.pad(u, ((0, 0), (count * piece - time, 0), (0, 0)))
    u = u.reshape(rows * count, piece * H)
    own = _contractions.einsum("xh,hs->xs", u, weight, operands)
    own = own.reshape(rows, count, -1)
    re, im = _parts(jumps[-count:])
    if im is None:
      return jnp.sum(re * own, 1)
    left, right = jnp.split(own, 2, axis=-1)
    parts = re * left - im * right, re * right + im * left
    return lax.complex(*(jnp.sum(part, 1) for part in parts))

  arguments = u, weight, jumps
  if kept is None or not _collectives.may_branch():
    new = total(*arguments)
  else:
    nothing = jnp.zeros_like(state)
    # Nothing before the last resets of all rows.
    new = lax.cond(jnp.any(kept), total, lambda *_: nothing, *arguments)
  return lax.integer_pow(a, time) * state + new, ()


def _powers(a, count):
  """Powers [count, P] of a, from 0 on."""
  powers = jnp.ones_like(a)[None]
  while len(powers) < count:
    more = powers * lax.integer_pow(a, len(powers))
    powers = jnp.concatenate([powers, more])
  return powers[:count]


def _parts(x):
  """Real and imaginary part, or None."""
  if jnp.iscomplexobj(x):
    return jnp.real(x), jnp.imag(x)
  return x, None


def _halves(x):
  """Real parts before imaginary parts along the last axis."""
  parts = [part for part in _parts(x) if part is not None]
  return jnp.concatenate(parts, axis=-1)


def _combine(power, left, right, hops):
  """Composes neighboring chunks; one has that power of the decay."""
  carried = lax.integer_pow(power, hops) * left.state
  carried = _summaries.entered(right.through, carried)
  through = _summaries.all_through(left, right)
  return _summaries.Decayed(through, None, carried + right.state)
