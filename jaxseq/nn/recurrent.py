"""The base of modules that run over sequences and over single elements."""

from collections.abc import Mapping
from typing import Any

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq.types import PyTree


class Recurrent(linen.Module):
  """Base of modules that carry states from element to element.

  A subclass has a `__call__` with the arguments x, states, reset, and by name
  `options` and `step`, and `_fresh`, which returns fresh states.
  """

  def step(
    self,
    x: jax.Array,
    states: PyTree,
    reset: jax.Array | None = None,
    options: dict[str, Any] | tuple[dict[str, Any], ...] | None = None,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over one element; `__call__` without the time axis and training.

    Args:
      x: (*batch, n), or a network's other inputs.
      states: states before the element; fresh ones if None.
      reset: (*batch,) bool, or None.
      options: keyword options of the mixers' `step`, as in `__call__`.

    Returns:
      The outputs of `__call__`, without the time axis, and the states after the
      element.
    """
    return self(x, states, reset, options=options, step=True)

  @linen.nowrap
  def initial_state(
    self,
    batch_shape: tuple[int, ...] = (),
    dtype: jax.typing.DTypeLike = jnp.float32,
    variables: Mapping[str, PyTree] | None = None,
  ) -> PyTree:
    """Returns the states of a fresh sequence; works on an unbound module.

    Args:
      batch_shape: leading axes.
      dtype: dtype of the states, at least float32.
      variables: variables of the module, needed if fresh states are learned or
        tuned (`adapt.initial_states`): the states then contain their values.

    Raises:
      ValueError: if a mixer's fresh state is learned and there are no
        variables; or if a tuned value fits no state.
    """
    return self._fresh(tuple(batch_shape), dtype, variables or {})

  @linen.nowrap
  def _fresh(self, batch_shape, dtype, variables):
    raise NotImplementedError
