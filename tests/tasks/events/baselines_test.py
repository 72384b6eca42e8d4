"""Rows of events that need no network, and networks that begin at shares."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.data import sources
from jaxseq.data.sources import events as event_sources
from jaxseq.tasks import events
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import baselines as event_baselines
from jaxseq.tasks.events import event_sequences

ARM = event_arms.ArmConfig(
  nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1)),
  batch_size=4,
  components=8,
  from_shares=True,
)


def _splits(count=60, rate=2.0, until=10.0, seed=0, marks=True):
  """Streams of a constant rate, and marks that mean nothing."""
  rng = np.random.default_rng(seed)
  gaps = rng.exponential(1 / rate, (count, 80))
  times = [x[x < until] for x in gaps.cumsum(axis=1)]
  kinds = ("a", "b") if marks else ("a",)
  share = (0.8, 0.2) if marks else (1.0,)
  words = [rng.choice(kinds, len(x), p=share) for x in times]
  source = sources.EventSource.of_arrays(times, kinds, until)
  part = source.prepare([list(map(str, x)) for x in words], times=times)
  third = count // 3
  parts = [
    data.take(part, np.arange(i * third, (i + 1) * third)) for i in range(3)
  ]
  info = data.Info(
    "made",
    "memory",
    "",
    num_classes=len(kinds),
    horizon=until,
    preparation=source,
  )
  return data.Splits(*parts, info)


def test_rows_of_a_constant_rate():
  splits = _splits()
  rows = event_baselines.baselines(splits, "test")
  # Half the logarithm of the rate, and the entropy of the marks.
  entropy = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
  expected = 1 - np.log(2.0) + entropy
  assert abs(rows["Poisson"]["nll"] - expected) < 0.15
  assert abs(rows["Poisson"]["coverage"] - 0.9) < 0.04
  # The mean distance of an exponential gap from its median is half of ln 4.
  assert abs(rows["Poisson"]["median_error"] - np.log(2) / 2) < 0.05
  assert abs(rows["most frequent"]["accuracy"] - 0.8) < 0.05
  # Nothing excites anything: it comes to the same.
  assert abs(rows["Hawkes"]["nll"] - rows["Poisson"]["nll"]) < 0.05
  assert rows["Hawkes"]["accuracy"] == rows["most frequent"]["accuracy"]
  valid = event_baselines.baselines(splits, "valid", hawkes=False)
  assert set(valid) == {"Poisson", "most frequent"}


def test_the_poisson_row_by_hand():
  splits = _splits(3, marks=False)
  train = event_sequences.sequences(splits.train)
  test = event_sequences.sequences(splits.test)
  rate = int(train.lengths.sum()) / 10
  count = int(test.lengths.sum())
  nll = -(count * np.log(rate) - rate * 10) / count
  row = event_baselines.baselines(splits, "test", hawkes=False)["Poisson"]
  assert row["nll"] == pytest.approx(nll, rel=1e-6)


def test_a_hawkes_process_is_seen_where_events_excite_others():
  made = data.load("hawkes", train=60, valid=4, test=30, horizon=40.0)
  rows = event_baselines.baselines(made, "test")
  true = events.TASK.baselines(made, None, "test")["true process"]["nll"]
  assert true - 0.02 < rows["Hawkes"]["nll"] < rows["Poisson"]["nll"] - 0.05
  assert rows["Hawkes"]["nll"] < true + 0.05


def test_a_network_begins_with_what_counting_knows():
  splits = _splits()
  problem = events.Problem(ARM, splits)
  variables = jax.jit(problem.init)(jax.random.key(0))
  metrics = jax.jit(problem.measure)(variables, problem.data["test"])
  row = event_baselines.baselines(splits, "test")["Poisson"]
  assert abs(metrics["nll"] - row["nll"]) < 0.06
  assert abs(metrics["median_error"] - row["median_error"]) < 0.02
  assert abs(metrics["coverage"] - row["coverage"]) < 0.05
  # Whatever the past was, it says the same.
  test = event_sequences.sequences(splits.test)
  asked = np.ones((len(test.gaps), test.gaps.shape[1] + 1))
  logits = problem.network.apply(variables, test, asked).mark_logits
  np.testing.assert_allclose(logits, logits[:1, :1] + 0 * logits, rtol=1e-5)


def test_columns_have_their_unit():
  splits = _splits()
  source = event_sources.EventSource(unit="minute", start="2024-01-01")
  info = dataclasses.replace(splits.info, preparation=source)
  splits = splits._replace(info=info)
  columns = events.TASK.of(splits).columns
  assert columns["median_error"] == "error of the median (minutes)"
  assert "rmse" not in columns


def test_another_head_does_not_begin_so():
  with pytest.raises(ValueError, match="from_shares: got True, expected False"):
    event_arms.ArmConfig(head="intensity", from_shares=True)
