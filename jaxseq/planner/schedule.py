"""The Assignment: rows of documents on blocks of devices, with their times.

A block of degree d is d neighboring devices, number b those from b d to
b d + d - 1. Rows run by falling degree. All larger blocks above a block cover
its devices equally, so they become free together: no device ever waits, and its
time is the sum of the times of its rows.
"""

import bisect
from collections.abc import Sequence
import dataclasses
import heapq
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.planner import workload


class Row(NamedTuple):
  """Documents that one group of devices works on together.

  Attributes:
    doc_ids: the caller's numbers of the documents.
    offsets: first token of each document in the row.
    degree: number of devices.
    first_device: number of the first of them, a multiple of the degree.
    start_time: seconds after the start of the step.
  """

  doc_ids: tuple[int, ...]
  offsets: tuple[int, ...]
  degree: int
  first_device: int
  start_time: float


@dataclasses.dataclass(frozen=True)
class Assignment:
  """The devices of each document, and the order of their work.

  Attributes:
    rows: in the order of their execution; every document is in one of them.
    loads: (num_devices,) seconds of every device.
    makespan: seconds of the step, the largest load.
    lower_bound: seconds that no plan can go below.
    method: how the plan was found.
    optimal_gap: makespan / lower_bound - 1; the optimum may lie anywhere
      between the two.
  """

  rows: list[Row]
  loads: np.ndarray
  makespan: float
  lower_bound: float
  method: str
  optimal_gap: float


class Placement(NamedTuple):
  """Documents, by their place in the problem, on one block.

  Attributes:
    documents: places of the documents.
    degree: devices of the block.
    first_device: the first of them.
  """

  documents: Sequence[int]
  degree: int
  first_device: int


def spread(
  times: Sequence[float], loads: Sequence[float]
) -> tuple[list[list[int]], list[float]]:
  """Assigns tasks, in their order, to the least loaded blocks.

  Maps the seconds of each task, and the initial load of each block, to the
  tasks of each block, and its load with them.
  """
  heap = [(load, block) for block, load in enumerate(loads)]
  heapq.heapify(heap)
  members = [[] for _ in heap]
  for task, time in enumerate(times):
    load, block = heap[0]
    heapq.heapreplace(heap, (load + time, block))
    members[block].append(task)
  return members, [load for load, _ in sorted(heap, key=lambda pair: pair[1])]


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
  """Packs documents into few rows.

  Each document, longest first, goes into the row that it fills most; into an
  empty one if it fits into none. At most 11/9 of the fewest rows possible, and
  one more (Johnson et al., SIAM J. Comput. 3, 1974).

  Args:
    lengths: (documents,) tokens of each document.
    capacity: tokens that a row has room for.

  Returns:
    For every row the indices of its documents.

  Raises:
    ValueError: if a document is longer than `capacity`.
  """
  lengths = np.asarray(lengths, np.int64)
  rows = []
  # (free tokens, row), by free tokens; the row that fills most is the first
  # with enough.
  free = []
  for index in np.argsort(-lengths, kind="stable").tolist():
    length = int(lengths[index])
    if length > capacity:
      expected = f"at most {capacity}, the length of a row"
      raise validate.error(f"lengths[{index}]", length, expected)
    place = bisect.bisect_left(free, (length, -1))
    if place == len(free):
      left, row = capacity, len(rows)
      rows.append([])
    else:
      left, row = free.pop(place)
    rows[row].append(index)
    bisect.insort(free, (left - length, row))
  return rows


def pack(
  problem: workload.Workload, placements: Sequence[Placement]
) -> list[Placement]:
  """Splits each block's documents into rows that fit into memory.

  From at most one placement for each block to placements of one row each.
  """
  rows = []
  for documents, degree, first_device in placements:
    documents = np.asarray(documents, np.int64)
    lengths = problem.lengths[documents]
    for row in best_fit(lengths, problem.capacity * degree):
      rows.append(Placement(documents[row], degree, first_device))
  return rows


def assemble(
  problem: workload.Workload,
  rows: Sequence[Placement],
  lower_bound: float,
  method: str,
) -> Assignment:
  """Orders rows, as `pack` returns them, by falling degree; adds up times.

  The lower bound, in seconds, and how they were found are only passed on.
  """
  loads = np.zeros(problem.num_devices)
  done = []
  for documents, degree, first_device in sorted(rows, key=lambda r: -r.degree):
    lengths = problem.lengths[documents]
    offsets = np.cumsum(lengths) - lengths
    block = slice(first_device, first_device + degree)
    start = float(loads[first_device])
    loads[block] = start + problem.cost_model.time(lengths, degree)
    done.append(
      Row(
        tuple(problem.order[documents].tolist()),
        tuple(offsets.tolist()),
        degree,
        first_device,
        start,
      )
    )
  makespan = float(loads.max())
  return Assignment(
    done, loads, makespan, lower_bound, method, makespan / lower_bound - 1
  )
