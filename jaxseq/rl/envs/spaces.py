"""Spaces of actions and observations, and their elements as flat vectors.

They have the interface of gymnax's, whose own import puts arrays on a device.
All functions of jaxseq that take a space accept gymnax's, too.

A `Discrete` element becomes a one-hot, the parts of a `Tuple`, `MultiDiscrete`
or `Dict` are concatenated, a `Box` element is kept unchanged, and the bytes of
an image are divided by 255.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.types import PyTree


class Space:
  """A set of actions or observations."""

  def sample(self, key: jax.Array) -> PyTree:
    """Draws an element."""
    raise NotImplementedError

  def contains(self, x: PyTree) -> jax.Array:
    """Returns whether x is an element, () bool."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False)
class Discrete(Space):
  """One choice: integers from 0 to n - 1.

  Attributes:
    n: number of options.
    dtype: dtype of an element, int32 or int64.
    shape: shape of an element, ().
  """

  n: int
  dtype: np.dtype = np.dtype(np.int32)
  shape: ClassVar[tuple[int, ...]] = ()

  def __repr__(self) -> str:
    return f"Discrete({self.n})"

  def sample(self, key: jax.Array) -> jax.Array:
    """Draws an option uniformly."""
    return jax.random.randint(key, (), 0, self.n, dtype=self.dtype)

  def contains(self, x: PyTree) -> jax.Array:
    """Returns whether x is an option, () bool."""
    return (jnp.asarray(x) >= 0) & (jnp.asarray(x) < self.n)


@dataclasses.dataclass(frozen=True, eq=False)
class Box(Space):
  """Arrays of numbers between bounds.

  Attributes:
    low: smallest numbers; a scalar, or of the shape of an element.
    high: largest numbers; a scalar, or of the shape of an element.
    shape: shape of an element.
    dtype: dtype of an element.
  """

  low: jax.typing.ArrayLike
  high: jax.typing.ArrayLike
  shape: tuple[int, ...]
  dtype: np.dtype = np.dtype(np.float32)

  def sample(self, key: jax.Array) -> jax.Array:
    """Draws numbers uniformly between the bounds."""
    drawn = jax.random.uniform(
      key, self.shape, minval=self.low, maxval=self.high
    )
    return drawn.astype(self.dtype)

  def contains(self, x: PyTree) -> jax.Array:
    """Returns whether all numbers lie within the bounds, () bool."""
    return jnp.all((x >= self.low) & (x <= self.high))


class _Several(Space):
  """Several spaces: a sequence of them, or a mapping from names."""

  spaces: Sequence[Space] | Mapping[str, Space]

  @property
  def num_spaces(self) -> int:
    """Number of spaces."""
    return len(self.spaces)

  @property
  def parts(self) -> list[tuple[int | str, Space]]:
    """The index or the name of each part of an element, and its space."""
    named = isinstance(self.spaces, Mapping)
    return list(self.spaces.items() if named else enumerate(self.spaces))

  def of(self, parts: Iterable[PyTree]) -> PyTree:
    """Returns the element with these parts."""
    if isinstance(self.spaces, Mapping):
      return dict(zip(self.spaces, parts))
    return tuple(parts)

  def sample(self, key: jax.Array) -> PyTree:
    """Draws an element of each space."""
    keys = jax.random.split(key, self.num_spaces)
    return self.of(part.sample(k) for (_, part), k in zip(self.parts, keys))

  def contains(self, x: PyTree) -> jax.Array:
    """Returns whether each part is an element of its space, () bool."""
    parts = [part.contains(x[place]) for place, part in self.parts]
    return jnp.all(jnp.stack(parts))


@dataclasses.dataclass(frozen=True, eq=False)
class Tuple(_Several):
  """Elements of several spaces, one after the other.

  Attributes:
    spaces: the spaces.
  """

  spaces: Sequence[Space]


@dataclasses.dataclass(frozen=True, eq=False)
class Dict(_Several):
  """Elements of several spaces by name.

  Attributes:
    spaces: the spaces.
  """

  spaces: Mapping[str, Space]


