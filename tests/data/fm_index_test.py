import collections
import json

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from jaxseq.data import fm_index

GOLDEN = ("index_repeats", "index_small")


def _documents(arrays):
  return [
    row[:length] for row, length in zip(arrays["docs"], arrays["doc_length"])
  ]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_published_index_is_the_golden_one(golden, name):
  arrays = golden(f"seal/{name}")
  index = fm_index.build(
    _documents(arrays), int(arrays["vocab"]), separate=False, block=16
  )
  np.testing.assert_array_equal(index.bwt, arrays["bwt"])
  np.testing.assert_array_equal(index.suffix_array, arrays["suffix_array"])
  for query, rows, counts in zip(
    arrays["query"], arrays["row_range"], arrays["next_count_published"]
  ):
    found = index.rows(query[query >= 0])
    assert found == tuple(rows)
    np.testing.assert_array_equal(index.next_counts(found), counts)


@pytest.mark.parametrize("name", GOLDEN)
def test_between_separators_nothing_goes_on_into_another_document(golden, name):
  arrays = golden(f"seal/{name}")
  index = fm_index.build(_documents(arrays), int(arrays["vocab"]), block=16)
  for query, counts, documents in zip(
    arrays["query"],
    arrays["next_count_within"],
    arrays["documents_with_query"],
  ):
    query = query[query >= 0]
    rows = index.rows(query)
    np.testing.assert_array_equal(index.next_counts(rows), counts)
    if len(query):
      assert len(set(index.places(rows)[0])) == documents


_CORPORA = strategies.lists(
  strategies.lists(strategies.integers(0, 3), min_size=1, max_size=9),
  min_size=1,
  max_size=5,
)


@hypothesis.given(_CORPORA, strategies.integers(1, 9))
@hypothesis.settings(max_examples=60, deadline=None)
def test_every_run_of_tokens_is_found_where_it_is(documents, block):
  index = fm_index.build(documents, 4, block=block)
  places, following = collections.defaultdict(set), collections.Counter()
  for number, document in enumerate(documents):
    np.testing.assert_array_equal(index.document(number), document)
    for start in range(len(document)):
      for end in range(start + 1, len(document) + 1):
        run = tuple(document[start:end])
        places[run].add((number, end - 1))
        if end < len(document):
          following[run, document[end]] += 1
  for run, expected in places.items():
    rows = index.rows(run)
    assert index.count(run) == len(expected)
    assert set(zip(*(x.tolist() for x in index.places(rows)))) == expected
    counts = [following[run, token] for token in range(4)]
    assert index.next_counts(rows).tolist() == counts
    for token in range(4):
      if (*run, token) not in places:
        assert index.extend(rows, token) == (0, 0)


@hypothesis.given(
  strategies.lists(strategies.integers(1, 3), max_size=60).map(
    lambda text: np.array([*text, 0])
  )
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_suffixes_are_sorted(text):
  # Symbols of 20 bits fit in a word three at a time, so that many rounds run.
  text[:-1] += 2**20
  expected = sorted(range(len(text)), key=lambda i: text[i:].tolist())
  assert fm_index.sort_suffixes(text).tolist() == expected


def test_repeats_longer_than_many_words_are_sorted():
  text = np.array([*[7] * 500, *[7, 8] * 200, 0])
  order = fm_index.sort_suffixes(text)
  expected = sorted(range(len(text)), key=lambda i: text[i:].tolist())
  assert order.tolist() == expected


def test_a_saved_index_is_mapped_into_memory(tmp_path):
  index = fm_index.build([b"in the beginning", b"the end"], 256)
  index.save(tmp_path / "index")
  found = fm_index.load(tmp_path / "index")
  assert isinstance(found.bwt, np.memmap)
  assert len(found) == len(index)
  rows = found.rows(b"the ")
  assert rows == index.rows(b"the ")
  np.testing.assert_array_equal(
    np.flatnonzero(found.next_counts(rows)), sorted(b"be")
  )
  assert bytes(found.document(1).tolist()) == b"the end"
  # It can be written to where it lies.
  found.save(tmp_path / "index")
  assert fm_index.load(tmp_path / "index").rows(b"the ") == rows


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("index.json", b"[]", "does not say that it is"),
    ("index.json", b'{"format": "jaxseq FM-index 1"}', "has the entries"),
    ("bwt.npy", b"none", "does not begin as an .npy file"),
    ("bwt.npy", np.zeros(3, np.uint8), "got shape"),
    ("text.npy", np.zeros(13), "text is an array of float64"),
    ("starts.npy", np.zeros(267, int), "symbols do not fill its text"),
    ("lengths.npy", np.array([5, 5]), "documents do not fill its text"),
  ],
)
def test_damaged_files_are_refused(tmp_path, name, content, message):
  fm_index.build([b"a text", b"other"], 256).save(tmp_path)
  if isinstance(content, bytes):
    (tmp_path / name).write_bytes(content)
  else:
    np.save(tmp_path / name, content)
  with pytest.raises(ValueError, match=message):
    fm_index.load(tmp_path)
  (tmp_path / name).unlink()
  with pytest.raises(ValueError, match="is no whole FM-index"):
    fm_index.load(tmp_path)


def test_options_of_a_saved_index_are_checked(tmp_path):
  fm_index.build([b"a text"], 256).save(tmp_path)
  about = json.loads((tmp_path / "index.json").read_text())
  (tmp_path / "index.json").write_text(json.dumps({**about, "block": 0}))
  with pytest.raises(ValueError, match="block: got 0, expected an integer"):
    fm_index.load(tmp_path)


@pytest.mark.parametrize(
  ("documents", "message"),
  [
    ([], "documents: got .*, expected at least one document"),
    ([[1], []], "document 1: got shape"),
    ([[1, 4]], "document 0: got 'tokens from 1 to 4', expected tokens"),
    ([[0.5]], "dtype float64"),
  ],
)
def test_bad_documents(documents, message):
  with pytest.raises(ValueError, match=message):
    fm_index.build(documents, 4)


def test_bad_token():
  index = fm_index.build([[1, 2]], 4)
  with pytest.raises(ValueError, match="tokens: got 'a', expected tokens: by"):
    index.count("a")
  with pytest.raises(ValueError, match="token: got 4, expected a token"):
    index.rows([4])
