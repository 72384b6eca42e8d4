"""Training on documents of very different lengths, over many devices.

  assignment = planner.plan(lengths, 8, cost_model, memory_per_device)

says which group of devices works on which documents, so that a step takes
little more time than it must; `jaxseq.planner.rows` lays the tokens out,
`mixed_lengths` runs them, and `planned` trains on them. Plans change the time
of a step, not its gradient. But for these two nothing here imports jax.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.planner import baselines as baselines
  from jaxseq.planner import costs as costs
  from jaxseq.planner import lpt as lpt
  from jaxseq.planner import milp as milp
  from jaxseq.planner import mixed_lengths as mixed_lengths
  from jaxseq.planner import planned as planned
  from jaxseq.planner import planning as planning
  from jaxseq.planner import rows as rows
  from jaxseq.planner import schedule as schedule
  from jaxseq.planner import workload as workload
  from jaxseq.planner.costs import CostModel as CostModel
  from jaxseq.planner.costs import gpt_7b as gpt_7b
  from jaxseq.planner.planning import plan as plan
  from jaxseq.planner.schedule import Assignment as Assignment
  from jaxseq.planner.schedule import Row as Row
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
