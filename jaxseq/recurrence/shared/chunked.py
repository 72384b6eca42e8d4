"""User-defined recurrences, chunk by chunk: checks, memory, and the guard."""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _cotangents
from jaxseq.recurrence.shared import _recurrences
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _varying
from jaxseq.types import PyTree

Chunk = Callable[..., tuple[PyTree, PyTree]]


def chunked(
  chunk: Chunk,
  init: PyTree,
  x: PyTree,
  reset: jax.Array | None = None,
  *,
  size: int = 64,
  weights: PyTree = None,
) -> tuple[PyTree, PyTree]:
  """Runs a recurrence whose chunks of time are computed by a function.

  The gradient keeps the states between chunks, and recomputes the rest of a
  chunk. Undefined numbers of one episode reach no other: inside of `guarded`,
  NaN and infinities are zeros for `chunk`, and everything after them in their
  episode is NaN.

      def chunk(state, x, reset):  # Plain steps; matrix products are faster.
        y, state = recurrence.fold(step, state, x, reset=reset)
        return state, y

      y, final = recurrence.chunked(chunk, init, x, reset)

  Args:
    chunk: `chunk(state, x, reset) -> (state, y)` with one batch axis: from the
      state before the chunk, (rows, ...), to the one after it; x and y (rows,
      elements, ...), reset (rows, elements) or None, of at most `size`
      elements. It resets the state to a fresh one if a flag is true, before
      that element, and closes over no traced arrays.
    init: state before the first element, floating arrays (*batch, ...), with
      the dtypes of the states after it.
    x: floating arrays (*batch, time, ...).
    reset: (*batch, time) bool, or None.
    size: elements of a chunk.
    weights: floating arrays that all rows and chunks share, a fourth argument
      of `chunk`; or None.

  Returns:
    y, arrays (*batch, time, ...), and the state after the last element.

  Raises:
    ValueError: if shapes or dtypes do not fit together.
  """
  leaves, states = jax.tree.leaves(x), jax.tree.leaves(init)
  if not leaves:
    raise validate.error("x", x, "at least one array")
  if reset is not None:
    lead = jnp.shape(reset)
  else:
    rank = min(map(jnp.ndim, leaves))
    lead = jnp.shape(leaves[0])[: max(rank - 1, 1)]
  *batch, time = lead
  for name, arrays, axes in (("x", leaves, lead), ("init", states, lead[:-1])):
    for leaf in arrays:
      _checks.floating(**{name: leaf})
      if jnp.shape(leaf)[: len(axes)] != tuple(axes):
        expected = f"one that begins with {tuple(axes)}"
        if reset is not None:
          expected += (
            f", as reset {tuple(lead)} has every batch axis, heads too"
          )
        raise validate.error(name, f"shape {jnp.shape(leaf)}", expected)
  _checks.reset(reset, tuple(lead))
  size = min(validate.positive("size", size), time)
  guarded = reset is not None and contexts.is_guarded()
  if guarded:
    chunk = functools.partial(_guarded, chunk)

  def run(x, init, reset):
    def once(x, init):
      final, y = _chunks.over_chunks(chunk, size, init, x, reset, weights)
      return y, final

    return _cotangents.of_episodes(once, x, init, reset if guarded else None)

  init = _varying.vary_as_all(x, init)
  return _recurrences.over_rows(run, tuple(batch), x, init, reset)


def _guarded(chunk, state, x, reset, *weights):
  """Runs a chunk on its finite numbers; NaN after an undefined one."""

  def undefined(tree, axes):
    leaves = jax.tree.leaves(tree)
    flags = (~jnp.isfinite(leaf).all(range(axes, leaf.ndim)) for leaf in leaves)
    return functools.reduce(jnp.logical_or, flags)

  def finite(tree):
    return jax.tree.map(
      lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0).astype(leaf.dtype),
      tree,
    )

  bad = undefined(x, 2).astype(jnp.int32)
  # How many so far, including the state, and how many before the episode.
  count = jnp.cumsum(bad, axis=1) + undefined(state, 1)[:, None]
  earlier = lax.cummax(jnp.where(reset, count - bad, 0), axis=1)
  ruined = count > earlier
  state, y = chunk(finite(state), finite(x), reset, *weights)

  def mark(flags, tree):
    nothing = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), tree)
    return _resets.select(flags, nothing, tree)

  return mark(ruined[:, -1], state), mark(ruined, y)
