"""Summaries: the effect of a chunk of time on a state that enters it.

The state after the chunk from zeros, and the part of the entering state that
remains. Elements before the last reset are removed first, undefined ones too.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _resets
from jaxseq.types import PyTree


class Decayed(NamedTuple):
  """A chunk of a recurrence whose state decays."""

  # (*batch,) bool, no reset in the chunk: the entering state contributes to the
  # state after it; None without resets.
  through: jax.Array | None
  # Determines that part's decay; None if it is the same in all chunks.
  decay: jax.Array | None
  state: jax.Array  # after the chunk, from zeros


def entered(through: jax.Array | None, state: jax.Array) -> jax.Array:
  """`state`, or zeros if `through` is false."""
  if through is None:
    return state
  return _resets.select(through, state, jnp.zeros_like(state))


def coming_through(chunk: Decayed, state: PyTree) -> tuple[Any, PyTree]:
  """The decay of a state that enters a chunk, and the state; 0 if forgotten."""
  # Before they are multiplied: either may be undefined, and 0 times it is not 0
  # in the other's gradient.
  decay = chunk.decay
  if decay is not None:
    decay = entered(chunk.through, decay)
  return decay, entered(chunk.through, state)


def all_through(left: Decayed, right: Decayed) -> jax.Array | None:
  """Flag of a state that passes both chunks."""
  return None if left.through is None else left.through & right.through


def through_and_kept(
  reset: jax.Array | None, *, reverse: bool = False
) -> tuple:
  """`Decayed.through` of resets (*batch, time); flags since the last reset."""
  if reset is None:
    return None, None
  numbers, axis = reset.astype(jnp.int32), reset.ndim - 1
  later = lax.cumsum(numbers, axis, reverse=not reverse)
  return ~jnp.any(reset, axis=-1), (later == 0) | ((later == 1) & reset)


def keep(flags: jax.Array | None, x: jax.Array, fill=0) -> jax.Array:
  """`x` (*batch, time, ...), and `fill` in the elements that are not kept."""
  if flags is None:
    return x
  return _resets.select(flags, x, jnp.full_like(x, fill))


def later(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
  """Sums over an axis, and those of what comes after each entry."""
  sums = lax.cumsum(x, axis, reverse=True)
  total = lax.index_in_dim(sums, 0, axis, keepdims=False)
  cut = functools.partial(lax.slice_in_dim, sums, axis=axis)
  nothing = jnp.zeros_like(cut(0, 1))
  return total, jnp.concatenate([cut(1, None), nothing], axis)


def product(spec: str, k: jax.Array, v: jax.Array) -> jax.Array:
  """Products in the dtype of `v`, and their sums, at least float32."""
  state = _contractions.batched(spec, k, v, v.dtype)
  return state.astype(jnp.promote_types(state.dtype, jnp.float32))


def brought(zeros: Decayed, init: PyTree) -> Decayed:
  """Returns the summary that contains the state before the whole sequence."""
  if init is None:
    return zeros
  state = jax.tree.map(lambda x, like: x.astype(like.dtype), init, zeros.state)
  return zeros._replace(state=state)


class Part(NamedTuple):
  """A device's part of a recurrence over time that is split over devices.

  Attributes:
    summary: of the chunk, with a field `state`.
    run: `run(state) -> (y, state)` from the state that enters the chunk.
    combine: operator of summaries.
    given: `given(x)` is that operator, if it depends on arguments; these are
      then those that are the same on all devices.
    begun: `begun(zeros, init)` is the summary that contains the state before
      the whole sequence.
    neutral: `neutral(zeros)` is one that changes nothing on the left.
  """

  summary: NamedTuple
  run: Callable[[PyTree], tuple[PyTree, PyTree]]
  combine: _prefix.Combine
  given: Callable[[PyTree], _prefix.Combine] | None = None
  begun: Callable[[Any, PyTree], Any] = brought
  neutral: Callable[[Any], Any] = lambda zeros: zeros


def split(
  part: Callable[..., Part],
  x: PyTree,
  init: PyTree,
  reset: jax.Array | None,
  *,
  axis: str,
  reverse: bool = False,
) -> tuple[PyTree, PyTree]:
  """Outputs of a chunk, and the state after the whole sequence."""
  # `part(x, init, reset)` is made of arrays that vary over devices; `init` is
  # the state before the whole sequence, the same on all devices, like arrays of
  # `x` that do not depend on time: from those all compute the last state.
  along = {"axis": axis, "reverse": reverse}
  varied = _prefix.vary(axis, x, init, reset)
  of = part(*varied)
  zeros = jax.tree.map(jnp.zeros_like, of.summary)
  begin = of.begun(zeros, varied[1])
  entering, chunks = _prefix.entering(
    of.summary, begin, of.neutral(zeros), of.combine, **along
  )
  y, last = of.run(entering.state)
  begin = nothing = None
  if chunks is not None:
    zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), chunks)
    begin, nothing = of.begun(zeros, init), of.neutral(zeros)
  combine = of.combine if of.given is None else of.given(x)
  return y, _prefix.final(chunks, begin, nothing, combine, last, **along)


def before_resets(reset):
  """(*batch, time) bool: no reset so far in the chunk; None without resets."""
  return None if reset is None else jnp.cumsum(reset, axis=-1) == 0


def affine(
  run: Callable[..., tuple[PyTree, PyTree]],
  values: jax.Array,
  init: jax.Array | None,
  reset: jax.Array | None,
  *,
  rows: int,
) -> Part:
  """The part of a recurrence that is linear in a matrix state."""
  *lead, columns = values.shape
  arrays = [values] if init is None else [values, init]
  dtype = jnp.result_type(*arrays, jnp.float32)
  operands = _contractions.operand_dtype(values.dtype, dtype)
  nothing = jnp.zeros_like(values, shape=(*lead, rows))
  eye = jnp.eye(columns + rows, dtype=dtype)[columns:]
  shape = *lead[:-1], rows, columns + rows
  state = jnp.zeros_like(values, dtype, shape=shape) + eye
  o, state = run(jnp.concatenate([values, nothing], -1), state, reset)
  through = None if reset is None else ~jnp.any(reset, axis=-1)
  summary = Decayed(through, state[..., columns:], state[..., :columns])

  # Outputs that do not read the entering state stay out of its gradient.
  before = before_resets(reset)
  reads = keep(before, o[..., columns:])

  def completed(state):
    seen = _contractions.batched(
      "...tk,...kv->...tv", reads, state, operands
    ).astype(dtype)
    seen = entered(before, seen)
    return o[..., :columns] + seen, _advance_affine(summary, state)

  return Part(summary, completed, _combine_affine)


def _combine_affine(left: Decayed, right: Decayed, hops: int) -> Decayed:
  """Composes a dense map `decay` and a state."""
  del hops
  through = all_through(left, right)
  decay, before = coming_through(right, left.decay)
  decay = decay @ before
  return Decayed(through, decay, _advance_affine(right, left.state))


def _advance_affine(chunk: Decayed, state: jax.Array) -> jax.Array:
  """Returns the state after a chunk from the one before it."""
  decay, state = coming_through(chunk, state)
  return decay @ state + chunk.state
