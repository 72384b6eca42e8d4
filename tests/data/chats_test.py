"""Chats as tokens against those of the library transformers, and refusals."""

import json
import pathlib
import re
import time
import types

import numpy as np
import pytest

from jaxseq.data import chats

pytest.importorskip("jinja2", reason="the extra chats is needed")

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "golden/adapt/chats"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
CONFIG = json.loads((FOLDER / "tokenizer_config.json").read_text())
# The golden template without its blocks, which changes no text.
PLAIN = re.sub(r"\{% (end)?generation %\}", "", CONFIG["chat_template"])


class Bytes:
  """The golden tokenizer, of bytes and special tokens, without its library."""

  normalizer = None

  def __init__(self):
    written = json.loads((FOLDER / "tokenizer.json").read_text())
    self.special = {x["content"]: x["id"] for x in written["added_tokens"]}
    vocab = written["model"]["vocab"]
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    names = {byte: chr(byte) for byte in shown}
    names |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    self.table = {byte: vocab[name] for byte, name in names.items()}

  def encode(self, text, add_special_tokens):
    assert not add_special_tokens
    ids, offsets = [], []
    pattern = "|".join(map(re.escape, self.special)) + "|(?s:.)"
    for match in re.finditer(pattern, text):
      word = match[0]
      tokens = (
        [self.special[word]]
        if word in self.special
        else [self.table[byte] for byte in word.encode()]
      )
      ids += tokens
      offsets += [match.span()] * len(tokens)
    return types.SimpleNamespace(ids=ids, offsets=offsets)


def make(template=CONFIG["chat_template"]):
  return chats.Template(Bytes(), template, {"eos_token": "<|end|>"})


def said(*contents, roles=("user", "assistant")):
  return tuple(
    {"role": roles[i % 2], "content": x} for i, x in enumerate(contents)
  )


@pytest.mark.parametrize("library", [False, True])
def test_texts_tokens_and_masks(library):
  if library:
    pytest.importorskip("tokenizers", reason="an extra is needed")
  template = chats.read_template(FOLDER) if library else make()
  found = chats.read(FOLDER / "messages.jsonl")
  assert len(found) == len(EXPECTED["rows"]) == 9
  for chat, row in zip(found, EXPECTED["rows"]):
    example = template.example(chat)
    assert example.text == row["text"]
    assert example.tokens.tolist() == row["ids"]
    assert example.mask.tolist() == [bool(x) for x in row["assistant_mask"]]
    last = template.example(chat, "last").mask
    assert last.argmax() == row["prompt_length"]
    assert last[row["prompt_length"] :].all()


def test_chats_of_many_answers_take_no_time():
  messages = said(*["a" * 150, "b" * 150] * 1000)
  start = time.process_time()
  example = make().example(chats.Chat("x", (), messages))
  assert time.process_time() - start < 10
  # Each answer with its end.
  assert example.mask.sum() == 1000 * (150 + 1)


def test_answers_without_blocks_are_found_by_beginnings():
  for chat in chats.read(FOLDER / "messages.jsonl"):
    expected = make().example(chat)
    example = make(PLAIN).example(chat)
    assert example.text == expected.text
    np.testing.assert_array_equal(example.mask, expected.mask)


def test_prompts_with_completions(tmp_path):
  path = tmp_path / "pairs.jsonl"
  lines = [
    {"prompt": "1 + 1 = ", "completion": "2"},
    {
      "prompt": said("a", "b", "c"),
      "completion": said("d", roles=["assistant"]),
    },
  ]
  path.write_text("\n\n".join(map(json.dumps, lines)))
  plain, written = (make().example(chat) for chat in chats.read(path))
  assert plain.text == "1 + 1 = 2<|end|>"
  assert plain.mask.tolist() == [False] * 8 + [True] * 2
  # The answer "b" belongs to what is read.
  assert written.mask.sum() == 2
  assert written.mask[-2:].all()


def test_a_template_that_changes_what_was_said_is_refused():
  # The last answer is written in full, those before in short.
  template = PLAIN.replace(
    "message['content'] +", "(message['content'] if loop.last else '-') +"
  )
  chat = chats.Chat("a.jsonl, line 3", (), said("hi", "there", "and", "so"))
  expected = r"a.jsonl, line 3: token 1 of the chat: got 12, expected \d+"
  with pytest.raises(ValueError, match=expected):
    make(template).example(chat)
  # Trimming eats the mark after which an answer begins.
  template = PLAIN.replace("'<|assistant|>'", "'<|assistant|> '")
  with pytest.raises(ValueError, match="which has to be its beginning"):
    make(template).example(chat)


def test_blocks_inside_macros_and_what_others_wrote():
  template = (
    "{% macro say(m) %}<{{ m.role }}>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{% endgeneration %}{% endif %}"
    "{% endmacro %}"
    "{% for m in messages %}{{ say(m) }}{% endfor %}"
  )
  # What a message says is never run.
  content = "{% generation %}{{ 7 * 7 }}"
  example = make(template).example(chats.Chat("x", (), said("q", content)))
  assert example.text == f"<user><assistant>{content}"
  assert example.mask.tolist() == [False] * 17 + [True] * len(content)


def test_templates_have_their_functions_and_no_more():
  for template in ("{% break %}", "{% for m in messages %}", "{{ a b }}"):
    with pytest.raises(ValueError, match="chat: the chat template is none: "):
      make(template).render(said("a"))
  text = make(
    "{% for m in messages %}{{ m | tojson }}{% break %}{% endfor %}"
    "{{ eos_token }}"
  ).render(said("é<b>", "c"))
  assert text == '{"role": "user", "content": "é<b>"}<|end|>'
  with pytest.raises(ValueError, match="fails with it: roles alternate."):
    make("{{ raise_exception('roles alternate') }}").render(said("a"))
  for attack in (
    "''.__class__.__mro__",
    "messages.append(1)",
    "cycler.__init__",
  ):
    with pytest.raises(
      ValueError, match=r"fails with it: .*(unsafe|attribute)"
    ):
      make("{{ (" + attack + ")() }}").render(list(said("a")))


@pytest.mark.parametrize(
  ("line", "sentence"),
  [
    ("{", "it is no JSON: "),
    ("[]", "got 'list', expected an object"),
    ('{"text": "a"}', r"fields: got \['text'\], expected 'messages', or"),
    ('{"messages": []}', "messages: got [], expected at least one"),
    (
      '{"messages": [{"role": "user"}]}',
      "messages[0]: content: got 'NoneType'",
    ),
    ('{"messages": [{"content": "a"}]}', "messages[0]: role: got 'NoneType'"),
    ('{"prompt": "a", "completion": []}', "completion: got 'list', expected a"),
    (r'{"prompt": "a", "completion": "\ud800"}', "expected whole characters"),
  ],
)
def test_lines_that_are_none(tmp_path, line, sentence):
  path = tmp_path / "chats.jsonl"
  path.write_text('{"prompt": "a", "completion": "b"}\n' + line + "\n")
  sentence = sentence if "\\" in sentence else re.escape(sentence)
  with pytest.raises(ValueError, match=f"chats.jsonl, line 2.*{sentence}"):
    chats.read(path)


def test_chats_without_answers_are_refused():
  chat = chats.Chat("a, line 1", (), said("hi"))
  with pytest.raises(
    ValueError, match="a, line 1: messages: got .*'assistant'"
  ):
    make().example(chat)
  silent = "{% generation %}{% endgeneration %}{{ messages[0].content }}"
  with pytest.raises(ValueError, match="a, line 1: got no token of an answer"):
    make(silent).example(chats.Chat("a, line 1", (), said("hi", "ho")))
