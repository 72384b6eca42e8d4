"""Observations with masks of allowed actions.

Such an observation is a dictionary {"observation": ..., "action_mask": ...},
whose mask holds for each option of the next action whether it is allowed: (n,)
bool for one choice among n, and the concatenated masks of several choices.
Entries of other names are parts of the observation. The mask stays with
the observation everywhere, so that a learner later sees the mask under which
the action was chosen.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

OBSERVATION = "observation"
MASK = "action_mask"
# Words in the names of action masks in other libraries.
_MASK_WORDS = ("mask", "legal", "valid", "avail", "allowed")


def with_mask(observations: spaces.Space, size: int) -> spaces.Dict:
  """Returns the space of observations that come with a mask of `size`."""
  mask = spaces.Box(False, True, (size,), np.dtype(bool))
  return spaces.Dict({OBSERVATION: observations, MASK: mask})


def join(observation: PyTree, mask: jax.Array | None) -> PyTree:
  """Returns an observation with its mask; unchanged if the mask is None."""
  if mask is None:
    return observation
  return {OBSERVATION: observation, MASK: mask}


def split(observation: PyTree) -> tuple[PyTree, jax.Array | None]:
  """Returns an observation without its mask, and the mask as booleans.

  The observation is the entry "observation" if that is the only one beside the
  mask, and a dictionary of all entries but the mask otherwise. The mask is None
  if the observation has no entry "action_mask".
  """
  if not (isinstance(observation, Mapping) and MASK in observation):
    return observation, None
  return _rest(observation), jnp.asarray(observation[MASK]).astype(bool)


def _rest(parts):
  """Returns the observation among the entries of a mapping with a mask."""
  rest = {name: part for name, part in parts.items() if name != MASK}
  return rest[OBSERVATION] if set(rest) == {OBSERVATION} else rest


def shown(space: object) -> spaces.Space:
  """Returns the space of observations without their mask, as by `split`."""
  space = spaces.convert(space)
  if not is_masked(space):
    return space
  rest = _rest(space.spaces)
  return spaces.Dict(rest) if isinstance(rest, dict) else rest


def is_masked(space: object) -> bool:
  """Returns whether the observations of a space come with a mask."""
  space = spaces.convert(space)
  return isinstance(space, spaces.Dict) and MASK in space.spaces


def like(space: object, observations: spaces.Space) -> spaces.Space:
  """Returns a space of observations, with a mask if `space` has one."""
  space = spaces.convert(space)
  if not is_masked(space):
    return observations
  (size,) = space.spaces[MASK].shape
  return with_mask(observations, size)


def check(space: object, actions: Any) -> None:
  """Checks that the mask of observations, if there is one, fits the actions.

  Args:
    space: space of observations.
    actions: space of actions.

  Raises:
    ValueError: there is a mask, but actions are numbers; the mask is not an
      array of flags, or has another number of options; or a part of the
      observation looks like a mask, but has another place or name.
  """
  space, actions = spaces.convert(space), spaces.convert(actions)
  _check_parts(shown(space), actions, "observation")
  if not is_masked(space):
    return
  if isinstance(actions, spaces.Box):
    expected = f"choices, as observations have an {MASK!r}"
    raise validate.error("action space", actions, expected)
  if set(space.spaces) == {MASK}:
    expected = f"an observation beside {MASK!r}"
    raise validate.error("observation", sorted(space.spaces), expected)
  mask, wanted = space.spaces[MASK], (spaces.flat_size(actions),)
  if not _is_of_flags(mask):
    expected = "a Box from 0 to 1, whose 1 or True is an allowed action"
    raise validate.error(MASK, mask, expected)
  size = tuple(mask.shape)
  if size != wanted:
    expected = f"{wanted}, one for each option of {actions}"
    raise validate.error(MASK, f"shape {size}", expected)


def _check_parts(space, actions, path):
  """Raises if a part of an observation looks like a mask of actions."""
  if not isinstance(space, spaces.Tuple | spaces.Dict):
    return
  for place, part in space.parts:
    name = f"{path}[{place!r}]"
    if place == MASK:
      raise ValueError(
        f"{name}: got a mask of actions inside of a part, expected it at the"
        f' top. Return {{"{OBSERVATION}": ..., "{MASK}": ...}}.'
      )
    if _looks_like_mask(place, part, actions):
      other = "another dtype" if isinstance(place, int) else "another name"
      raise ValueError(
        f"{name}: got shape {tuple(part.shape)} of {np.dtype(part.dtype)}, a"
        f" number for each option of {actions}, which agents do not take for a"
        f' mask. Return {{"{OBSERVATION}": ..., "{MASK}": ...}} if it says'
        f" which actions are allowed; give it {other} otherwise."
      )
    _check_parts(part, actions, name)


def _looks_like_mask(place, part, actions):
  """True if a part has one number per option, and a mask's name or dtype."""
  arrays = spaces.Box | spaces.MultiDiscrete
  if isinstance(actions, spaces.Box) or not isinstance(part, arrays):
    return False
  if tuple(part.shape) != (spaces.flat_size(actions),):
    return False
  if isinstance(place, int):
    return np.dtype(part.dtype) == bool
  return any(word in place.lower() for word in _MASK_WORDS)


def _is_of_flags(space):
  """True if elements are arrays of zeros and ones."""
  if isinstance(space, spaces.MultiDiscrete):
    return set(space.sizes) == {2}
  is_box = isinstance(space, spaces.Box)
  return is_box and bool(np.all(space.low == 0) and np.all(space.high == 1))


def choices(sizes: Sequence[int], numbers: jax.Array) -> list[jax.Array]:
  """Splits numbers (..., n) into those of each choice, (..., size)."""
  return jnp.split(numbers, np.cumsum(sizes)[:-1].tolist(), axis=-1)


def choosable(actions: Any, mask: jax.Array) -> jax.Array:
  """Returns whether a mask (n,) allows an option of each choice, () bool."""
  actions = spaces.convert(actions)
  sizes = getattr(actions, "sizes", (spaces.flat_size(actions),))
  return jnp.stack([part.any() for part in choices(sizes, mask)]).all()
