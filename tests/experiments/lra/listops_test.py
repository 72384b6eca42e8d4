"""ListOps against the rule, evaluated by another program."""

import random
import statistics

import numpy as np
import pytest

from experiments.lra import listops
from jaxseq import data
from tests.data import hashing

_OPERATORS = {
  "[MIN": min,
  "[MAX": max,
  "[MED": lambda values: int(statistics.median(values)),
  "[SM": lambda values: sum(values) % 10,
}


def value(words):
  """The value of the expression at the front of a list, which it uses up."""
  word = words.pop(0)
  if word.isdigit():
    return int(word)
  values = []
  while words[0] != "]":
    values.append(value(words))
  words.pop(0)
  return _OPERATORS[word](values)


@pytest.fixture(scope="module")
def small():
  return data.load("listops", train=300, valid=50, test=100, cached=False)


def test_values_are_those_of_the_expressions(small):
  for part, count in ((small.train, 300), (small.valid, 50), (small.test, 100)):
    assert part.inputs.shape == (count, 199)
    for row, length, target in zip(part.inputs, part.lengths, part.targets):
      words = [listops.TOKENS[token] for token in row[:length]]
      assert value(words) == target
      assert words == []
      assert np.all(row[length:] == 0)
    assert part.lengths.min() > 50
    assert part.lengths.max() < 200


def test_all_operators_digits_and_widths_occur(small):
  assert set(np.unique(small.train.inputs)) == set(range(len(listops.TOKENS)))
  assert len(set(small.train.targets)) == 10
  counts = np.bincount(small.test.targets)
  assert small.info.baselines["majority"] == counts.max() / 100


def test_no_expression_occurs_twice(small):
  rows = [row for part in small[:3] for row in hashing.row_hashes(part.inputs)]
  assert len(set(rows)) == len(rows) == 450


def test_shares_of_digits_operators_and_widths():
  # Depth 3 keeps trees far below the limit, so that none is rejected.
  draw = random.Random(0).random
  trees, children, digits = 4000, [], []
  operators = np.zeros(4)
  for _ in range(trees):
    ids = []
    listops._grow(draw, 1, 3, 1000, ids)
    if len(ids) == 1:
      continue
    operators[ids[0] - listops._MIN] += 1
    # What stands below the root: a digit, or the operator of a list.
    depth, below = 0, []
    for token in ids[1:-1]:
      if depth == 0:
        below.append(token)
      depth += (token >= listops._MIN) - 2 * (token == listops._CLOSE)
    children.append(len(below))
    digits += [token < listops._MIN for token in below]
  # Four standard deviations of each share.
  assert abs(len(children) / trees - 0.25) < 4 * np.sqrt(0.19 / trees)
  assert abs(np.mean(digits) - 0.75) < 4 * np.sqrt(0.19 / len(digits))
  assert np.abs(operators / operators.sum() - 0.25).max() < 0.06
  counts = np.bincount(children, minlength=11)[2:]
  assert len(counts) == 9
  assert np.abs(counts / counts.sum() - 1 / 9).max() < 0.05


def test_tokens_of_printed_expressions():
  printed = "( ( ( [MED 1 ) ( ( ( [SM 9 ) 8 ) ] ) ) ] )"
  ids = listops.tokenize(printed)
  words = [listops.TOKENS[token] for token in ids]
  assert words == ["[MED", "1", "[SM", "9", "8", "]", "]"]
  # The median of 1 and 7.
  assert value(words) == 4
  with pytest.raises(ValueError, match="got 10 .AVG"):
    listops.tokenize("[AVG 10 ]")


def test_seeds(small):
  def load(seed):
    return data.load(
      "listops", seed=seed, train=300, valid=50, test=100, cached=False
    )

  np.testing.assert_array_equal(load(0).test.inputs, small.test.inputs)
  assert hashing.shared_rows(load(1).test.inputs, small.test.inputs) == 0


def test_cached_sets_are_the_same(small, tmp_path, monkeypatch):
  monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path))
  for _ in range(2):
    found = data.load("listops", train=300, valid=50, test=100)
    np.testing.assert_array_equal(found.train.inputs, small.train.inputs)
  assert len(list(tmp_path.iterdir())) == 1
