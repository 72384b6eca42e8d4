"""Lower bounds of the time of a step, whatever the plan.

A document of degree d holds d devices for its computing and its exchange. What
a row costs beside that is counted by the tokens the document takes of a full
row, since rows may be shared; a document's own row lasts at least as long as
the document alone.
"""

import numpy as np

from jaxseq.planner import workload


def simple(problem: workload.Workload) -> float:
  """LB1, seconds: all work spread evenly, or the longest document at best."""
  spread = problem.shares.min(axis=1).sum() / problem.num_devices
  return float(max(spread, problem.times.min(axis=1).max()))


def by_bisection(problem: workload.Workload, iterations: int = 60) -> float:
  """LB2: the smallest T at which the work that T leaves fits into T.

    sum_k min {shares_kd : times_kd <= T} / num_devices <= T

  A step of T seconds needs a degree of at most T seconds for each document, and
  a small T asks for high degrees, which waste more. The sum falls as T grows.
  Returns seconds, at least LB1: the lower end of what so many halvings leave.
  """

  def wasted(limit):
    shares = np.where(problem.times <= limit, problem.shares, np.inf)
    return shares.min(axis=1).sum() / problem.num_devices > limit

  low = simple(problem)
  if not wasted(low):
    return low
  high = max(float(problem.times.min(axis=1).max()), low)
  while wasted(high):
    high *= 2
  for _ in range(iterations):
    middle = (low + high) / 2
    if wasted(middle):
      low = middle
    else:
      high = middle
  return low
