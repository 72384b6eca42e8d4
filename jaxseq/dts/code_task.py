"""Codes of windows as a line of work, see `jaxseq.tasks.task`."""

from jaxseq.dts import problem
from jaxseq.tasks import task

TASK = task.Task(
  name="codes",
  arm=problem.ArmConfig,
  problem=lambda arm, splits, config: problem.Problem(
    arm, splits, config.num_updates
  ),
  optimizer=problem.make_optimizer,
  metric="neg_elbo",
  better="lower",
  unit="windows",
  columns={"neg_elbo": "-ELBO", "nll": "-log p(x|z)", "kl": "KL"},
  kind="codes",
)
