"""The size of a network follows from that of the data."""

import dataclasses

import numpy as np
import pytest

from jaxseq import data
from jaxseq.programs import classify
from jaxseq.tasks import classification
from jaxseq.tasks import forecasting
from jaxseq.tasks import sizes


@pytest.mark.parametrize(
  ("count", "width", "layers"),
  [(1, 16, 1), (999, 16, 1), (1_000, 32, 1), (19_999, 32, 1), (20_000, 64, 2)],
)
def test_the_more_there_is_the_wider_it_is(count, width, layers):
  size = sizes.of(count)
  assert (size.d_model, size.num_layers) == (width, layers)
  told = sizes.described(count, size, {})
  assert f"({count:,} to learn from): width {width}, {layers} layer" in told


def _splits(count, tokens=False):
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(count, 5, 2)).astype(np.float32)
  if tokens:
    inputs = np.int32(inputs[..., 0] > 0)
  part = data.ArrayDataset(inputs, rng.integers(0, 2, count).astype(np.int32))
  info = data.Info(
    "Made", "memory", "", num_classes=2, vocab_size=2 if tokens else None
  )
  return data.Splits(part, part, part, info)


def test_elements_and_examples_of_the_training_part_are_counted():
  splits = _splits(30)
  assert sizes.elements(splits) == 150
  assert sizes.elements(_splits(30, tokens=True)) == 150
  assert sizes.examples(splits) == 30
  lengths = np.full(30, 2)
  some = splits._replace(train=splits.train._replace(lengths=lengths))
  assert sizes.elements(some) == 60
  values = np.zeros((7, 3), np.float32)
  spans = forecasting.Spans(values, None, values, 2, 1)
  assert forecasting.TASK.count(spans) == 21


def _arm(splits, by_size=True, **stack):
  config = classify.Config(
    arms={"a": {}},
    data="table",
    by_size=by_size,
    network={"stack": {"mixer": "gru", **stack}, "pooling": "mean"},
    batch_size=4,
  )
  (arm,) = classification.TASK.arms(config, splits).values()
  return arm.problem.arm


def test_what_the_config_sets_stays():
  arm = _arm(_splits(30))
  assert arm.network.stack.d_model == 16
  assert arm.network.stack.dropout == 0.1
  assert arm.network.summaries
  assert arm.optimizer.learning_rate == 2e-3
  arm = _arm(_splits(30), d_model=8)
  assert (arm.network.stack.d_model, arm.network.stack.num_layers) == (8, 1)
  plain = _arm(_splits(30), by_size=False)
  assert not plain.network.summaries
  assert plain == dataclasses.replace(plain, optimizer=type(plain.optimizer)())


@pytest.mark.parametrize(("few", "tokens"), [(True, False), (False, True)])
def test_few_series_and_tokens_begin_anywhere(few, tokens):
  arm = _arm(_splits(19 if few else 30, tokens))
  assert not arm.network.summaries
