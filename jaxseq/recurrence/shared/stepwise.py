"""The recurrence of any step function, one step at a time."""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _resets
from jaxseq.types import PyTree


def _check_fold(init: PyTree, xs: PyTree, reset: jax.Array | None):
  """Checks the shapes of `fold`'s arguments; returns the batch shape."""
  leaves = jax.tree.leaves(xs)
  if not leaves:
    raise validate.error("xs", xs, "at least one array")
  for leaf in leaves:
    if jnp.ndim(leaf) < 2:
      raise validate.error(
        "xs", f"shape {jnp.shape(leaf)}", "arrays (*batch, time, features)"
      )
  leading = {jnp.shape(leaf)[:-1] for leaf in leaves}
  if len(leading) > 1:
    raise validate.error(
      "xs", sorted(leading), "arrays that share one (*batch, time)"
    )
  *batch, time = leading.pop()
  batch = tuple(batch)
  if time == 0:
    raise validate.error("xs", "0 time steps", "at least one")
  for leaf in jax.tree.leaves(init):
    if jnp.shape(leaf)[: len(batch)] != batch:
      raise validate.error(
        "init", f"shape {jnp.shape(leaf)}", f"the batch shape of xs, {batch}"
      )
  _checks.reset(reset, batch + (time,))
  return batch


def over_time(
  step: Callable[..., tuple[PyTree, PyTree]],
  state: PyTree,
  elements: PyTree,
  reset: jax.Array | None,
  *,
  axis: int,
  fresh: PyTree | None = None,
  reverse: bool = False,
  unroll: int = 1,
) -> tuple[PyTree, PyTree]:
  """Runs one step for each element along an axis.

  Args:
    step: `step(state, *element) -> (state, y)`.
    state: state before the first element.
    elements: tuple of arrays, or None, with that axis.
    reset: bool, (..., time) with time as that axis, or None.
    axis: which axis is time.
    fresh: state to which a reset sets the state, before its element is
      consumed; zeros if None.
    reverse: whether to run from the last element to the first.
    unroll: steps in one iteration of the compiled loop.

  Returns:
    The outputs, stacked along the axis, and the last state.
  """

  def body(state, element):
    flag, element = element
    if flag is not None:
      state = _resets.select(flag, fresh, state)
    return step(state, *element)

  state = jax.tree.map(jnp.asarray, state)
  if fresh is None:
    fresh = jax.tree.map(jnp.zeros_like, state)
  xs = jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), (reset, elements))
  state, y = lax.scan(body, state, xs, reverse=reverse, unroll=unroll)
  return jax.tree.map(lambda x: jnp.moveaxis(x, 0, axis), y), state


def fold(
  step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
  init: PyTree,
  xs: PyTree,
  *,
  reset: jax.Array | None = None,
  fresh: PyTree | None = None,
  unroll: int = 1,
) -> tuple[PyTree, PyTree]:
  """Folds a step function over the time axis.

  Args:
    step: `step(carry, x_t) -> (carry, y_t)`; the leaves of `x_t` are those of
      `xs` without the time axis. The carry keeps its structure, shapes and
      dtypes.
    init: carry before the first element, a pytree of (*batch, ...) arrays.
    xs: pytree of (*batch, time, features) arrays.
    reset: (*batch, time) bool; if True, the carry is reset to
      `fresh` before that element is consumed.
    fresh: carry of a fresh sequence, a pytree like `init` (its leaves may
      leave out the batch axes); zeros if None.
    unroll: number of steps in one iteration of the compiled loop.

  Returns:
    The outputs, a pytree of (*batch, time, ...) arrays, and the carry after
    the last element.

  Raises:
    ValueError: if the shapes of `xs`, `init` and `reset` do not fit together.
  """
  batch = _check_fold(init, xs, reset)
  leaves, structure = jax.tree.flatten(xs)

  def one(carry, *x_t):
    return step(carry, jax.tree.unflatten(structure, x_t))

  options = {"axis": len(batch), "fresh": fresh, "unroll": unroll}
  return over_time(one, init, tuple(leaves), reset, **options)
