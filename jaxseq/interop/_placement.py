"""Mappings between PyTorch tensors and parameters.

A family of models has a `Place` for every parameter. It computes the tensors'
shapes from the parameter's, and works in both directions.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses

import numpy as np

Tensors = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Place:
  """The tensors of a parameter: scale * (laid out tensors + offset)."""

  names: tuple[str, ...]
  # Converts a parameter to these tensors, as views.
  to_torch: Callable[[np.ndarray], Tensors]
  from_torch: Callable[..., np.ndarray]
  # The rows of each tensor, if other parameters have the rest.
  rows: "Rows | None" = None
  # A number, or an array that broadcasts with the parameter.
  scale: float | np.ndarray = 1.0
  offset: float = 0.0

  def shapes(self, shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yields the tensors' shapes, from the parameter's shape."""
    for tensor in self.to_torch(np.broadcast_to(np.float32(0), shape)):
      yield self.rows.whole(tensor.shape) if self.rows else tensor.shape

  def read(
    self, tensors: Sequence[np.ndarray], dtype: np.typing.DTypeLike
  ) -> np.ndarray:
    """Returns the parameter: computed in `dtype`, or as a view."""
    parts = [self.rows.of(each) if self.rows else each for each in tensors]
    array = self.from_torch(*parts)
    scaled = np.any(np.asarray(self.scale) != 1)
    if self.offset or scaled:
      array = array.astype(dtype)
    if self.offset:
      array += np.asarray(self.offset, dtype)
    if scaled:
      array *= np.asarray(self.scale, dtype)
    return array

  def write(self, array: np.ndarray) -> Tensors:
    """Undoes `read`; for tensors with `rows`, returns only these rows."""
    if np.any(np.asarray(self.scale) != 1):
      array = array / np.asarray(self.scale, array.dtype)
    if self.offset:
      array = array - np.asarray(self.offset, array.dtype)
    return self.to_torch(array)


@dataclasses.dataclass(frozen=True)
class Rows:
  """Some rows of a tensor."""

  index: slice | np.ndarray  # Indices of the rows, in order.
  size: int  # Number of rows of the tensor.
  axis: int = 0  # Axis of the rows.

  @property
  def _place(self):
    return (slice(None),) * self.axis + (self.index,)

  def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of the tensor, from the shape of the rows."""
    return (*shape[: self.axis], self.size, *shape[self.axis + 1 :])

  def of(self, tensor: np.ndarray) -> np.ndarray:
    """Returns the rows of a tensor; a view if `index` is a slice."""
    return tensor[self._place]

  def put(self, tensor: np.ndarray | None, part: np.ndarray) -> np.ndarray:
    """Writes the rows into a tensor, a new one if None, and returns it."""
    if tensor is None:
      tensor = np.zeros(self.whole(part.shape), part.dtype)
    tensor[self._place] = part
    return tensor


def _one(name, to_torch, from_torch):
  return Place((name,), lambda x: (to_torch(x),), from_torch)


def same(name: str) -> Place:
  """A tensor in the layout of the parameter: a vector, an embedding."""
  return _one(name, lambda x: x, lambda x: x)


def centered(name: str) -> Place:
  """The weight w of a norm that multiplies by 1 + w."""
  return scaled(same(name), 1.0, 1.0)


def linear(name: str) -> Place:
  """The weight of a torch.nn.Linear, (out, in), for a parameter (in, out)."""
  return _one(name, lambda x: x.T, lambda x: x.T)


def experts(name: str) -> Place:
  """The weights of many torch.nn.Linear, (n, out, in), for (n, in, out)."""
  return _one(name, lambda x: x.swapaxes(1, 2), lambda x: x.swapaxes(1, 2))


def conv(name: str) -> Place:
  """The weight of a depthwise torch.nn.Conv1d: (channels, 1, taps)."""
  return _one(name, lambda x: x.T[:, None], lambda x: x[:, 0].T)


def stacked(places: Sequence[Place]) -> Place:
  """Tensors that are stacked along a new first axis."""
  return _together(places, lambda array: array, np.stack)


def joined(places: Sequence[Place], sizes: Sequence[int], axis: int) -> Place:
  """Tensors that are concatenated along an axis of the parameter."""
  ends = np.cumsum(sizes)[:-1]
  return _together(
    places,
    lambda array: np.split(array, ends, axis),
    lambda parts: np.concatenate(parts, axis),
  )


def _together(places, split, join):
  """Combines several places into one parameter."""
  counts = np.cumsum([len(place.names) for place in places])[:-1]

  def to_torch(array):
    parts = zip(places, split(array))
    return tuple(
      tensor for place, part in parts for tensor in place.to_torch(part)
    )

  def from_torch(*tensors):
    groups = np.split(np.arange(len(tensors)), counts)
    return join(
      [
        place.from_torch(*(tensors[i] for i in group))
        for place, group in zip(places, groups)
      ]
    )

  names = tuple(name for place in places for name in place.names)
  return Place(names, to_torch, from_torch)


def part(
  place: Place, start: int, stop: int, size: int, *, axis: int = 0
) -> Place:
  """The rows from `start` to `stop` of a tensor with `size` rows."""
  rows = Rows(slice(start, stop), size, axis)
  return dataclasses.replace(place, rows=rows)


def rows(place: Place, index: np.ndarray, size: int) -> Place:
  """The rows with these numbers of a tensor with `size` rows."""
  return dataclasses.replace(place, rows=Rows(index, size))


def scaled(
  place: Place, scale: float | np.ndarray, offset: float = 0.0
) -> Place:
  """Tensors w of a parameter scale * (w + offset)."""
  return dataclasses.replace(place, scale=scale, offset=offset)
