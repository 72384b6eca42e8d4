"""Longest processing time first, with a degree for every long document.

A guess T of the step time gives each long document the smallest degree that
finishes by T; then all are placed on the least loaded blocks, the largest
blocks first and on each level the longest documents first. Graham's rule (SIAM
J. Appl. Math. 17, 1969), for tasks that may take several processors.
"""

import numpy as np

from jaxseq.planner import schedule
from jaxseq.planner import workload

# Guesses of the step's time, as multiples of its lower bound.
TARGETS = np.geomspace(0.3, 2.5, 16)
# A document with more of the step's time than this is long.
LONG = 0.3


def is_long(problem: workload.Workload, lower_bound: float) -> np.ndarray:
  """Tells which documents' degrees are worth a choice, (documents,) bool.

  Those that do not fit on one device or take too much of its time.
  """
  return problem.times[:, 0] > LONG * lower_bound


def _place(
  problem: workload.Workload, choice: np.ndarray
) -> tuple[float, list[schedule.Placement]]:
  """Places documents by falling degree; also returns the largest load."""
  loads = [0.0]
  placements = []
  for column in range(len(problem.degrees) - 1, -1, -1):
    degree = int(problem.degrees[column])
    blocks = problem.num_devices // degree
    documents = np.flatnonzero(choice == column)
    # Documents are sorted by falling length, and time rises with length.
    times = (problem.times if column else problem.shares)[documents, column]
    members, loads = schedule.spread(
      times.tolist(), np.repeat(loads, blocks // len(loads)).tolist()
    )
    members = [documents[tasks].tolist() for tasks in members]
    if column:
      rows = [([d], b) for b, ds in enumerate(members) for d in ds]
    else:
      rows = [(ds, b) for b, ds in enumerate(members) if ds]
    placements += [schedule.Placement(ds, degree, b * degree) for ds, b in rows]
  return max(loads), placements


def _choose_degrees(
  problem: workload.Workload, long: np.ndarray, target: float
) -> np.ndarray:
  """Picks the smallest degree that is done in time, or the fastest, if long."""
  done = problem.times <= target
  first = np.where(
    done.any(axis=1), done.argmax(axis=1), problem.times.argmin(axis=1)
  )
  return np.where(long, first, 0)


def solve(
  problem: workload.Workload, lower_bound: float
) -> list[schedule.Placement]:
  """Plans for every guess, then for as many around the best; one row each."""
  long = is_long(problem, lower_bound)
  best, tried = (np.inf, 0.0, []), set()

  def search(targets, best):
    for target in targets:
      choice = _choose_degrees(problem, long, target * lower_bound)
      if choice.tobytes() in tried:
        continue
      tried.add(choice.tobytes())
      load, placements = _place(problem, choice)
      if load < best[0]:
        best = load, target, placements
    return best

  best = search(TARGETS, best)
  step = TARGETS[1] / TARGETS[0]
  around = np.geomspace(best[1] / step, best[1] * step, len(TARGETS))
  best = search(around, best)
  return schedule.pack(problem, best[2])
