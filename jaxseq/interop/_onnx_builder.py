"""Builder of the nodes and constants of an ONNX graph."""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np


class Pair(NamedTuple):
  """Real and imaginary parts of complex numbers."""

  real: Any
  imag: Any


def number_of(dtype: Any) -> int:
  """Returns the number of a dtype in ONNX files."""
  import onnx

  if np.dtype(dtype).kind == "V":
    # Few of onnxruntime's operations accept bfloat16.
    raise ValueError(f"{np.dtype(dtype)}: has no counterpart in ONNX here")
  return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Builder:
  """A graph under construction; its values are names or NumPy arrays.

  Attributes:
    nodes: the nodes so far, in order.
    arrays: constants by name.
  """

  def __init__(self, sized: str, symbol: Any):
    """Starts a graph.

    Args:
      sized: name of an input.
      symbol: its first size, if that is symbolic.
    """
    self.nodes: list[Any] = []
    self.arrays: dict[str, np.ndarray] = {}
    self._names: dict[Any, str] = {}
    self._sized, self._symbol = sized, symbol

  def add(self, kind: str, *inputs: Any, outputs: int = 1, **options: Any):
    """Adds a node; returns the name of its output, or a list of names."""
    import onnx

    names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
    arguments = [self.name(x) for x in inputs]
    self.nodes.append(onnx.helper.make_node(kind, arguments, names, **options))
    return names if outputs > 1 else names[0]

  def name(self, value: object) -> str:
    """Returns the name of a value; equal arrays share one name."""
    if isinstance(value, str):
      return value
    array = np.asarray(value)
    key = array.dtype.str, array.shape, array.tobytes()
    if key not in self._names:
      self._names[key] = f"c{len(self.arrays)}"
      self.arrays[self._names[key]] = array
    return self._names[key]

  def cast(self, x: Any, dtype: Any) -> Any:
    """Returns x in another dtype."""
    return self.add("Cast", x, to=number_of(dtype))

  def shape(self, sizes: Sequence[Any]) -> Any:
    """Returns sizes, some of them perhaps symbolic, as an array of int64."""
    if all(isinstance(size, int) for size in sizes):
      return np.array(sizes, np.int64)
    return self.add("Concat", *map(self.size, sizes), axis=0)

  def size(self, size: Any) -> Any:
    """Returns a size, or a multiple of the symbolic size, as (1,) int64."""
    if isinstance(size, int):
      return np.array([size], np.int64)
    key = str(size)
    if key not in self._names:
      count = size // self._symbol
      if not isinstance(count, int) or size != count * self._symbol:
        raise ValueError(f"size {size}: is no multiple of the batch")
      whole = self.add("Shape", self._sized, start=0, end=1)
      if count != 1:
        whole = self.add("Mul", whole, np.array([count], np.int64))
      self._names[key] = whole
    return self._names[key]

  def reshape(self, x: Any, sizes: Sequence[Any]) -> Any:
    """Returns x in another shape."""
    free = [not isinstance(size, int) for size in sizes]
    if sum(free) == 1 and 0 not in sizes:
      sizes = [-1 if symbolic else size for symbolic, size in zip(free, sizes)]
    return self.add("Reshape", x, self.shape(sizes))

  def cut(self, x: Any, axis: int, start: int, end: int, step: int = 1) -> Any:
    """Slices the elements start, start + step, .. before `end` of an axis."""
    numbers = (np.array([n], np.int64) for n in (start, end, axis, step))
    return self.add("Slice", x, *numbers)
