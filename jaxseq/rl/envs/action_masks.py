"""Observations that tell which actions are allowed.

Such an observation is a dictionary {"observation": ..., "action_mask": ...},
whose mask says of each option of the next action whether it is allowed: (n,)
bool for one choice among n, and the masks of several choices one after the
other. The mask belongs to the observation wherever this goes, so that whoever
learns from it later sees the mask that the action was chosen under.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl.envs import spaces

OBSERVATION = "observation"
MASK = "action_mask"
_NAMES = {OBSERVATION, MASK}


def with_mask(observations: spaces.Space, size: int) -> spaces.Dict:
  """Returns the space of observations that come with a mask of `size`."""
  mask = spaces.Box(False, True, (size,), np.dtype(bool))
  return spaces.Dict({OBSERVATION: observations, MASK: mask})


def join(observation: PyTree, mask: jax.Array | None) -> PyTree:
  """Returns an observation with its mask; as it is where that is None."""
  if mask is None:
    return observation
  return {OBSERVATION: observation, MASK: mask}


def split(observation: PyTree) -> tuple[PyTree, jax.Array | None]:
  """Returns an observation without its mask, and the mask as booleans.

  The mask is None where there is none.
  """
  if not (isinstance(observation, Mapping) and set(observation) == _NAMES):
    return observation, None
  mask = observation[MASK]
  return observation[OBSERVATION], jnp.asarray(mask).astype(bool)


def shown(space: Any) -> spaces.Space:
  """Returns the space of what `split` leaves of an element of a space."""
  space = spaces.convert(space)
  return space.spaces[OBSERVATION] if is_masked(space) else space


def is_masked(space: Any) -> bool:
  """Returns whether the observations of a space come with a mask."""
  space = spaces.convert(space)
  return isinstance(space, spaces.Dict) and set(space.spaces) == _NAMES


def like(space: Any, observations: spaces.Space) -> spaces.Space:
  """Returns the space of other observations, with a mask if `space` has one."""
  space = spaces.convert(space)
  if not is_masked(space):
    return observations
  (size,) = space.spaces[MASK].shape
  return with_mask(observations, size)


def check(space: Any, actions: Any) -> None:
  """Checks that the mask of observations, if they have one, is of actions.

  Args:
    space: of observations.
    actions: the space of actions.

  Raises:
    ValueError: actions are numbers, or have another number of options.
  """
  if not is_masked(space):
    return
  actions = spaces.convert(actions)
  size = spaces.convert(space).spaces[MASK].shape
  if isinstance(actions, spaces.Box):
    expected = f"choices, as observations have an {MASK!r}"
    raise _validate.error("action space", actions, expected)
  expected = (spaces.flat_size(actions),)
  if tuple(size) != expected:
    wanted = f"{expected}, one for each option of {actions}"
    raise _validate.error(MASK, f"shape {tuple(size)}", wanted)


def choices(sizes: Sequence[int], numbers: jax.Array) -> list[jax.Array]:
  """Returns the numbers (..., size) of each of several choices."""
  return jnp.split(numbers, np.cumsum(sizes)[:-1].tolist(), axis=-1)


def choosable(actions: Any, mask: jax.Array) -> jax.Array:
  """Returns whether a mask (n,) leaves an option of each choice, () bool."""
  actions = spaces.convert(actions)
  sizes = getattr(actions, "sizes", (spaces.flat_size(actions),))
  return jnp.stack([part.any() for part in choices(sizes, mask)]).all()
