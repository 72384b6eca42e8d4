"""Mixers of equal size on a data set, or on a sampled task."""

import pytest

from experiments.compare import program
from jaxseq.programs import compare
from jaxseq.tasks import budget

ARMS = {
  mixer: {"network": {"stack": {"mixer": mixer, "num_layers": 1}}}
  for mixer in ("gru", "s5")
}
NETWORK = {"stack": {"d_model": 8}, "pooling": "none"}
COPYING = {"blanks": 2, "memorise": 2, "vocab_size": 6}


def config(**options):
  return program.Config(
    ARMS,
    kind="synthetic",
    task="copying",
    network=NETWORK,
    batch_size=4,
    budget=4000,
    **options,
  )


def test_widths_fit_the_budget_on_sampled_tasks():
  work = program.work(config(task_options=COPYING), None)
  for arm in work.arms.values():
    stack = arm.problem.network.config
    count = budget.count_parameters(stack, 6, 6, 1)
    assert 2000 < count < 6000
    assert arm.problem.task == "copying"
  assert list(work.options["columns"])[0] == "d_model"


def test_signals_have_no_accuracy_to_compare():
  wrong = program.Config(
    ARMS, kind="synthetic", task="delay", network=NETWORK, batch_size=4
  )
  with pytest.raises(ValueError, match="task: got 'delay', expected a task on"):
    program.work(wrong, None)


def test_the_library_compares_on_data_sets():
  with pytest.raises(ValueError, match="kind: got 'synthetic', expected"):
    compare.Config(ARMS, kind="synthetic", task="copying")
