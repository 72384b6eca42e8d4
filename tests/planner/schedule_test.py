import itertools

import hypothesis
from hypothesis import strategies
import pytest

from jaxseq.planner import schedule


@hypothesis.given(strategies.lists(strategies.integers(1, 20), max_size=40))
@hypothesis.settings(deadline=None, derandomize=True, max_examples=100)
def test_rows_are_full_and_few(lengths):
  rows = schedule.best_fit(lengths, 20)
  assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
  filled = [sum(lengths[i] for i in row) for row in rows]
  assert all(tokens <= 20 for tokens in filled)
  # No two rows would fit into one.
  assert all(a + b > 20 for a, b in itertools.combinations(filled, 2))


def test_the_fullest_row_that_fits_is_taken():
  # 12 and 9 open rows; 8 fits into both and fills the first.
  assert schedule.best_fit([12, 9, 8, 11], 20) == [[0, 2], [3, 1]]


def test_a_document_that_is_too_long_is_named():
  with pytest.raises(
    ValueError, match=r"lengths\[1\]: got 21, expected at most 20"
  ):
    schedule.best_fit([3, 21], 20)
