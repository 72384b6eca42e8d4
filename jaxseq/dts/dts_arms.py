"""Arms of comparisons of codes: trained as supervised ones, then scored."""

from collections.abc import Mapping
from collections.abc import Sequence

from jaxseq import data
from jaxseq.dts import code_report
from jaxseq.dts import downstream
from jaxseq.dts import problem
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.devices import processes

# Results in the table, as far as there are any, to their headings.
COLUMNS = {
  "valid_accuracy": "source",
  "test_accuracy": "target",
  **{name: name for name in ("nll", "kl", "mi", "tc", "dwkl", "gap", "active")},
  **{name: name for name in (*code_report.SHORT, *downstream.SCORES)},
}


def make_arms(
  configs: Mapping[str, problem.ArmConfig],
  splits: data.Splits,
  *,
  num_updates: int,
  metric: str,
  trees: int = 0,
  downstream_tasks: Sequence[str] = (),
  labeled: int = 1000,
  early_stopping: int = 0,
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm; those that differ in weights alone share a program.

  Args:
    configs: of the arms.
    splits: the windows.
    num_updates: of the whole run.
    metric: what the progress bar and the learning curve show.
    trees: of DCI's boosting, see `code_report.arm`.
    downstream_tasks: see `downstream.scores`, as for `labeled`.
    labeled: of so many training windows the labels are known.
    early_stopping: see `supervised_arms.Supervised`.

  Raises:
    ValueError: an option is wrong.
  """

  def scores_of(arm):
    def scores(program, variables, directory, trained):
      del program
      draw = trained and processes.is_first()
      parts = arm, splits, variables, directory
      row = code_report.arm(*parts, trees=trees, draw=draw)
      options = {"labeled": labeled, "draw": draw}
      return row | downstream.scores(downstream_tasks, *parts, **options)

    return scores

  better = None
  if metric in ("nll", "neg_elbo", "test_accuracy"):
    better = "higher" if metric == "test_accuracy" else "lower"
  stacks = [problem.stack_of(arm) for arm in configs.values()]
  arms_by_name = {}
  for (name, arm), stack in zip(configs.items(), stacks):
    shared = stack is not None and stacks.count(stack) > 1
    windows = problem.Problem(arm, splits, num_updates, traced_weights=shared)
    arms_by_name[name] = supervised_arms.Arm(
      windows,
      problem.make_optimizer(arm, num_updates),
      metric=windows.watched(metric),
      examples=arm.batch_size,
      unit="windows",
      stack=stack if shared else None,
      more=scores_of(arm),
      part=windows.part,
      better=better,
    )
    if early_stopping:
      arms_by_name[name].rule(early_stopping)
  return arms_by_name
