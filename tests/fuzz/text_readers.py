"""Readers of texts: tokenizers, chats, token files, documents and letters."""

import json
import pathlib

import numpy as np

from jaxseq.data import _tokenizer_bounds
from jaxseq.data import chat_sets
from jaxseq.data import chats
from jaxseq.data import text
from jaxseq.data import text_tokens
from jaxseq.data import token_file
from jaxseq.data import token_text
from jaxseq.data.sources import letters
from jaxseq.data.sources import paragraphs
from jaxseq.data.sources import text as text_sources
from jaxseq.data.tokens import order_recall
from tests.fuzz import contents
from tests.fuzz.reader import Reader
from tests.fuzz.reader import again
from tests.fuzz.reader import checked
from tests.fuzz.reader import one
from tests.fuzz.reader import refused
from tests.fuzz.reader import words

_GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/adapt"
_FOLDER = {
  file: (_GOLDEN / "chats" / file).read_bytes()
  for file in ("tokenizer.json", "tokenizer_config.json")
}
_TOKENS = {
  file: (_GOLDEN / "token_files" / file).read_bytes()
  for file in ("text.bin", "text.idx")
}
# Parts of many kinds, in few bytes.
_TOKENIZER = json.dumps(
  {
    "version": "1.0",
    "added_tokens": [
      {
        **dict.fromkeys(("single_word", "lstrip", "rstrip"), False),
        "id": 5,
        "content": "<s>",
        "normalized": False,
        "special": True,
      }
    ],
    "normalizer": {
      "type": "Sequence",
      "normalizers": [
        {"type": "NFKC"},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        {"type": "Prepend", "prepend": "a"},
      ],
    },
    "pre_tokenizer": {
      "type": "Split",
      "pattern": {"Regex": " ?[a-z]+|[0-9]{1,3}"},
      "behavior": "Isolated",
      "invert": False,
    },
    "post_processor": None,
    "decoder": {
      "type": "ByteLevel",
      "add_prefix_space": True,
      "trim_offsets": True,
      "use_regex": True,
    },
    "model": {
      "type": "BPE",
      "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "!": 4},
      "merges": [["a", "b"]],
    },
  }
).encode()


def _tokenized(path: pathlib.Path) -> None:
  """Reads a tokenizer, and a text by it."""
  made = text_tokens.read_tokenizer(words(path))
  tokens = text_tokens.encode(b"ab  ba! " * 30, made, "a text")
  assert tokens.dtype == np.int32
  text_tokens.token_bytes(made, 6)
  text_tokens.text_of(made, tokens.tolist())


def _chat(folder: pathlib.Path) -> None:
  """Reads the tokenizer of a folder, and chats by it."""
  template = chats.read_template(folder)
  for chat in chats.read(_GOLDEN / "chats/messages.jsonl")[:3]:
    template.example(chat)


_MESSAGES = (_GOLDEN / "chats/messages.jsonl").read_bytes()
_PROMPTS = contents.lines(
  *(f'{{"prompt": "{i}+1=", "completion": "{i + 1}"}}' for i in range(20))
)
_PAIRS = contents.lines(
  *(
    f'{{"prompt": "{i}", "chosen": "{i}", "rejected": "no"}}' for i in range(20)
  )
)
_BIBLE = b"Ge1:1 In the\nGe1:2 And the\nEx1:1 Now these\n"
_FASTA = b">one\nACGUACGUGG\nCCGGAA\n>two\nACGGGAAACC\n" * 9
_REPORT = b"First words.\nMore of it.\n\nA second\nsection.\n" * 3
READERS = {
  "bounds of tokenizers": Reader(
    {"file": _TOKENIZER},
    one(lambda f: _tokenizer_bounds.checked(words(f), "t")),
  ),
  "tokenizers": Reader(
    {"file": _TOKENIZER}, one(_tokenized), needs="tokenizers"
  ),
  "tokenizers with chats": Reader(
    _FOLDER, _chat, share=0.5, needs="tokenizers"
  ),
  "chats": Reader({"file": _PROMPTS}, one(checked(chat_sets.chats))),
  "messages": Reader({"file": _MESSAGES}, one(chats.read)),
  "chats by a tokenizer": Reader(
    _FOLDER | {"messages.jsonl": _MESSAGES * 3},
    lambda folder: chat_sets.chats(folder / "messages.jsonl", tokenizer=folder),
    share=0.3,
    needs="tokenizers",
  ),
  "preferences": Reader({"file": _PAIRS}, one(checked(chat_sets.preferences))),
  "token files": Reader(
    _TOKENS,
    lambda folder: checked(token_text.load, vocab_size=2**16)(
      folder / "text.bin"
    ),
  ),
  "documents of token files": Reader(
    _TOKENS, lambda folder: list(token_file.TokenFile(folder / "text").starts)
  ),
  "texts for token files": Reader(
    {"a.jsonl": contents.lines('{"text": "a text"}', '{"text": "\u00e9"}')},
    lambda folder: token_text.write(
      folder.parent / f"{folder.name}-made", folder / "a.jsonl"
    ),
  ),
  "texts by a tokenizer": Reader(
    {"tokenizer.json": _TOKENIZER, "a.txt": b"ab ba! " * 40},
    lambda folder: text_sources.load(
      folder / "a.txt", tokenizer=folder / "tokenizer.json"
    ),
    needs="tokenizers",
  ),
  "letters": Reader({"a.fasta": _FASTA}, checked(letters.load, length=20)),
  "letters, again": Reader(
    {"a.fasta": _FASTA}, again(checked(letters.load, length=20))
  ),
  "paragraphs": Reader(
    {f"{i}.txt": _REPORT for i in range(6)}, checked(paragraphs.load)
  ),
  "paragraphs, again": Reader(
    {f"{i}.txt": _REPORT for i in range(6)}, again(checked(paragraphs.load))
  ),
  "kjv": Reader({"file": _BIBLE}, one(refused(text.kjv))),
  "chapters of kjv": Reader(
    {"file": _BIBLE}, one(refused(paragraphs.kjv_chapters))
  ),
  "python source": Reader(
    {f"a/{i}.py": b"def f():\n  return 1\n" * 40 for i in range(9)},
    checked(text.python_source),
  ),
  "words to recall": Reader(
    {"file": b"the cat sat on the mat " * 9},
    one(lambda f: order_recall._words.__wrapped__(str(f), 5)),
  ),
}