class MultiDiscrete(Tuple):
  """Several independent choices, as one array of integers.

  It is a `Tuple` of `Discrete` spaces whose elements are (k,) int32 arrays.
  """

  def __init__(self, sizes: Sequence[int]):
    """Makes the space.

    Args:
      sizes: the number of options of each choice.
    """
    super().__init__(tuple(Discrete(size) for size in sizes))

  @property
  def sizes(self) -> tuple[int, ...]:
    """The number of options of each choice."""
    return tuple(part.n for part in self.spaces)

  @property
  def shape(self) -> tuple[int, ...]:
    """The shape of an element, (k,)."""
    return (len(self.spaces),)

  @property
  def dtype(self) -> np.dtype:
    """The dtype of an element, int32."""
    return np.dtype(np.int32)

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


def convert(space: object) -> Space:
  """Converts a space of gymnax to one of this module.

  Args:
    space: a `Discrete`, `Box`, `Tuple` or `Dict` of this module or of gymnax,
      or a `MultiDiscrete`.

  Raises:
    ValueError: if the space is of another kind.
  """
  if isinstance(space, Discrete | Box | _Several):
    return space
  # Not at the top: the import puts arrays on a device.
  from gymnax.environments import spaces as gymnax_spaces

  match space:
    case gymnax_spaces.Discrete():
      return Discrete(space.n, space.dtype)
    case gymnax_spaces.Box():
      dtype = np.dtype(space.dtype)
      return Box(space.low, space.high, tuple(space.shape), dtype)
    case gymnax_spaces.Tuple():
      return Tuple(tuple(map(convert, space.spaces)))
    case gymnax_spaces.Dict():
      return Dict({n: convert(part) for n, part in space.spaces.items()})
  expected = "Discrete, MultiDiscrete, Box, Tuple or Dict"
  raise validate.error("space", space, expected)


def unbounded(like: jax.ShapeDtypeStruct) -> Box:
  """Returns the box of all arrays of a shape and dtype.

  Args:
    like: of the array; for random keys the box is that of their words.
  """
  if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
    like = jax.eval_shape(jax.random.key_data, like)
  dtype = np.dtype(like.dtype)
  if dtype.kind == "b":
    return Box(False, True, like.shape, dtype)
  if dtype.kind in "iu":
    bounds = np.iinfo(dtype)
    return Box(int(bounds.min), int(bounds.max), like.shape, dtype)
  return Box(-math.inf, math.inf, like.shape, dtype)


def flat_size(space: Space) -> int:
  """Returns the length of `flatten`'s vector for an element of `space`."""
  space = convert(space)
  match space:
    case Discrete():
      return space.n
    case Box():
      return math.prod(space.shape)
  return sum(flat_size(part) for _, part in space.parts)


def signature(space: Space) -> tuple[Any, ...]:
  """Returns a key that is equal for spaces that fit the same network.

  Args:
    space: any that `flat_size` accepts.

  Returns:
    Type, shape and flat size; bounds may differ.

  Raises:
    ValueError: if the space is of another kind.
  """
  space = convert(space)
  shape = getattr(space, "shape", None)
  return type(space), shape and tuple(shape), flat_size(space)


def is_image(space: Space) -> bool:
  """Returns whether elements are images, (height, width, channels) uint8."""
  space = convert(space)
  is_bytes = isinstance(space, Box) and np.dtype(space.dtype) == np.uint8
  return is_bytes and len(space.shape) == 3


def is_bounded(space: Space) -> bool:
  """Returns whether elements are those of a `Box` with finite bounds.

  A range that exceeds float32 counts as infinite: gymnax uses the largest
  number where there is no bound.
  """
  space = convert(space)
  if not isinstance(space, Box):
    return False
  low, high = (np.asarray(x, float) for x in (space.low, space.high))
  return bool((high - low <= np.finfo(np.float32).max).all())


