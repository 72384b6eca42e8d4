"""One degree for all documents; the largest is the stream.

For a recurrent mixer a row over all devices is a stream: documents one behind
the other, cut into equal pieces wherever that falls, with the state reset at
their starts. Equal tokens are equal time there, so only the exchange of states
and the rows that memory asks for come on top of the even share.
"""

from jaxseq import _validate
from jaxseq.planner import schedule
from jaxseq.planner import workload


def homogeneous(
  problem: workload.Workload, degree: int
) -> list[schedule.Placement]:
  """Spreads single documents over groups of `degree`, then packs each group's.

  Returns placements of one row each; a ValueError if the longest document does
  not fit on such a group.
  """
  if problem.lengths[0] > problem.capacity * degree:
    name, got = f"lengths[{problem.order[0]}]", int(problem.lengths[0])
    most = f"at most {degree} * {problem.capacity} tokens"
    raise _validate.error(name, got, f"{most}, the memory of a group")
  shares = problem.shares[:, degree.bit_length() - 1].tolist()
  members, _ = schedule.spread(shares, [0.0] * (problem.num_devices // degree))
  placements = [
    schedule.Placement(documents, degree, block * degree)
    for block, documents in enumerate(members)
    if documents
  ]
  return schedule.pack(problem, placements)
