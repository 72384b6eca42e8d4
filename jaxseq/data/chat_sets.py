"""Data sets of chats, and of preference pairs of answers.

  splits = data.load("chats", path="messages.jsonl", tokenizer="model")
  splits = data.load("preferences", path="pairs.jsonl", tokenizer="model")

The file formats are in `jaxseq.data.chats`; the tokenizer is a folder with
`tokenizer.json` and the template. Without one, prompts and answers are texts,
tokens are bytes, and an answer ends with its line. Two sets are generated:
additions whose results are numbers or words, and pairs that prefer the words.
"""

from collections.abc import Sequence
import os
import pathlib

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import chats as chats_
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data.sources import text

_BYTES = chats_.Template(None, "", {"eos_token": "\n"})
WORDS = (
  *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight"),
  *("nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen"),
  *("sixteen", "seventeen", "eighteen"),
)


def chats(
  path: str | os.PathLike,
  *,
  tokenizer: str | os.PathLike | None = None,
  answers: chats_.Answers = "all",
  valid_fraction: float = 0.1,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> datasets.Splits:
  """Loads chats.

  Args:
    path: a file of `chats.read`.
    tokenizer: see above.
    answers: which answers are targets, see `chats.Template.example`.
    valid_fraction: share of the chats for validation.
    test_fraction: share for testing.
    seed: seed of the split.

  Returns:
    The splits: inputs and targets (n, time), the tokens without the last and
    without the first, with lengths and the extra `answers`.

  Raises:
    ValueError: if a line is not a chat, or a part would be empty.
    MissingData: if a package is not installed.
  """
  template = _template(tokenizer)
  rows = [(template.example(chat, answers),) for chat in chats_.read(path)]
  about = "A chat; what does its answer say?", str(path), "that of the file"
  fractions = valid_fraction, test_fraction
  return _splits(rows, fractions, seed, tokenizer, about)


def preferences(
  path: str | os.PathLike,
  *,
  tokenizer: str | os.PathLike | None = None,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> datasets.Splits:
  """Loads pairs of answers.

  Args:
    path: a file of `chats.read_pairs`.
    tokenizer: see above.
    valid_fraction: share of the pairs for validation.
    test_fraction: share for testing.
    seed: seed of the split.

  Returns:
    The splits in the form of `chats`; each preferred answer with its prompt is
    followed by the rejected one of the pair.

  Raises:
    ValueError: if a line is not a pair, or a part would be empty.
    MissingData: if a package is not installed.
  """
  template = _template(tokenizer)
  rows = [
    tuple(template.example(chat) for chat in pair)
    for pair in chats_.read_pairs(path)
  ]
  about = "Two answers; which is better?", str(path), "that of the file"
  fractions = valid_fraction, test_fraction
  return _splits(rows, fractions, seed, tokenizer, about)


def sums(*, seed: int = 0) -> datasets.Splits:
  """Generates the 100 sums of two digits, each as a number and in words.

  Returns:
    The splits in the form of `chats`, of bytes; the two answers to one prompt
    are in the same part.
  """
  rows = [(_sum(a, b, x),) for a, b in _digits(seed) for x in (True, False)]
  about = "A sum of two digits; how much is it?", "made here", "none"
  return _splits(rows, (0.1, 0.2), None, None, about)


def sum_preferences(*, seed: int = 0) -> datasets.Splits:
  """Generates the pairs of the answers of `sums`, which prefer the words.

  Returns:
    The splits in the form of `preferences`, with each prompt in the same part
    as in `sums`.
  """
  rows = [
    tuple(_sum(a, b, words) for words in (True, False))
    for a, b in _digits(seed)
  ]
  about = "Two sums; which is in words?", "made here", "none"
  return _splits(rows, (0.1, 0.2), None, None, about)


def _digits(seed):
  """All pairs of digits, in random order."""
  order = np.random.default_rng(seed).permutation(100)
  return [divmod(int(number), 10) for number in order]


def _sum(a, b, words):
  """The example of a sum with its answer."""
  answer = WORDS[a + b] if words else str(a + b)
  return _BYTES.example(chats_.Chat("sum", f"{a}+{b}=", answer))


def _template(tokenizer):
  """The template of a folder, or the one for bytes."""
  return _BYTES if tokenizer is None else chats_.read_template(tokenizer)


def _splits(
  rows: Sequence[tuple[chats_.Example, ...]],
  fractions,
  seed,
  tokenizer,
  about,
) -> datasets.Splits:
  """Splits groups of examples, keeping each group in one part."""
  for name, share in zip(("valid_fraction", "test_fraction"), fractions):
    validate.number(name, share, 0, 1)
  valid, test = (round(share * len(rows)) for share in fractions)
  train = len(rows) - valid - test
  examples = [example for group in rows for example in group]
  longest = max((len(example.tokens) for example in examples), default=0)
  held = sum(len(example.text.encode()) for example in examples)
  # All chats are padded to the longest: 4 bytes a token, 1 of the mask.
  limits.check_growth(about[1], 5 * longest * len(examples), held)
  if min(train, valid, test) < 1:
    expected = "one in each part at least, by valid_fraction and test_fraction"
    raise validate.error("the data", f"{len(rows)} examples", expected)
  if seed is not None:
    order = np.random.default_rng(seed).permutation(len(rows))
    rows = [rows[i] for i in order]
  parts = rows[:train], rows[train : train + valid], rows[train + valid :]
  content, vocab_size = None, 256
  if tokenizer is not None:
    place = pathlib.Path(tokenizer) / "tokenizer.json"
    content = limits.read_text(place, limits.JSON)
    coder = chats_.read_template(tokenizer).tokenizer
    vocab_size = coder.get_vocab_size()
  info = datasets.Info(
    *about,
    num_classes=vocab_size,
    vocab_size=vocab_size,
    preparation=text.TextSource(
      vocab_size=vocab_size, tokenizer=content, reader="text_files"
    ),
  )
  return datasets.Splits(*map(_dataset, parts), info)


def _dataset(rows):
  """Examples as padded arrays."""
  examples = [example for group in rows for example in group]
  tokens, lengths = padding.pad_sequences([x.tokens for x in examples])
  mask, _ = padding.pad_sequences([x.mask for x in examples])
  return datasets.ArrayDataset(
    tokens[:, :-1],
    tokens[:, 1:],
    np.asarray(lengths - 1, np.int32),
    datasets.Extras(answers=np.asarray(mask[:, 1:], bool)),
  )


def examples(dataset: datasets.ArrayDataset) -> list[chats_.Example]:
  """Returns the chats of a part of a chat set, without their texts.

  Raises:
    ValueError: if the data are not chats.
  """
  answers = dataset.extras.answers
  if answers is None or dataset.lengths is None or dataset.inputs.ndim != 2:
    shape = f"shape {dataset.inputs.shape}"
    raise validate.error("the data", shape, "chats, with their answers")
  rows = zip(dataset.inputs, dataset.targets, dataset.lengths, answers)
  return [
    chats_.Example(
      "",
      np.concatenate([inputs[:1], targets[:length]]).astype(np.int32),
      np.concatenate([[False], mask[:length]]),
    )
    for inputs, targets, length, mask in rows
  ]
