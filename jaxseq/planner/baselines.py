"""Baselines of plans: static meshes, and packing by tokens."""

from collections.abc import Sequence

import numpy as np

from jaxseq import validate
from jaxseq.planner import costs
from jaxseq.planner import schedule
from jaxseq.planner import workload


def static(
  lengths: Sequence[int],
  num_devices: int,
  cost_model: costs.CostModel,
  memory_per_device: float,
  degree: int,
) -> schedule.Assignment:
  """One fixed degree for every document: best-fit rows, spread by time.

  The arguments are those of `planner.plan`, and `degree`, the devices of every
  group, a power of two. A ValueError as there; if a document does not fit on a
  group, or if `degree` is not that of a group.
  """
  problem = workload.make_workload(
    lengths, num_devices, cost_model, memory_per_device
  )
  validate.choice("degree", degree, problem.degrees.tolist())
  rows = schedule.best_fit(problem.lengths, problem.capacity * degree)
  times = [cost_model.time(problem.lengths[row], degree) for row in rows]
  order = np.argsort(-np.array(times), kind="stable").tolist()
  members, _ = schedule.spread(
    [times[index] for index in order], [0.0] * (num_devices // degree)
  )
  blocks = {i: block for block, tasks in enumerate(members) for i in tasks}
  placed = [
    schedule.Placement(np.array(rows[index]), degree, blocks[i] * degree)
    for i, index in enumerate(order)
  ]
  bound = workload.lower_bound(problem)
  return schedule.assemble(problem, placed, bound, f"static-{degree}")


def by_tokens(
  lengths: Sequence[int],
  num_devices: int,
  cost_model: costs.CostModel,
  memory_per_device: float,
) -> schedule.Assignment:
  """The smallest degree for every document, balanced by tokens alone.

  The naive scheduler of ByteScale (Ge et al., arXiv:2502.21231, algorithm 1),
  on aligned groups of powers of two: documents that fit on one device are
  packed into full rows, longer ones get as few devices as hold them, and every
  row goes to the devices with the fewest tokens. Arguments and errors are those
  of `planner.plan`.
  """
  problem = workload.make_workload(
    lengths, num_devices, cost_model, memory_per_device
  )
  tokens = np.zeros(num_devices)
  placed = []

  def put(documents, degree):
    block = int(tokens[::degree].argmin())
    devices = slice(block * degree, (block + 1) * degree)
    tokens[devices] += problem.lengths[documents].sum() / degree
    placed.append(schedule.Placement(documents, degree, block * degree))

  smallest = problem.degrees[np.isfinite(problem.times).argmax(axis=1)]
  for document in np.flatnonzero(smallest > 1).tolist():
    put(np.array([document]), int(smallest[document]))
  short = np.flatnonzero(smallest == 1)
  rows = schedule.best_fit(problem.lengths[short], problem.capacity)
  for row in sorted(rows, key=lambda row: -problem.lengths[short[row]].sum()):
    put(short[row], 1)
  bound = workload.lower_bound(problem)
  return schedule.assemble(problem, placed, bound, "packing")
