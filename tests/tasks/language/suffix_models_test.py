"""Models that count, beside what the published scripts give."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import padding
from jaxseq.tasks.language import suffix_models


def traces(symbols, end):
  """Traces of symbols from 1 on, with the end behind them."""
  inputs, lengths = padding.pad_sequences([np.insert(x, 0, 0) for x in symbols])
  targets, _ = padding.pad_sequences([np.append(x, end) for x in symbols])
  return data.ArrayDataset(inputs, targets, lengths)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_released_models_and_scores(golden, order):
  known = golden("processes/next_element")
  end = int(known["vocabulary_with_end"])
  symbols = [
    row[:length] + 1 for row, length in zip(known["traces"], known["lengths"])
  ]
  count = int(known["num_train"])
  model = suffix_models.Suffixes(traces(symbols[:count], end), end, order)
  test = traces(symbols[count:], end)
  targets = suffix_models.targets_of(test)
  assert len(targets) == known["released/num_predictions"]
  predictions = model.back_off(test, released=True)
  expected = known[f"defined/predictions_{order}"]
  np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-15)
  scores = suffix_models.scores(predictions, targets)
  chain = suffix_models.scores(model.chain(test), targets)
  for value, name in (
    (scores["brier"], f"defined/akom_brier_unnormalised_{order}"),
    (scores["brier_mean"], f"defined/akom_brier_{order}"),
    (scores["released"], f"released/akom_{order}"),
    (chain["released"], f"released/markov_{order}"),
  ):
    np.testing.assert_allclose(value, known[name], rtol=1e-13)
  # What is released is less than the score that it stands for.
  assert scores["released"] < scores["brier_mean"]
  assert "test_loss" not in scores


def test_shares_by_hand():
  train = traces([np.array([1, 2, 1, 2]), np.array([1, 1])], 3)
  model = suffix_models.Suffixes(train, 3, 2)
  test = traces([np.array([1, 2, 2])], 3)
  # Before 1, 2, 2 and the end: nothing, 1 at first, 1 2, and 2 2.
  expected = [[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0, 0]]
  np.testing.assert_allclose(model.chain(test), expected)
  # The longest context that is known of 2 2 is 2: after it 1 and the end.
  back_off = [*expected[:3], [0.5, 0, 0.5]]
  np.testing.assert_allclose(model.back_off(test), back_off)
  # Of the released script it is the beginning, where 1 comes.
  released = [*expected[:3], [1, 0, 0]]
  np.testing.assert_allclose(model.back_off(test, released=True), released)
  # Of 8 symbols, 4 are 1, 2 are 2 and 2 are ends: with 3 kinds, 11 in all.
  shares = (np.array([4, 2, 2]) + 3 * np.ones(3) / 3) / 11
  after_2 = (np.array([1, 0, 1]) + 2 * shares) / 4
  np.testing.assert_allclose(model.witten_bell(test)[3], after_2)
  np.testing.assert_allclose(model.witten_bell(test).sum(axis=1), 1)


def test_the_brier_score_by_hand():
  predictions = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
  scores = suffix_models.scores(predictions, np.array([2, 1]))
  np.testing.assert_allclose(scores["brier"], (1.5 + 1) / 2)
  np.testing.assert_allclose(scores["released"], (0.5 + 1) / 2 / 3)
  assert scores["accuracy"] == 0


def test_contexts_that_have_no_number_are_refused():
  train = traces([np.array([1])], 40)
  with pytest.raises(
    ValueError, match="order: got 12, expected so few that 40"
  ):
    suffix_models.Suffixes(train, 40, 12)
