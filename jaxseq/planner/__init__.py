"""Training on documents of very different lengths, over many devices.

  assignment = planner.plan(lengths, 8, cost_model, memory_per_device)

says which group of devices works on which documents, so that a step takes
little more time than it must; `jaxseq.planner.rows` lays the tokens out, and
`jaxseq.training.mixed_lengths` runs them. Plans change the time of a step, not
its gradient. Nothing here imports jax.
"""

from jaxseq.planner.costs import CostModel
from jaxseq.planner.costs import gpt_7b
from jaxseq.planner.planning import plan
from jaxseq.planner.schedule import Assignment
from jaxseq.planner.schedule import Row

__all__ = ["Assignment", "CostModel", "Row", "gpt_7b", "plan"]
