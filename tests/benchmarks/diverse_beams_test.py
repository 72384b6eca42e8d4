import numpy as np

from benchmarks import diverse_beams


def test_distinct_runs_are_counted_over_all_texts():
  texts = np.array([[1, 2, 1, 2], [2, 1, 3, 3]])
  # 12, 21, 13 and 33 of six pairs.
  assert diverse_beams.distinct(texts, 2) == 4 / 6
  assert diverse_beams.distinct(texts, 4) == 1


def test_bleu_counts_what_is_in_both():
  text = np.arange(8)
  assert diverse_beams.bleu(text, text) == 1
  # Of 8, 7, 6 and 5 runs none is in the other, and one is added to each.
  expected = (1 / (9 * 8 * 7 * 6)) ** (1 / 4)
  np.testing.assert_allclose(diverse_beams.bleu(text, text + 10), expected)
