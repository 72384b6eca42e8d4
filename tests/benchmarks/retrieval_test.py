import math

import numpy as np
import pytest

from benchmarks import retrieval


def test_bm25_is_its_formula():
  documents = [[b"a", b"b", b"a"], [b"b"], [b"c", b"d"]]
  bm25 = retrieval.BM25(documents, k1=1.2, b=0.75)
  # Of three documents one has "a", twice; it has three words, two on average.
  idf = math.log(1 + 2.5 / 1.5)
  weight = idf * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2))
  np.testing.assert_allclose(bm25.scores([b"a", b"x"]), [weight, 0, 0])
  np.testing.assert_array_equal(bm25.scores([b"b"]) > 0, [True, True, False])


def test_of_equal_scores_the_wrong_ones_count_as_first():
  scores = np.array([1.0, 3.0, 3.0, 2.0])
  assert retrieval.rank(scores, np.array([1])) == 2
  assert retrieval.rank(scores, np.array([1, 2])) == 1
  assert retrieval.rank(scores, np.array([0, 3])) == 3


def test_verses_are_halved_at_a_space():
  firsts, seconds = retrieval._halves([b"in the beginning", b"amen"])
  assert firsts == (b"in the", b"am")
  assert seconds == (b" beginning", b"en")


def test_words_and_runs():
  assert retrieval.words(b"The LORD's day") == [b"the", b"lord", b"s", b"day"]
  assert retrieval.runs(b"abcd", 3) == [b"abc", b"bcd"]


@pytest.mark.parametrize(("most", "share"), [(0, 0.25), (1, 0.75), (2, 1.0)])
def test_recalls_are_shares_of_ranks(most, share):
  assert retrieval._recalls([1, 7, 10, 60])[most] == share
