"""Counted n-grams beside a plain program, and in the corpus of a task."""

import collections
import types

import numpy as np
import pytest

from jaxseq.tasks.language import baselines as text_baselines


def _plain(train, text, size, order):
  """The same numbers, one token after the other."""
  follows = collections.defaultdict(collections.Counter)
  for length in range(order + 1):
    for i in range(length, len(train)):
      follows[tuple(train[i - length : i])][train[i]] += 1
  bits = []
  for i, token in enumerate(text):
    probability = 1 / size
    for length in range(min(order, i) + 1):
      seen = follows.get(tuple(text[i - length : i]))
      if seen is not None:
        kinds, total = len(seen), sum(seen.values())
        probability = (seen[token] + kinds * probability) / (total + kinds)
    bits.append(-np.log2(probability))
  return np.mean(bits)


def test_bits_are_those_of_a_plain_program():
  rng = np.random.default_rng(0)
  train, text = rng.integers(0, 4, 300), rng.integers(0, 5, 80)
  found = text_baselines.witten_bell(train.astype(np.uint8), text, 5)
  wanted = [_plain(train.tolist(), text.tolist(), 5, n) for n in range(6)]
  np.testing.assert_allclose(found, wanted)
  # Every probability is one of a distribution.
  each = [
    text_baselines.witten_bell(train, np.array([2, 1, 3, one]), 5)
    for one in range(5)
  ]
  before = text_baselines.witten_bell(train, np.array([2, 1, 3]), 5)
  last = 2 ** -(4 * np.array(each)[:, 2] - 3 * before[2])
  assert last.sum() == pytest.approx(1)


def test_contexts_are_as_long_as_their_codes_allow():
  tokens = np.arange(100) * 1000
  assert len(text_baselines.witten_bell(tokens, tokens, 2**17)) == 3
  assert len(text_baselines.witten_bell(tokens[:2], tokens, 2**17)) == 2


def test_rows_have_the_columns_of_the_table():
  def part(count):
    return types.SimpleNamespace(tokens=np.arange(count, dtype=np.uint8) % 3)

  corpus = types.SimpleNamespace(
    train=part(60), valid=part(20), test=part(30), vocab_size=256
  )
  rows = text_baselines.rows(corpus, "test")
  assert list(rows) == ["frequencies", "n-grams (Witten-Bell), order 5"]
  assert rows["frequencies"]["test_bits"] > 1.58
  assert rows["n-grams (Witten-Bell), order 5"]["test_bits"] < 1.5
  (levels,) = {tuple(x) for x in text_baselines.rows(corpus, "valid").values()}
  assert levels == ("bits_per_token",)
