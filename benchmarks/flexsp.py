"""FlexSP's own programme: groups for the whole step, bucketed counts.

Wang et al., arXiv:2412.01523, equations 17 to 22: every device belongs to one
group; m_p tells whether virtual group p of a fixed degree exists, n_qp how many
documents of bucket q it gets, each as long as the bucket's longest:

  min T   s.t.   sum_q t(bound_q, d_p) n_qp <= T          every group p
                 sum_q n_qp <= documents m_p              every group p
                 sum_p d_p m_p <= devices
                 sum_p n_qp = size_q                      every bucket q

To compare with; `planner.plan` lets a device change its group within a step,
counts no bucket, and is faster. There is no row for memory here: what a group
gets is packed into rows that fit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy import sparse

from jaxseq.planner import costs
from jaxseq.planner import schedule
from jaxseq.planner import workload


class Buckets(NamedTuple):
  """Documents by rising length, in consecutive buckets.

  Attributes:
    members: for every bucket the indices of its documents, by rising length.
    bounds: (buckets,) int64, the length that stands for each: its longest.
    error: tokens that rounding up to the bounds adds.
  """

  members: list[np.ndarray]
  bounds: np.ndarray
  error: int


def plan(
  lengths: Sequence[int],
  num_devices: int,
  cost_model: costs.CostModel,
  memory_per_device: float,
  *,
  num_buckets: int = 16,
  time_limit: float | None = None,
) -> schedule.Assignment | None:
  """Solves FlexSP's programme with HiGHS.

  Args:
    lengths: (documents,) tokens of each document.
    num_devices: number of devices, a power of two.
    cost_model: seconds and bytes.
    memory_per_device: bytes.
    num_buckets: how many buckets at most.
    time_limit: seconds to search; until it is proved if None.

  Returns:
    The assignment, with the true lengths' times; None if nothing was found.

  Raises:
    ValueError: as `planner.plan`.
  """
  problem = workload.make_workload(
    lengths, num_devices, cost_model, memory_per_device
  )
  buckets = bucket(problem.lengths, num_buckets)
  # The longest of a bucket stands for it, and is the last of its members.
  longest = np.array([members[-1] for members in buckets.members])
  sizes = np.array([len(members) for members in buckets.members])
  columns = np.repeat(
    np.arange(len(problem.degrees)), num_devices // problem.degrees
  )
  seconds = problem.shares[longest] / problem.degrees
  counts = _solve(problem, seconds[:, columns], sizes, columns, time_limit)
  if counts is None:
    return None
  placements = _deal(problem, buckets.members, counts, columns)
  bound = workload.lower_bound(problem)
  rows = schedule.pack(problem, placements)
  return schedule.assemble(problem, rows, bound, "flexsp")


def _solve(problem, seconds, sizes, columns, time_limit):
  """Returns n (buckets, groups) or None; seconds is (buckets, groups)."""
  buckets, groups = seconds.shape
  fits = np.isfinite(seconds)
  seconds = np.where(fits, seconds, 0)
  # Columns of the programme: n by bucket, m, T.
  identity = sparse.eye(groups)
  times = sparse.hstack(
    [sparse.diags(row) for row in seconds]
    + [sparse.csr_matrix((groups, groups)), -np.ones((groups, 1))]
  )
  exists = sparse.hstack(
    [identity] * buckets
    + [-sizes.sum() * identity, sparse.csr_matrix((groups, 1))]
  )
  zeros = sparse.csr_matrix((1, buckets * groups))
  devices = sparse.hstack(
    [zeros, problem.degrees[columns][None].astype(float), [[0.0]]]
  )
  every = sparse.hstack(
    [
      sparse.kron(sparse.eye(buckets), np.ones((1, groups))),
      sparse.csr_matrix((buckets, groups + 1)),
    ]
  )
  high = np.concatenate(
    [np.where(fits, sizes[:, None], 0).ravel(), np.ones(groups), [np.inf]]
  )
  goal = np.zeros(len(high))
  goal[-1] = 1
  options = {} if time_limit is None else {"time_limit": time_limit}
  result = optimize.milp(
    goal,
    integrality=np.arange(len(high)) < len(high) - 1,
    bounds=optimize.Bounds(0, high),
    constraints=[
      optimize.LinearConstraint(times, -np.inf, 0),
      optimize.LinearConstraint(exists, -np.inf, 0),
      optimize.LinearConstraint(devices, -np.inf, problem.num_devices),
      optimize.LinearConstraint(every, sizes, sizes),
    ],
    options=options,
  )
  if result.x is None:
    return None
  counts = result.x[: buckets * groups].reshape(buckets, groups)
  return np.round(counts).astype(int)


def _deal(problem, members, counts, columns):
  """Gives every group its number of documents, and its devices.

  Groups by falling degree, side by side, are aligned.
  """
  queues = [list(documents) for documents in members]
  placements, first_device = [], 0
  for group in np.argsort(-columns, kind="stable").tolist():
    documents = [
      queue.pop()
      for queue, count in zip(queues, counts[:, group])
      for _ in range(count)
    ]
    if documents:
      degree = int(problem.degrees[columns[group]])
      placements.append(schedule.Placement(documents, degree, first_device))
      first_device += degree
  return placements


def bucket(lengths: Sequence[int], num_buckets: int) -> Buckets:
  """Cuts the sorted documents so that rounding up adds the fewest tokens.

    err[k][q] = min_{j<k} err[j][q-1] + sum_{i=j+1..k} (s_k - s_i)

  FlexSP, equations 15 and 16; O(documents^2 num_buckets).

  Args:
    lengths: (documents,) tokens of each document.
    num_buckets: how many buckets at most; fewer if there are fewer documents.

  Returns:
    The buckets.
  """
  order = np.argsort(lengths, kind="stable")
  lengths = np.asarray(lengths, np.int64)[order]
  sums = np.concatenate([[0], np.cumsum(lengths)])

  def costs(k, best):
    j = np.arange(k)
    added = lengths[k - 1] * (k - j) - (sums[k] - sums[:k])
    return best[:k] + added

  cuts, error = _cut(len(lengths), num_buckets, costs)
  members = [order[i:j] for i, j in zip(cuts, cuts[1:])]
  return Buckets(members, lengths[np.array(cuts[1:]) - 1], int(error))


def _cut(count, pieces, costs):
  """Cuts 0 .. count into at most `pieces` pieces, none empty.

  `costs(k, best)` are the costs of the first k elements if the last piece
  begins at j, for j = 0 .. k - 1, where best[j] is that of the first j.
  Returns the ends of the pieces with a leading 0, and the cost.
  """
  best = np.full(count + 1, np.inf)
  best[0] = 0
  before = []
  for _ in range(min(pieces, count)):
    after, last = best.copy(), np.full(count + 1, -1)
    for k in range(1, count + 1):
      options = costs(k, best)
      j = int(options.argmin())
      # Where one piece more does not help, there is none.
      if options[j] < after[k]:
        after[k], last[k] = options[j], j
    before.append(last)
    best = after
  cuts = [count]
  for last in reversed(before):
    if last[cuts[0]] >= 0:
      cuts.insert(0, int(last[cuts[0]]))
  return cuts, best[count]
