"""The plan of one step: rows, groups of devices and their order."""

from collections.abc import Sequence
import operator

from jaxseq import validate
from jaxseq.planner import costs
from jaxseq.planner import lpt
from jaxseq.planner import milp
from jaxseq.planner import schedule
from jaxseq.planner import workload

METHODS = ("lpt", "milp", "stream")
_makespan = operator.attrgetter("makespan")


def plan(
  lengths: Sequence[int],
  num_devices: int,
  cost_model: costs.CostModel,
  memory_per_device: float,
  *,
  method: str = "lpt",
  time_limit: float | None = None,
) -> schedule.Assignment:
  """Assigns documents to aligned groups of devices so that the step is short.

  The same arguments give the same plan, unless a time limit ends "milp" early.
  The order of the documents matters only between equally long ones.

  Args:
    lengths: (documents,) tokens of each document.
    num_devices: number of devices, a power of two.
    cost_model: seconds and bytes.
    memory_per_device: bytes.
    method: "lpt": heuristic, milliseconds, with all homogeneous degrees as
      candidates beside it; "milp": refined by HiGHS, seconds to minutes, "lpt"
      where that is better; "stream": one degree, all devices, for recurrent
      mixers.
    time_limit: seconds for "milp"; until it is proved if None.

  Returns:
    The assignment. Its `method` is what found it: "lpt", "milp", "stream", or
    "homogeneous-D" where all groups have degree D.

  Raises:
    ValueError: if an argument is out of range, or if a document fits nowhere;
      the message names its index.
  """
  validate.choice("method", method, METHODS)
  if method == "stream" and cost_model.kind != "recurrent":
    expected = (
      "'recurrent' with method 'stream': attention pays for every token"
    )
    raise validate.error("cost_model.kind", cost_model.kind, expected)
  problem = workload.make_workload(
    lengths, num_devices, cost_model, memory_per_device
  )
  bound = workload.lower_bound(problem)
  if method == "stream":
    rows = _homogeneous(problem, num_devices)
    return schedule.assemble(problem, rows, bound, "stream")
  best = min(propose(problem, bound), key=_makespan)
  if method == "milp":
    rows = milp.solve(problem, bound, best.makespan, time_limit)
    if rows is not None:
      candidate = schedule.assemble(problem, rows, bound, "milp")
      best = min(best, candidate, key=_makespan)
  return best


def propose(
  problem: workload.Workload, bound: float
) -> list[schedule.Assignment]:
  """Returns the plan of LPT, then that of every degree that fits all documents.

  `bound` is the seconds that no plan can go below.
  """
  candidates = [
    schedule.assemble(problem, lpt.solve(problem, bound), bound, "lpt")
  ]
  for degree in problem.degrees.tolist():
    if problem.lengths[0] <= problem.capacity * degree:
      recurrent = problem.cost_model.kind == "recurrent"
      streams = recurrent and degree == problem.num_devices
      name = "stream" if streams else f"homogeneous-{degree}"
      rows = _homogeneous(problem, degree)
      candidates.append(schedule.assemble(problem, rows, bound, name))
  return candidates


def _homogeneous(
  problem: workload.Workload, degree: int
) -> list[schedule.Placement]:
  """Spreads documents over groups of one degree, then packs each group's."""
  # Over all devices, for a recurrent mixer, that is a stream: documents one
  # after another, cut into equal chunks at any token. Equal tokens take equal
  # time there, so the only costs beyond the even share are the exchange of
  # states and the rows that the memory limit requires.
  if problem.lengths[0] > problem.capacity * degree:
    name, got = f"lengths[{problem.order[0]}]", int(problem.lengths[0])
    most = f"at most {degree} * {problem.capacity} tokens"
    raise validate.error(name, got, f"{most}, the memory of a group")
  shares = problem.shares[:, degree.bit_length() - 1].tolist()
  members, _ = schedule.spread(shares, [0.0] * (problem.num_devices // degree))
  placements = [
    schedule.Placement(documents, degree, block * degree)
    for block, documents in enumerate(members)
    if documents
  ]
  return schedule.pack(problem, placements)
