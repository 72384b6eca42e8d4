import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from experiments.retrieval import ngram_scores
from jaxseq.data import fm_index


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("name", ["index_repeats", "index_small"])
def test_keys_and_documents_have_the_golden_scores(golden, name, separate):
  arrays = golden(f"seal/{name}")
  documents = [
    row[:length] for row, length in zip(arrays["docs"], arrays["doc_length"])
  ]
  index = fm_index.build(documents, int(arrays["vocab"]), separate=separate)
  keys = [key[key >= 0] for key in arrays["key"]]
  assert [index.count(key) for key in keys] == arrays["key_count"].tolist()
  scores = ngram_scores.score_keys(index, keys, arrays["key_log_prob"])
  np.testing.assert_allclose(
    scores, arrays["key_score"], rtol=1e-10, atol=1e-10
  )
  found = ngram_scores.score_documents(index, keys, scores, end_token=2)
  np.testing.assert_allclose(
    [found.get(number, 0.0) for number in range(len(documents))],
    arrays["document_score_official"],
    rtol=1e-10,
    atol=1e-10,
  )


def _score(document, worth, beta):
  """The score of a document, place by place."""
  free, seen, total = [True] * len(document), set(), 0.0
  for key in sorted(worth, key=lambda key: (-worth[key], key)):
    there = False
    for start in range(len(document) - len(key) + 1):
      span = range(start, start + len(key))
      if document[start : start + len(key)] == key and all(
        free[i] for i in span
      ):
        there = True
        for i in span:
          free[i] = False
    if there:
      share = len(set(key) - seen) / len(set(key))
      total += worth[key] * (1 - beta + beta * share)
      seen |= set(key)
  return total


_TOKENS = strategies.integers(3, 5)


@hypothesis.given(
  strategies.lists(
    strategies.lists(_TOKENS, min_size=1, max_size=9), min_size=1, max_size=5
  ),
  strategies.dictionaries(
    strategies.lists(_TOKENS, min_size=1, max_size=3).map(tuple),
    strategies.sampled_from([0.0, 0.5, 1.0, 2.5]),
    max_size=8,
  ),
  strategies.booleans(),
)
@hypothesis.settings(max_examples=80, deadline=None)
def test_keys_take_their_places_best_first(documents, worth, ended):
  if ended:
    documents = [[*document, 2] for document in documents]
    worth = {(2, *key) if key[0] == 3 else key: s for key, s in worth.items()}
  index = fm_index.build(documents, 6)
  found = ngram_scores.score_documents(
    index,
    list(worth),
    list(worth.values()),
    beta=0.6,
    end_token=2 if ended else None,
  )
  worth = {key: score for key, score in worth.items() if score}
  expected = {}
  for number, document in enumerate(documents):
    whole = tuple(document)
    if any(
      whole[i : i + len(key)] == key for key in worth for i in range(len(whole))
    ):
      read = (2, *whole[:-1]) if ended else whole
      expected[number] = _score(read, worth, 0.6)
  assert set(found) == set(expected)
  for number, score in found.items():
    np.testing.assert_allclose(score, expected[number], rtol=1e-12)
  assert list(found.values()) == sorted(found.values(), reverse=True)


def test_frequent_keys_bring_no_documents_and_only_the_best_are_scored():
  index = fm_index.build([[3, 4], [3, 5], [3, 3]], 6)
  keys, scores = [[3], [4], [5]], [1.0, 2.0, 3.0]
  found = ngram_scores.score_documents(index, keys, scores, rare=3)
  assert found == {1: 4.0, 0: 3.0}
  found = ngram_scores.score_documents(index, keys, scores, rare=3, most=1)
  assert found == {1: 4.0}


def test_bad_scores():
  index = fm_index.build([[3, 4]], 6)
  with pytest.raises(ValueError, match=r"log_prob: got shape \(2,\), expected"):
    ngram_scores.score_keys(index, [[3]], [-1.0, -2.0])
  with pytest.raises(
    ValueError, match="log_prob: got .*0.5.*, expected numbers"
  ):
    ngram_scores.score_keys(index, [[3]], [0.5])
  with pytest.raises(ValueError, match="beta: got 2, expected"):
    ngram_scores.score_documents(index, [[3]], [1.0], beta=2)
