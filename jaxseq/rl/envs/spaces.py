"""Spaces: what gymnax lacks, and their elements as flat vectors.

A `Discrete` element becomes a one-hot, the parts of a `Tuple`, `MultiDiscrete`
or `Dict` are put one after the other, and a `Box` element is kept as it is.
"""

from collections.abc import Sequence
import math
from typing import Any

from gymnax.environments import spaces
import jax
import jax.numpy as jnp
import numpy as np


class MultiDiscrete(spaces.Tuple):
  """Several independent choices, as one array of integers.

  It is a gymnax `Tuple` of `Discrete` spaces whose elements are (k,) int32
  arrays.
  """

  def __init__(self, sizes: Sequence[int]):
    """Makes the space.

    Args:
      sizes: the number of options of each choice.
    """
    super().__init__(tuple(spaces.Discrete(size) for size in sizes))
    self.sizes = tuple(sizes)
    self.shape = (len(self.sizes),)
    self.dtype = jnp.dtype(jnp.int32)

  def __repr__(self) -> str:
    return f"MultiDiscrete({list(self.sizes)})"

  def sample(self, key: jax.Array) -> jax.Array:
    """Draws (k,) int32 uniformly."""
    return jax.random.randint(
      key, self.shape, 0, np.array(self.sizes), dtype=jnp.int32
    )

  def contains(self, x: jax.Array) -> jax.Array:
    """Returns whether every choice is one of its options, () bool."""
    return jnp.all((x >= 0) & (x < np.array(self.sizes)))


def flat_size(space: spaces.Space) -> int:
  """Returns how many numbers `flatten` makes of an element of `space`."""
  match space:
    case spaces.Discrete():
      return space.n
    case spaces.Box():
      return math.prod(space.shape)
    case spaces.Tuple():
      return sum(flat_size(part) for part in space.spaces)
    case spaces.Dict():
      return sum(flat_size(part) for part in space.spaces.values())
  raise ValueError(_unknown(space))


def signature(space: spaces.Space) -> tuple[Any, ...]:
  """Returns what two spaces have in common whose elements one network can take.

  Args:
    space: any that `flat_size` knows.

  Returns:
    Type, shape and flat size; bounds may differ.

  Raises:
    ValueError: if the space is of another kind.
  """
  shape = getattr(space, "shape", None)
  return type(space), shape and tuple(shape), flat_size(space)


def is_number(space: spaces.Space) -> np.ndarray:
  """Tells the numbers of a `Box` from one-hots in what `flatten` makes.

  Args:
    space: a gymnax space, or `MultiDiscrete`.

  Returns:
    (flat_size(space),) bool, True at the numbers of a `Box`.

  Raises:
    ValueError: if the space is of an unknown kind.
  """
  match space:
    case spaces.Tuple():
      return np.concatenate([is_number(part) for part in space.spaces])
    case spaces.Dict():
      return np.concatenate([is_number(p) for p in space.spaces.values()])
  return np.full((flat_size(space),), isinstance(space, spaces.Box))


def flatten(space: spaces.Space, element: Any) -> jax.Array:
  """Returns an element of a space as one vector.

  Args:
    space: a gymnax space, or `MultiDiscrete`.
    element: one element, without batch axes: a tuple or an array with as many
      entries as a `Tuple` has parts, a mapping for a `Dict`.

  Returns:
    (flat_size(space),) float32. A choice outside its options gives zeros.

  Raises:
    ValueError: if the space is of an unknown kind.
  """
  match space:
    case spaces.Discrete():
      return _one_hot(element, space.n)
    case spaces.Box():
      return jnp.asarray(element).astype(jnp.float32).reshape(-1)
    case MultiDiscrete() if not isinstance(element, tuple | list):
      # All choices at once: a board may have a hundred of them.
      if len(set(space.sizes)) == 1:
        choices = jnp.asarray(element)[:, None]
        return _one_hot(choices, space.sizes[0]).reshape(-1)
      choice = np.repeat(np.arange(len(space.sizes)), space.sizes)
      option = np.concatenate([np.arange(size) for size in space.sizes])
      return (jnp.asarray(element)[choice] == option).astype(jnp.float32)
    case spaces.Tuple():
      parts = [flatten(s, element[i]) for i, s in enumerate(space.spaces)]
      return jnp.concatenate(parts)
    case spaces.Dict():
      parts = [flatten(s, element[name]) for name, s in space.spaces.items()]
      return jnp.concatenate(parts)
  raise ValueError(_unknown(space))


def zeros(space: spaces.Space) -> Any:
  """Returns the element of a space whose numbers are all 0.

  Args:
    space: a gymnax space, or `MultiDiscrete`.

  Returns:
    An array, or a tuple or dictionary of arrays.

  Raises:
    ValueError: if the space is of an unknown kind.
  """
  match space:
    case spaces.Discrete() | spaces.Box() | MultiDiscrete():
      return jnp.zeros(space.shape, space.dtype)
    case spaces.Tuple():
      return tuple(zeros(part) for part in space.spaces)
    case spaces.Dict():
      return {name: zeros(part) for name, part in space.spaces.items()}
  raise ValueError(_unknown(space))


def check(name: str, space: spaces.Space, element: Any) -> None:
  """Checks shapes and kinds of numbers of an element, not its values.

  Args:
    name: what to call the element in the message.
    space: the space it should belong to.
    element: the element, possibly traced.

  Raises:
    ValueError: if it has another shape, or is not of integers where the space
      is discrete.
  """
  if isinstance(space, spaces.Tuple) and isinstance(element, tuple | list):
    if len(element) != len(space.spaces):
      raise ValueError(
        f"{name}: got {len(element)} parts, expected an element of {space}."
      )
    for i, part in enumerate(space.spaces):
      check(f"{name}[{i}]", part, element[i])
    return
  if not isinstance(space, spaces.Discrete | spaces.Box | MultiDiscrete):
    return
  shape, dtype = jnp.shape(element), jnp.result_type(element)
  discrete = jnp.issubdtype(space.dtype, jnp.integer)
  if shape != tuple(space.shape) or (
    discrete and not jnp.issubdtype(dtype, jnp.integer)
  ):
    raise ValueError(
      f"{name}: got {dtype}{list(shape)}, expected an element of {space}; map"
      " over a batch with jax.vmap."
    )


def _one_hot(choice: Any, size: int) -> jax.Array:
  options = np.arange(size, dtype=np.int32)
  return (jnp.asarray(choice) == options).astype(jnp.float32)


def _unknown(space: Any) -> str:
  return (
    f"space: got {space!r}, expected Discrete, MultiDiscrete, Box, Tuple or"
    " Dict."
  )