def bounds(space: Space) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
  """Returns the lower and the upper bound of each number of a `Box`.

  They are those of the vector of `flatten`; None if not all are finite, or if
  it is another space.
  """
  space = convert(space)
  if not is_bounded(space):
    return None
  flat = [
    np.broadcast_to(np.asarray(x, np.float32), space.shape).ravel().tolist()
    for x in (space.low, space.high)
  ]
  return tuple(flat[0]), tuple(flat[1])


def is_number(space: Space) -> np.ndarray:
  """Marks the numbers of a `Box`, not one-hots, in the vector of `flatten`.

  Args:
    space: one of this module or of gymnax.

  Returns:
    (flat_size(space),) bool, True at the numbers of a `Box`.

  Raises:
    ValueError: if the space is of an unknown kind.
  """
  space = convert(space)
  if isinstance(space, _Several):
    return np.concatenate([is_number(part) for _, part in space.parts])
  return np.full((flat_size(space),), isinstance(space, Box))


def flatten(space: Space, element: PyTree) -> jax.Array:
  """Returns an element of a space as one vector.

  Args:
    space: one of this module or of gymnax.
    element: one element, without batch axes: a tuple or an array with as many
      entries as a `Tuple` has parts, a mapping for a `Dict`.

  Returns:
    (flat_size(space),) float32. A choice outside its options becomes zeros.

  Raises:
    ValueError: if the space is of an unknown kind.
  """
  space = convert(space)
  match space:
    case Discrete():
      return _one_hot(element, space.n)
    case Box():
      flat = jnp.asarray(element).astype(jnp.float32).reshape(-1)
      return flat / 255 if is_image(space) else flat
    case MultiDiscrete() if not isinstance(element, tuple | list):
      # All choices at once: a board may have a hundred of them.
      if len(set(space.sizes)) == 1:
        choices = jnp.asarray(element)[:, None]
        return _one_hot(choices, space.sizes[0]).reshape(-1)
      choice = np.repeat(np.arange(len(space.sizes)), space.sizes)
      option = np.concatenate([np.arange(size) for size in space.sizes])
      return (jnp.asarray(element)[choice] == option).astype(jnp.float32)
  parts = [flatten(part, element[place]) for place, part in space.parts]
  return jnp.concatenate(parts)


def zeros(space: Space) -> PyTree:
  """Returns the element of a space whose numbers are all 0.

  Args:
    space: one of this module or of gymnax.

  Returns:
    An array, or a tuple or dictionary of arrays.

  Raises:
    ValueError: if the space is of an unknown kind.
  """
  space = convert(space)
  if isinstance(space, Discrete | Box | MultiDiscrete):
    return jnp.zeros(space.shape, space.dtype)
  return space.of(zeros(part) for _, part in space.parts)


def check(name: str, space: Space, element: PyTree) -> None:
  """Checks shapes and kinds of numbers of an element, not its values.

  Args:
    name: name of the element in the message.
    space: the space it should belong to.
    element: the element, possibly traced.

  Raises:
    ValueError: if it has another shape, or is not of integers although the
      space is discrete.
  """
  space = convert(space)
  if isinstance(space, Tuple) and isinstance(element, tuple | list):
    if len(element) != len(space.spaces):
      raise ValueError(
        f"{name}: got {len(element)} parts, expected an element of {space}."
      )
    for i, part in enumerate(space.spaces):
      check(f"{name}[{i}]", part, element[i])
    return
  if not isinstance(space, Discrete | Box | MultiDiscrete):
    return
  shape, dtype = jnp.shape(element), jnp.result_type(element)
  discrete = jnp.issubdtype(space.dtype, jnp.integer)
  fits = jnp.issubdtype(dtype, jnp.integer) or not discrete
  if shape != tuple(space.shape) or not fits:
    raise ValueError(
      f"{name}: got {dtype}{list(shape)}, expected an element of {space}; map"
      " over a batch with jax.vmap."
    )


def _one_hot(choice: jax.Array, size: int) -> jax.Array:
  options = np.arange(size, dtype=np.int32)
  return (jnp.asarray(choice) == options).astype(jnp.float32)
