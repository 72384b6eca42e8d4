"""The choice of blocks as a mixed-integer linear programme, by HiGHS.

A device's time is the sum over the blocks above it (see `schedule`), so that
the makespan is linear in the choice:

  min T   s.t.   sum_{d,b} x_kdb = 1                          long documents k
                 sum_{k,d,b over g} t_kd x_kdb + y_g <= T       every device g
                 sum_g y_g = time of all short documents,  y_g >= 0

with x binary for long documents on aligned blocks, and the short ones as
continuous work, which is spread by LPT afterwards.
"""

import numpy as np
from scipy import optimize
from scipy import sparse

from jaxseq.planner import lpt
from jaxseq.planner import schedule
from jaxseq.planner import workload

# Where all documents on all blocks are few, none is short.
MOST_EXACT = 100


def solve(
  problem: workload.Workload,
  lower_bound: float,
  upper_bound: float,
  time_limit: float | None = None,
) -> list[schedule.Placement] | None:
  """Searches for a plan of less than `upper_bound` seconds, of a known one.

  `time_limit` seconds, or until it is proved. Returns placements of one row
  each; None if nothing was found.
  """
  blocks = [
    (column, block)
    for column, degree in enumerate(problem.degrees.tolist())
    for block in range(problem.num_devices // degree)
  ]
  long = lpt.is_long(problem, lower_bound)
  if len(problem.lengths) * len(blocks) <= MOST_EXACT:
    long = np.ones_like(long)
  times = problem.times
  # Larger degrees that are no faster than a smaller one never help.
  useful = np.isfinite(times)
  useful[:, 1:] &= times[:, 1:] < np.minimum.accumulate(times, axis=1)[:, :-1]
  choices = [
    (document, column, block)
    for document in np.flatnonzero(long).tolist()
    for column, block in blocks
    if useful[document, column] and times[document, column] <= upper_bound
  ]
  short_work = problem.shares[~long, 0].sum()
  result = _milp(
    problem, long, choices, short_work, (lower_bound, upper_bound), time_limit
  )
  if result.x is None:
    return None
  chosen = np.flatnonzero(result.x[: len(choices)] > 0.5)
  return _round(problem, long, [choices[i] for i in chosen.tolist()])


def _milp(problem, long, choices, short_work, bounds, time_limit):
  """Columns: the choices, y of every device, T."""
  devices, count = problem.num_devices, len(choices)
  documents = np.flatnonzero(long)
  place_of = {d: i for i, d in enumerate(documents.tolist())}
  once = sparse.lil_matrix((len(documents), count + devices + 1))
  load = sparse.lil_matrix((devices, count + devices + 1))
  for i, (document, column, block) in enumerate(choices):
    once[place_of[document], i] = 1
    degree = int(problem.degrees[column])
    devices_of = slice(block * degree, (block + 1) * degree)
    load[devices_of, i] = problem.times[document, column]
  load[:, count : count + devices] = sparse.eye(devices)
  load[:, -1] = -1
  spread = np.zeros((1, count + devices + 1))
  spread[0, count : count + devices] = 1
  constraints = [
    optimize.LinearConstraint(load.tocsr(), -np.inf, 0),
    optimize.LinearConstraint(spread, short_work, short_work),
  ]
  if count:
    constraints.append(optimize.LinearConstraint(once.tocsr(), 1, 1))
  low, high = np.zeros(count + devices + 1), np.ones(count + devices + 1)
  high[count:] = np.inf
  # Rounding errors must not cut the known plan off.
  low[-1], high[-1] = bounds[0] * (1 - 1e-9), bounds[1] * (1 + 1e-9)
  goal = np.zeros(count + devices + 1)
  goal[-1] = 1
  options = {} if time_limit is None else {"time_limit": time_limit}
  return optimize.milp(
    goal,
    integrality=np.arange(len(goal)) < count,
    bounds=optimize.Bounds(low, high),
    constraints=constraints,
    options=options,
  )


def _round(problem, long, chosen):
  """Keeps the blocks of long documents, adds the short ones by LPT."""
  loads = np.zeros(problem.num_devices)
  placements = []
  alone = [[] for _ in range(problem.num_devices)]
  for document, column, block in chosen:
    degree = int(problem.degrees[column])
    devices = slice(block * degree, (block + 1) * degree)
    loads[devices] += problem.times[document, column]
    if column:
      placements.append(schedule.Placement([document], degree, block * degree))
    else:
      alone[block].append(document)
  short = np.flatnonzero(~long)
  members, _ = schedule.spread(
    problem.shares[short, 0].tolist(), loads.tolist()
  )
  for device, (documents, tasks) in enumerate(zip(alone, members)):
    documents += short[tasks].tolist()
    if documents:
      placements.append(schedule.Placement(documents, 1, device))
  return schedule.pack(problem, placements)
