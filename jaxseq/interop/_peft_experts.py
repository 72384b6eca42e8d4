"""Adapters of all experts of a mixture, in the PEFT library's format.

The transformers library stores the matrices of a mixture's experts in
parameters (experts, out, in): `experts.gate_up_proj`, with the gates first, or
`experts.up_proj` without gates, and `experts.down_proj`. PEFT adapts each as a
whole (`target_parameters`), by A (experts r, in) and B (out, r experts). Model
files have one tensor per expert and matrix, or other names.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Any
from typing import NamedTuple

import numpy as np

# In PEFT's wrapping order: the last one is outermost.
PARAMETERS = ("gate_up_proj", "up_proj", "down_proj")
_EACH = re.compile(r"(.*\.experts)\.(\d+)\.(\w+)")
_WHOLE = re.compile(rf".*\.experts\.({'|'.join(PARAMETERS)})")
_MATRICES = {
  "gate_proj": "gate",
  "w1": "gate",
  "up_proj": "up",
  "w3": "up",
  "down_proj": "down",
  "w2": "down",
}
Pair = tuple[np.ndarray, np.ndarray]


class Stack(NamedTuple):
  """The tensors of an experts parameter.

  Attributes:
    parts: names of tensors, by blocks of rows and then by experts; one block
      with one name if a tensor contains all experts.
    sizes: number of rows of each block.
    experts: number of experts.
    is_whole: whether one tensor contains all experts.
  """

  parts: tuple[tuple[str, ...], ...]
  sizes: tuple[int, ...]
  experts: int
  is_whole: bool = False

  @property
  def tensors(self) -> tuple[str, ...]:
    """Names of all tensors."""
    return tuple(name for part in self.parts for name in part)

  def split(self, array: np.ndarray) -> dict[str, np.ndarray]:
    """Splits an array (experts, out, ...) into tensors by name."""
    if self.is_whole:
      return {self.parts[0][0]: array}
    blocks = np.split(array, np.cumsum(self.sizes)[:-1], axis=1)
    return {
      name: block[number]
      for part, block in zip(self.parts, blocks)
      for number, name in enumerate(part)
    }

  def join(self, factors: Mapping[str, Pair]) -> Pair:
    """Returns A (experts, r, in) and B (experts, out, r) of tensors' factors.

    Args:
      factors: A (r, in) and B (out, r) by tensor name, some of which may be
        missing; with an axis of experts for a tensor of all experts.
    """
    if self.is_whole:
      return factors[self.parts[0][0]]
    pairs = [
      self._joined([factors.get(part[number]) for part in self.parts])
      for number in range(self.experts)
    ]
    rank = max(a.shape[0] for a, _ in filter(None, pairs))
    width = next(a.shape[1] for a, _ in filter(None, pairs))
    a = np.zeros((self.experts, rank, width), np.float32)
    b = np.zeros((self.experts, sum(self.sizes), rank), np.float32)
    for number, pair in enumerate(pairs):
      if pair is not None:
        a[number, : len(pair[0])] = pair[0]
        b[number, :, : len(pair[0])] = pair[1]
    return a, b

  def _joined(self, pairs: Sequence[Pair | None]) -> Pair | None:
    """Joins the factors of an expert's blocks of rows."""
    present = [pair for pair in pairs if pair is not None]
    if not present:
      return None
    first = present[0][0]
    # Factors of a single adapter of all rows share one A.
    is_shared = all(np.array_equal(a, first) for a, _ in present)
    ranks = [0 if pair is None else len(pair[0]) for pair in pairs]
    a = first if is_shared else np.concatenate([a for a, _ in present])
    b = np.zeros((sum(self.sizes), len(a)), np.float32)
    starts = np.cumsum((0, *self.sizes))
    for number, pair in enumerate(pairs):
      if pair is not None:
        start = 0 if is_shared else sum(ranks[:number])
        rows = slice(starts[number], starts[number + 1])
        b[rows, start : start + ranks[number]] = pair[1]
    return a, b


def stacks(shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
  """Returns the `Stack` of each experts parameter, by its name.

  Args:
    shapes: the name of a tensor's module, and its shape, by the tensor's name.
  """
  result: dict[str, Stack] = {}
  containers: dict[str, dict[str, dict[int, str]]] = {}
  for tensor, (name, shape) in shapes.items():
    each = _EACH.fullmatch(name)
    if each and each[3] in _MATRICES and len(shape) == 2:
      parts = containers.setdefault(each[1], {})
      parts.setdefault(_MATRICES[each[3]], {})[int(each[2])] = tensor
    elif len(shape) == 3 and _WHOLE.fullmatch(name):
      result[name] = Stack(((tensor,),), shape[1:2], shape[0], True)
  for container, parts in containers.items():
    first = ("gate", "up") if "gate" in parts else ("up",)
    names = "gate_up_proj" if "gate" in parts else "up_proj", "down_proj"
    for name, blocks in zip(names, (first, ("down",))):
      tensors = [
        tuple(parts[x][i] for i in sorted(parts[x]))
        for x in blocks
        if x in parts
      ]
      if len(tensors) == len(blocks):
        sizes = tuple(shapes[part[0]][1][0] for part in tensors)
        stack = Stack(tuple(tensors), sizes, len(tensors[0]))
        result[f"{container}.{name}"] = stack
  return result


def unpacked(a: np.ndarray, b: np.ndarray, rank: int) -> Pair:
  """Returns A (experts, r, in), B (experts, out, r) of PEFT's matrices."""
  experts = a.shape[0] // rank
  a = a.reshape(experts, rank, a.shape[1])
  return a, b.reshape(b.shape[0], rank, experts).transpose(2, 0, 1)


def packed(a: np.ndarray, b: np.ndarray) -> Pair:
  """Undoes `unpacked`."""
  experts, rank, width = a.shape
  b = b.transpose(1, 2, 0).reshape(-1, rank * experts)
  return a.reshape(experts * rank, width), np.ascontiguousarray(b)
