"""Windows, splits and scaling of domain adaptation problems."""

import dataclasses

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies
import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import domains
from jaxseq.data.recordings import Recordings

_INFO = data.Info("", "", "", num_classes=3)


def recordings(lengths=(23, 4, 30, 17, 25, 40), subjects=(1, 1, 1, 2, 2, 7)):
  """Each value tells its recording and its place there."""
  series = [
    np.stack([np.full(n, i), np.arange(n)], -1).astype(float)
    for i, n in enumerate(lengths)
  ]
  count = len(lengths)
  return Recordings.of(
    series, {"label": np.arange(count) % 3, "subject": np.array(subjects)}
  )


@pytest.fixture
def cut():
  return domains.windows(recordings(), 8, 4)


@settings(max_examples=30, deadline=None)
@given(
  strategies.lists(strategies.integers(1, 30), min_size=1, max_size=4),
  strategies.integers(1, 9),
  strategies.integers(1, 9),
)
def test_windows_stay_inside_a_recording(lengths, length, step):
  made = recordings(lengths, [3] * len(lengths))
  if max(lengths) < length:
    with pytest.raises(ValueError, match=f"recording, {max(lengths)}\\."):
      domains.windows(made, length, step)
    return
  found = domains.windows(made, length, step)
  counts = [max(0, (n - length) // step + 1) for n in lengths]
  expected = [
    (i, k * step) for i, count in enumerate(counts) for k in range(count)
  ]
  extras = found.extras
  assert list(zip(extras.recording, extras.start)) == expected
  for window, (place, start) in zip(found.inputs, expected):
    assert np.all(window[:, 0] == place)
    np.testing.assert_array_equal(window[:, 1], start + np.arange(length))
  np.testing.assert_array_equal(found.targets, extras.recording % 3)
  assert found.inputs.dtype == np.float32


def test_runs_end_where_something_changes():
  keys = [np.array([1, 1, 1, 2, 2, 2, 2]), np.array([0, 0, 5, 5, 5, 5, 5])]
  np.testing.assert_array_equal(domains.runs(keys), [0, 2, 3])
  times = np.array([0, 1, 2, 3, 4, 9, 5])
  np.testing.assert_array_equal(domains.runs(keys, times, 2), [0, 2, 3, 5, 6])
  np.testing.assert_array_equal(domains.runs(keys, times, 5), [0, 2, 3])


def test_tails_share_nothing_with_what_comes_before(cut):
  first, second = domains._split_tails(cut, 0.4)
  place, start = cut.extras.recording, cut.extras.start
  for number in np.unique(place):
    early = start[first][place[first] == number]
    late = start[second][place[second] == number]
    every = start[place == number]
    assert len(late) == round(0.4 * len(every))
    np.testing.assert_array_equal(late, every[-len(late) :])
    assert early.max(initial=-8) + 8 <= late.min()
    # Windows overlap by half: one is lost.
    assert len(early) == len(every) - len(late) - 1


def test_adapt_hides_the_labels_of_the_target(cut):
  splits = domains.adapt(cut, "subject", (2, 7), 1, _INFO, scaling="none")
  source = domains.labeled(splits.train)
  target = domains.unlabeled(splits.train)
  assert set(source.extras.subject) == {2, 7}
  assert set(splits.valid.extras.subject) == {2, 7}
  assert set(target.extras.subject) == {1}
  assert np.all(target.targets == domains.UNLABELED)
  np.testing.assert_array_equal(target.inputs, splits.test.inputs)
  np.testing.assert_array_equal(
    splits.test.targets, cut.targets[cut.extras.subject == 1]
  )
  numbers = {2: 0, 7: 1, 1: 2}
  for part in splits[:3]:
    expected = [numbers[s] for s in part.extras.subject]
    np.testing.assert_array_equal(part.extras.domain, expected)
  chosen = splits.info.domains
  assert chosen.names == (2, 7, 1)
  assert chosen.num_sources == 2
  assert _INFO.domains is None
  # No window is in two parts.
  rows = [tuple(row.ravel()) for part in splits[:2] for row in part.inputs]
  assert len(set(rows)) == len(rows)


def test_what_is_held_out_is_not_trained_on(cut):
  splits = domains.adapt(cut, "subject", 2, 1, _INFO, held_out=0.4)
  seen = domains.unlabeled(splits.train).extras
  for number in np.unique(splits.test.extras.recording):
    late = splits.test.extras.start[splits.test.extras.recording == number]
    early = seen.start[seen.recording == number]
    assert early.max(initial=-8) + 8 <= late.min()
  alone = domains.adapt(cut, "subject", 2, 1, _INFO, unlabeled=False)
  assert alone.train.targets.min() >= 0
  np.testing.assert_array_equal(
    alone.train.inputs, domains.labeled(splits.train).inputs
  )
  assert domains.adapt(cut, "subject", 2, 1, _INFO, valid_fraction=0)[1] is None


def test_scaling_by_the_source_or_by_each_domain(cut):
  rng = np.random.default_rng(0)
  shifted = cut._replace(
    inputs=rng.normal(size=cut.inputs.shape).astype(np.float32)
    * (1 + cut.extras.subject)[:, None, None]
    + cut.extras.subject[:, None, None]
  )
  by_source = domains.adapt(shifted, "subject", 1, 7, _INFO)
  own = domains.adapt(shifted, "subject", 1, 7, _INFO, scaling="own")
  for splits in (by_source, own):
    values = domains.labeled(splits.train).inputs
    # Float32 sums over a hundred values.
    np.testing.assert_allclose(values.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(values.std((0, 1)), 1, atol=1e-5)
  values = domains.unlabeled(own.train).inputs
  np.testing.assert_allclose(values.mean((0, 1)), 0, atol=1e-5)
  np.testing.assert_allclose(values.std((0, 1)), 1, atol=1e-5)
  # About (7 - 1) / 2 and 8 / 2 by the statistics of subject 1.
  values = domains.unlabeled(by_source.train).inputs
  assert values.mean() > 2
  assert values.std() > 3
  # Neither validation nor test windows count.
  source = domains.labeled(by_source.train)
  raw = shifted.inputs[
    (shifted.extras.subject == 1)
    & np.isin(shifted.extras.recording, source.extras.recording)
  ]
  assert len(raw) > len(source.inputs)


def test_padding_counts_for_nothing():
  rng = np.random.default_rng(1)
  lengths = np.array([3, 9, 5, 9, 4, 9], np.int32)
  inputs = rng.normal(2, 3, (6, 9, 2)).astype(np.float32)
  inputs[np.arange(9) >= lengths[:, None]] = 0
  dataset = data.ArrayDataset(
    inputs,
    np.zeros(6, np.int32),
    lengths,
    data.Extras(user=np.array([0] * 5 + [1])),
  )
  splits = domains.adapt(dataset, "user", 0, 1, _INFO, valid_fraction=0)
  train = domains.labeled(splits.train)
  inside = np.arange(9) < train.lengths[:, None]
  np.testing.assert_allclose(train.inputs[inside].mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(train.inputs[inside].std(0), 1, atol=1e-6)
  assert np.all(train.inputs[~inside] == 0)


def test_stratified_holding(cut):
  options = {"holding": "stratified", "valid_fraction": 0.5}
  first = domains.adapt(cut, "subject", 1, 2, _INFO, **options)
  again = domains.adapt(cut, "subject", 1, 2, _INFO, **options)
  other = domains.adapt(cut, "subject", 1, 2, _INFO, seed=1, **options)
  np.testing.assert_array_equal(first.valid.inputs, again.valid.inputs)
  assert np.any(first.valid.inputs != other.valid.inputs)
  counts = np.bincount(cut.targets[cut.extras.subject == 1], minlength=3)
  found = np.bincount(first.valid.targets, minlength=3)
  np.testing.assert_array_equal(found, np.round(counts / 2))


def test_wrong_options_are_named(cut):
  def adapt(**options):
    options = {"by": "subject", "source": 1, "target": 2} | options
    return domains.adapt(cut, info=dataclasses.replace(_INFO), **options)

  with pytest.raises(
    ValueError, match="subject: got 3, expected one of 1, 2, 7"
  ):
    adapt(target=3)
  with pytest.raises(ValueError, match="at least one subject is needed"):
    adapt(source=())
  with pytest.raises(
    ValueError, match=r"got \(1, 2\) and \(2,\), expected different"
  ):
    adapt(source=(1, 2))
  with pytest.raises(
    ValueError,
    match="scaling: got 'target', expected one of 'source', 'own', 'none'",
  ):
    adapt(scaling="target")
  with pytest.raises(
    ValueError,
    match="holding: got 'random', expected one of 'tail', 'stratified'",
  ):
    adapt(holding="random")
  with pytest.raises(ValueError, match="fraction of 0.99 leaves one of two"):
    adapt(valid_fraction=0.99)
  with pytest.raises(
    ValueError, match="length: got 0, expected an integer of at least 1"
  ):
    domains.windows(recordings(), 0, 4)
