"""Texts that are documents: how they are cut and divided."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import text

_BIBLE = b"Ge1:1 In\nGe1:2 And\nGe2:1 Thus\n1Sm1:1 Now\n1Sm11:1 Then\n"


def test_books_and_chapters():
  assert text._documents_of_bible(_BIBLE, "book") == [
    b"Ge1:1 In\nGe1:2 And\nGe2:1 Thus\n",
    b"1Sm1:1 Now\n1Sm11:1 Then\n",
  ]
  assert text._documents_of_bible(_BIBLE, "chapter") == [
    b"Ge1:1 In\nGe1:2 And\n",
    b"Ge2:1 Thus\n",
    b"1Sm1:1 Now\n",
    b"1Sm11:1 Then\n",
  ]
  with pytest.raises(
    ValueError, match="documents: got 'verse', expected one of 'book', "
  ):
    text._documents_of_bible(_BIBLE, "verse")
  with pytest.raises(ValueError, match="line 2 of the text: got b'And.n'"):
    text._documents_of_bible(b"Ge1:1 In\nAnd\n", "book")


def test_documents_stay_whole():
  texts = [bytes([65 + i]) * (i + 1) for i in range(20)]
  parts = text.split_documents([*texts, b""], valid=0.1, test=0.2)
  found = []
  for part in parts:
    (starts,) = part.extras.document_starts
    assert starts[0]
    assert (part.inputs[0][starts] == 0).all()
    np.testing.assert_array_equal(
      part.inputs[0][~starts], part.targets[0][np.flatnonzero(~starts) - 1]
    )
    ends = np.append(np.flatnonzero(starts), len(starts))
    found.append(
      [part.targets[0][a:b].tobytes() for a, b in zip(ends[:-1], ends[1:])]
    )
  assert list(map(len, found)) == [14, 2, 4]
  assert sorted(sum(found, [])) == texts
  with pytest.raises(ValueError, match="leave a document to each part of the"):
    text.split_documents(texts[:5])


def test_files_of_python_are_documents(tmp_path):
  for i in range(20):
    (tmp_path / f"m{i:02}.py").write_text("x\n" * i)
  splits = data.load("python_source", root=tmp_path, documents=True)
  starts = [part.extras.document_starts.sum() for part in splits[:3]]
  assert starts == [18, 1, 1]
  whole = data.load("python_source", root=tmp_path)
  assert splits.info == whole.info
  assert whole.train.extras.document_starts is None
