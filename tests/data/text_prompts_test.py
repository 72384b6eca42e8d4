"""Prompts and documents that are read more than once."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import text_prompts
from tests.data import writing


def test_context_and_question_follow_each_other_twice():
  assert bytes(text_prompts.repeat(b"It is 3. ", b"Is it? ")) == (
    b"It is 3. Is it? It is 3. Is it? "
  )
  tokens = text_prompts.repeat(np.array([300, 2]), np.array([7]), times=3)
  assert tokens.tolist() == [300, 2, 7] * 3


def test_documents_of_files_are_repeated(tmp_path):
  writing.write(tmp_path, {f"{i}.txt": f"{i}ab" for i in range(10)})
  fractions = {"valid_fraction": 0.1, "test_fraction": 0.1}
  once, twice = (
    data.load(
      "text_files", path=tmp_path, documents=True, repeats=times, **fractions
    )
    for times in (1, 2)
  )
  text = bytes(once.test.targets[0])
  assert bytes(twice.test.targets[0]) == text + text
  assert twice.test.extras.document_starts.sum() == 1
  with pytest.raises(ValueError, match="repeats: got 2, expected 1 without"):
    data.load("text_files", path=tmp_path, repeats=2)


def test_other_things_are_refused():
  with pytest.raises(ValueError, match="question: got .*float64, shape"):
    text_prompts.repeat(b"a", np.zeros(2))
  with pytest.raises(ValueError, match="times: got 0"):
    text_prompts.repeat(b"a", b"b", 0)
