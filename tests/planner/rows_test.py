"""Arrays of plans: every token once, nothing across documents, few shapes."""

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from jaxseq import planner
from jaxseq.planner import rows

CAPACITY = 16
COSTS = {
  "attention": planner.CostModel(
    "attention", 1.0, 0.05, exchange_bytes=1.0, row_overhead=1.0
  ),
  "recurrent": planner.CostModel(
    "recurrent", 1.0, row_overhead=1.0, state_bytes=1.0, bandwidths=(1.0,)
  ),
}


def make(kind, lengths, num_devices, chunks):
  # Tokens that tell their document and place.
  documents = [1000 * i + np.arange(n) + 1 for i, n in enumerate(lengths)]
  plan = planner.plan(lengths, num_devices, COSTS[kind], CAPACITY)
  uniform = kind == "attention"
  return documents, plan, rows.lay_out(plan, documents, chunks, uniform=uniform)


@hypothesis.given(strategies.data())
@hypothesis.settings(deadline=None, derandomize=True, max_examples=100)
def test_arrays_hold_every_document_once(data):
  num_devices = 2 ** data.draw(strategies.integers(0, 3))
  longest = data.draw(strategies.sampled_from([5, 16, 128]))
  lengths = data.draw(
    strategies.lists(
      strategies.integers(1, min(longest, CAPACITY * num_devices)),
      min_size=1,
      max_size=20,
    )
  )
  kind = data.draw(strategies.sampled_from(["attention", "recurrent"]))
  chunks = rows.chunk_sizes(CAPACITY)
  documents, _, batch = make(kind, lengths, num_devices, chunks)
  assert batch.num_targets == sum(n - 1 for n in lengths)
  seen = []
  for key, wave, active in zip(batch.keys, batch.waves, batch.active):
    np.testing.assert_array_equal(active, (wave.segment >= 0).any(axis=1))
    assert key.rows * key.sp_degree == num_devices
    assert key.row_length // key.sp_degree in chunks
    for array in wave:
      assert array.shape == (key.rows, key.row_length)
    check_wave(wave, documents, seen)
    check_borders(key, wave)
  assert sorted(seen) == list(range(len(lengths)))
  assert sum(wave.mask.sum() for wave in batch.waves) == batch.num_targets


def check_wave(wave, documents, seen):
  for row in range(len(wave.tokens)):
    for index in np.unique(wave.segment[row]):
      here = np.flatnonzero(wave.segment[row] == index)
      if index < 0:
        assert not wave.mask[row, here].any()
        assert not wave.tokens[row, here].any()
        continue
      seen.append(index)
      document = documents[index]
      np.testing.assert_array_equal(np.diff(here), 1)
      np.testing.assert_array_equal(wave.tokens[row, here], document)
      np.testing.assert_array_equal(wave.targets[row, here[:-1]], document[1:])
      assert wave.mask[row, here[:-1]].all()
      # No target across documents.
      assert not wave.mask[row, here[-1]]
      assert wave.reset[row, here[0]]
      assert not wave.reset[row, here[1:]].any()
      np.testing.assert_array_equal(
        wave.position[row, here], np.arange(len(here))
      )


def check_borders(key, wave):
  """Where the segment changes there is a reset, so that nothing goes on."""
  changes = wave.segment[:, 1:] != wave.segment[:, :-1]
  assert wave.reset[:, 1:][changes].all()
  assert wave.reset[:, 0].all()


def test_one_degree_in_a_wave_where_asked_for():
  rng = np.random.default_rng(0)
  lengths = [60, 30, 20, *rng.integers(1, 16, 20)]
  plan = planner.plan(lengths, 8, COSTS["recurrent"], CAPACITY)
  assert len({row.degree for row in plan.rows}) > 1
  documents = [np.zeros(n, int) for n in lengths]
  mixed, uniform = (
    rows.lay_out(plan, documents, [CAPACITY], uniform=uniform)
    for uniform in (False, True)
  )
  assert len(mixed.waves) < len(uniform.waves)
  degree_of = {i: row.degree for row in plan.rows for i in row.doc_ids}
  for key, wave in zip(uniform.keys, uniform.waves):
    segments = set(wave.segment.ravel().tolist()) - {-1}
    assert {degree_of[i] for i in segments} == {key.sp_degree}
  assert 0 < uniform.padding <= mixed.padding < 1


def test_uniform_waves_pad_each_row_by_itself():
  # Rows of 16 and of 3 tokens on two devices.
  row_list = [
    planner.Row((0,), (0,), 1, 0, 0.0),
    planner.Row((1,), (0,), 1, 1, 0.0),
  ]
  plan = planner.Assignment(row_list, np.ones(2), 1.0, 1.0, "by hand", 0.0)
  documents = [np.zeros(16, int), np.zeros(3, int)]
  mixed, uniform = (
    rows.lay_out(plan, documents, [4, 8, 16], uniform=uniform)
    for uniform in (False, True)
  )
  assert mixed.keys == [rows.Key(2, 16, 1)]
  assert uniform.keys == [rows.Key(2, 16, 1), rows.Key(2, 4, 1)]
  assert [active.tolist() for active in uniform.active] == [
    [True, False],
    [False, True],
  ]
  assert uniform.padding == 1 / 20
  assert mixed.padding == 13 / 32


def test_few_keys():
  keys = set()
  for seed in range(50):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 120, 20)
    chunks = rows.chunk_sizes(CAPACITY)
    keys |= set(make("recurrent", lengths, 8, chunks)[2].keys)
  # Degrees 1, 2, 4 and 8, chunks of 4, 8 and 16 tokens.
  assert len(keys) <= 12
  assert rows.chunk_sizes(CAPACITY) == (4, 8, 16)
  assert rows.chunk_sizes(3) == (1, 2, 3)


def test_bad_arguments_are_named():
  documents, plan, _ = make("recurrent", [5, 9], 2, [CAPACITY])
  with pytest.raises(ValueError, match="documents: got 1, expected the 2 of"):
    rows.lay_out(plan, documents[:1], [CAPACITY], uniform=False)
  with pytest.raises(ValueError, match="chunks: got .2,., expected 9 tokens"):
    rows.lay_out(plan, documents, [2], uniform=False)
  # Two in one row, which would lie one over the other.
  documents, plan, _ = make("recurrent", [5, 4], 1, [CAPACITY])
  message = r"documents\[0\]: got shape \(4,\), expected \(5,\), as in the plan"
  with pytest.raises(ValueError, match=message):
    rows.lay_out(plan, documents[::-1], [CAPACITY], uniform=False)
