"""Lines of work: what they say of themselves fits what they evaluate."""

import dataclasses
import importlib

import numpy as np
import pytest

from experiments.documents import document_plans
from experiments.synthetic import task as synthetic
from jaxseq import data
from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.tasks import events
from jaxseq.tasks import forecasting
from jaxseq.tasks import task

LINES = {
  name: f"jaxseq.tasks.{name}"
  for name in (
    *("classification", "regression", "forecasting", "events"),
    *("language", "decision", "recommendation"),
  )
} | {"synthetic": "experiments.synthetic.task"}


def comparison(**options):
  network = {
    "stack": {"mixer": "gru", "d_model": 4, "num_layers": 1},
    "pooling": "mean",
  }
  return base.DataComparison(
    arms={"a": {}, "b": {"batch_size": 4}},
    data="digits",
    network=network,
    batch_size=8,
    **options,
  )


@pytest.mark.parametrize("name", LINES)
def test_every_line_of_work_describes_itself(name):
  line = importlib.import_module(LINES[name]).TASK
  assert isinstance(line, task.Task)
  assert line.name == name
  assert issubclass(line.arm, base.ArmConfig)
  metrics = (line.metric, f"test_{line.metric}", "test_bits")
  assert set(metrics) & set(line.columns)


def test_arms_of_a_comparison():
  splits = data.load("digits")
  config = comparison()
  line = classification.TASK.of(splits)
  arms = line.arms(config, line.source(splits))
  assert [arm.examples for arm in arms.values()] == [8, 4]
  assert {arm.unit for arm in arms.values()} == {"sequences"}
  assert arms["a"].better == "higher"
  assert arms["a"].figures.keywords == {"classes": splits.info.classes}
  with pytest.raises(ValueError, match="batch_size: got 0"):
    classification.TASK.arms(
      dataclasses.replace(config, arms={"c": {"batch_size": 0}}), splits
    )


def test_columns_are_those_that_the_data_have():
  splits = data.load("hawkes", train=20, valid=10, test=10)
  assert list(events.TASK.of(splits).columns) == [
    *("nll", "nll_gap", "nll_gap_coarse", "standard_error", "ks_p"),
    *("rmse", "accuracy"),
  ]
  unknown = splits._replace(
    test=splits.test._replace(
      extras=splits.test.extras._replace(log_density=None, tail=None)
    )
  )
  assert "nll_gap" not in events.TASK.of(unknown).columns
  signals = synthetic.TASK.of(synthetic.Source("delay", {}))
  assert (signals.metric, signals.kind) == ("test_loss", "")


def test_a_wrong_direction_is_named():
  with pytest.raises(ValueError, match="better: got 'more'"):
    dataclasses.replace(classification.TASK, better="more")


@pytest.mark.parametrize(
  ("name", "field"),
  [("forecasting", "channels"), ("regression", "gaps"), ("synthetic", "reads")],
)
def test_options_are_checked_whoever_builds_the_arm(name, field):
  line = importlib.import_module(LINES[name]).TASK
  with pytest.raises(
    ValueError, match=f"{field}: got 'joint', expected one of"
  ):
    line.arm(**{field: "joint"})


def test_a_plan_of_documents_has_a_known_method():
  with pytest.raises(ValueError, match="method: got 'lptt', expected one of"):
    document_plans.PlanConfig(method="lptt")


def test_without_a_validation_part_the_test_part_is_watched():
  """One rule for all: nothing else changes, but nothing can stop early."""
  splits = data.load("hawkes", train=20, valid=10, test=10)
  series = forecasting.Spans(*np.zeros((3, 30, 1), np.float32), 4, 2)
  cases = [
    (events.TASK, splits, splits._replace(valid=None)),
    (forecasting.TASK, series, series._replace(valid=None)),
  ]
  pooling = {"events": "none", "forecasting": "last"}
  for line, whole, without in cases:
    config = dataclasses.replace(
      comparison(),
      network={
        "stack": {"mixer": "gru", "d_model": 4, "num_layers": 1},
        "pooling": pooling[line.name],
      },
    )
    parts = [line.arms(config, source)["a"].part for source in (whole, without)]
    assert parts == ["validation", "test"], line.name
    with pytest.raises(ValueError, match="there is no validation part"):
      line.arms(dataclasses.replace(config, early_stopping=1), without)
