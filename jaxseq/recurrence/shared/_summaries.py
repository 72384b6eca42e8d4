"""Summaries: the effect of a chunk of time on a state that enters it.

The state after the chunk from zeros, and the part of the entering state that
remains. Elements before the last reset are removed first, undefined ones too.
"""

from collections.abc import Callable
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


def through_and_kept(reset: jax.Array | None) -> tuple:
  """`Decayed.through` of resets (*batch, time); flags since the last reset."""
  if reset is None:
    return None, None
  later = lax.cumsum(reset.astype(jnp.int32), reset.ndim - 1, reverse=True)
  return ~jnp.any(reset, axis=-1), (later == 0) | ((later == 1) & reset)


def keep(flags: jax.Array | None, x: jax.Array, fill=0) -> jax.Array:
  """`x` (*batch, time, ...), and `fill` in the elements that are not kept."""
  if flags is None:
    return x
  return _resets.select(flags, x, jnp.full_like(x, fill))


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


def scan(
  run: Callable[[PyTree], tuple[PyTree, PyTree]],
  summary: NamedTuple,
  inits: tuple[PyTree, PyTree],
  combine: _prefix.Combine,
  unvaried: _prefix.Combine | None = None,
  *,
  axis: str,
  reverse: bool = False,
  begun: Callable[[Any, PyTree], Any] = brought,
  neutral: Callable[[Any], Any] = lambda zeros: zeros,
) -> tuple[PyTree, PyTree]:
  """Outputs of a chunk, and the state after the whole sequence."""
  # `run` maps the state that enters the chunk to outputs and the state after
  # it. `inits` are the state before the whole sequence, once varied over
  # devices and once not; likewise the operators. From zeros `begun` computes
  # the summary that contains it, and `neutral` one that changes nothing on the
  # left.
  where = {"axis": axis, "reverse": reverse}
  zeros = jax.tree.map(jnp.zeros_like, summary)
  begin = begun(zeros, inits[0])
  entering, chunks = _prefix.entering(
    summary, begin, neutral(zeros), combine, **where
  )
  y, last = run(entering.state)
  begin = nothing = None
  if chunks is not None:
    zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), chunks)
    begin, nothing = begun(zeros, inits[1]), neutral(zeros)
  operator = unvaried or combine
  return y, _prefix.final(chunks, begin, nothing, operator, last, **where)


def before_resets(reset):
  """(*batch, time) bool: no reset so far in the chunk; None without resets."""
  return None if reset is None else jnp.cumsum(reset, axis=-1) == 0
