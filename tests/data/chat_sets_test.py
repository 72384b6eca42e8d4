"""Sets of chats and of pairs: what is scored, and what stays together."""

import json

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import chat_sets
from jaxseq.data import chats


def _texts(dataset):
  return [
    (
      bytes(example.tokens.astype(np.uint8)).decode(),
      bytes(example.tokens[example.mask].astype(np.uint8)).decode(),
    )
    for example in chat_sets.examples(dataset)
  ]


def test_chats_of_bytes_end_with_their_line(tmp_path):
  lines = [
    {"prompt": f"say {i}:", "completion": "a" * (i + 1)} for i in range(10)
  ]
  path = tmp_path / "messages.jsonl"
  path.write_text("\n".join(map(json.dumps, lines)))
  splits = data.load("chats", path=path, test_fraction=0.3)
  parts = [_texts(part) for part in splits[:3]]
  assert [len(part) for part in parts] == [6, 1, 3]
  expected = {
    (x["prompt"] + x["completion"] + "\n", x["completion"] + "\n")
    for x in lines
  }
  assert {row for part in parts for row in part} == expected
  assert splits.info.preparation.vocab_size == 256
  with pytest.raises(ValueError, match="the data: got '10 examples'"):
    data.load("chats", path=path, valid_fraction=0.01)
  path.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}]}))
  with pytest.raises(ValueError, match="line 1: tokenizer: got None"):
    data.load("chats", path=path)


def test_a_chat_far_longer_than_the_others_is_refused(tmp_path):
  path = tmp_path / "chats.jsonl"
  short = [{"prompt": "a", "completion": "b"}] * 600
  lines = [*short, {"prompt": "a" * 100_000, "completion": "b"}]
  path.write_text("\n".join(map(json.dumps, lines)))
  with pytest.raises(
    ValueError, match="chats.jsonl: got 101802 bytes that wou"
  ):
    data.load("chats", path=path)


def test_pairs_stay_together(tmp_path):
  line = {"prompt": "é:", "chosen": "yes", "rejected": "no"}
  path = tmp_path / "pairs.jsonl"
  path.write_text("\n".join([json.dumps(line)] * 10))
  splits = data.load("preferences", path=path)
  for part in splits[:3]:
    rows = _texts(part)
    assert rows[::2] == [("é:yes\n", "yes\n")] * (len(rows) // 2)
    assert rows[1::2] == [("é:no\n", "no\n")] * (len(rows) // 2)
  path.write_text(json.dumps({"prompt": "a", "chosen": "b"}))
  with pytest.raises(ValueError, match="expected 'prompt' and 'rejected'"):
    chats.read_pairs(path)


def test_sums_are_right_and_divided_by_their_prompts():
  answers, pairs = data.load("sums"), data.load("sum_preferences")
  seen = []
  for ours, theirs in zip(answers[:3], pairs[:3]):
    assert _texts(ours) == _texts(theirs)
    for words, number in zip(_texts(ours)[::2], _texts(ours)[1::2]):
      prompt, _, result = number[0].partition("=")
      a, b = map(int, prompt.split("+"))
      assert int(result) == a + b
      assert words == (f"{prompt}={words[1]}", chat_sets.WORDS[a + b] + "\n")
      seen.append(prompt)
  assert len(set(seen)) == 100


def test_data_without_answers_are_no_chats():
  splits = data.load("python_source", root=json.__path__[0])
  with pytest.raises(ValueError, match="the data: got .*, expected chats"):
    chat_sets.examples(splits.train)
