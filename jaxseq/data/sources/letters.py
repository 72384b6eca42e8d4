"""Sequences of letters or words: lines of texts, or records of FASTA files.

    splits = data.load("letters", path="notes.txt")
    splits = data.load("letters", path="families.fasta", alphabet="rna")
    splits = data.load("letters", path="sentences.txt", words=2)

A sequence begins with <cls> and ends with <eos>, and <mask> in it stands for
one hidden letter, or word, to predict.
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools
import os
import re
from typing import Any
from typing import ClassVar
from typing import Literal

from absl import logging
import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _part_splits
from jaxseq.data import _raw_arrays
from jaxseq.data import _sentence_words
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data.files import columns
from jaxseq.data.sources import base
from jaxseq.data.sources import text

# The tokens of RNA-FM, in its order (arXiv:2204.00300).
RNA = (
  *("<cls>", "<pad>", "<eos>", "<unk>", *"ACGURYKMSWBDHVN-"),
  *("<null_1>", "<null_2>", "<null_3>", "<null_4>", "<mask>"),
)
_SPECIAL = ("<cls>", "<pad>", "<eos>", "<unk>", "<mask>")
_MASK = re.compile("<mask>", re.IGNORECASE)
_PART = re.compile("<mask>|.", re.IGNORECASE | re.DOTALL)
# Shares of letters outside the alphabet above which training warns, or raises:
# such letters are not scored, which makes a loss look low.
_TOLD, _REFUSED = 0.01, 0.2


@dataclasses.dataclass(frozen=True)
class LetterSource(base.Source):
  """Sequences of letters between a start and an end token.

  `prepare` takes strings, in which "<mask>" or "<MASK>" is one token.

  Attributes:
    tokens: meaning of each token.
    rna: whether letters are read as RNA: lower case as upper case, and T as U.
    lines: whether every line of a text is a sequence, or the whole text.
    pattern: pattern of the files to read in a folder.
    words: whether the tokens are lower-case words, and the signs between them,
      instead of letters.
  """

  kind: ClassVar[str] = "letters"
  forms: ClassVar[tuple[str, ...]] = ("letters",)

  _: dataclasses.KW_ONLY
  tokens: tuple[str, ...] = RNA
  rna: bool = False
  lines: bool = True
  pattern: str = "**/*"
  words: bool = False

  def __post_init__(self):
    super().__post_init__()
    for name in _SPECIAL:
      if name not in self.tokens:
        raise validate.error("tokens", "no such name", repr(name))

  def _prepare(self, values, lengths, times, targets):
    del times
    if targets is not None:
      raise validate.error("targets", type(targets).__name__, "None")
    values = [values] if isinstance(values, str) else values
    values = _raw_arrays.rows(values, lengths)
    rows = [
      self.encode(row, f"sequence {number}")
      for number, row in enumerate(values)
    ]
    share, others = self.outside(values)
    if self.words:
      self._tell_unknown(rows, others)
    elif share > _TOLD:
      logging.warning(
        "%.1f %% of the letters are not of the model's alphabet, most often"
        " %s: they are read as <unk>, and are not scored.",
        100 * share,
        others,
      )
    inputs, counts = padding.pad_sequences(
      rows, value=self.tokens.index("<pad>")
    )
    return datasets.ArrayDataset(inputs, inputs, counts)

  def encode(self, letters: str, name: str = "sequence") -> np.ndarray:
    """Encodes n letters as (n + 2,) int32 tokens; <unk> for unknown letters.

    Raises:
      ValueError: if the sequence is not a string, or empty.
    """
    if not isinstance(letters, str) or not letters:
      raise validate.error(name, repr(letters), "letters")
    if self.words:
      parts = _sentence_words.split(letters)
      if not parts:
        raise validate.error(name, repr(letters), "words")
    else:
      parts = [self._read_as(x) for x in _PART.findall(letters)]
    parts, unknown = ["<cls>", *parts, "<eos>"], self._places["<unk>"]
    return np.array([self._places.get(x, unknown) for x in parts], np.int32)

  @functools.cached_property
  def _places(self):
    """The number of each token, by token."""
    return {token: i for i, token in enumerate(self.tokens)}

  def outside(self, sequences: Sequence[str]) -> tuple[float, str]:
    """Returns the share of unknown letters, and the three commonest.

    Those are listed as "'E', 'L', 'F'"; "" if there are none. For sentences the
    units are words.
    """
    if self.words:
      return _others(_sentence_words.count(sequences), self._places)
    counts = collections.Counter(_MASK.sub("", "".join(sequences)))
    known = set(self.tokens)
    return _others(counts, {x for x in counts if self._read_as(x) in known})

  def _tell_unknown(self, rows, others):
    """Warns of words of encoded sentences that are not in the vocabulary."""
    letters = np.concatenate(rows)
    unknown = int((letters == self.tokens.index("<unk>")).sum())
    if unknown:
      logging.warning(
        "%d of %d words are not in the model's vocabulary, most often %s: they"
        " are read as <unk>, and are not scored.",
        unknown,
        len(letters) - 2 * len(rows),
        others,
      )

  def _read_as(self, part):
    """Converts a letter to the alphabet's form."""
    if len(part) > 1:
      return part.lower()
    if not self.rna:
      return part
    return part.upper().replace("T", "U")

  def _read(self, path: Any) -> base.Examples:
    names, sequences = records(path, self.pattern, self.lines)
    return base.Examples(_distinct(names), self.prepare(sequences))


def _distinct(names):
  """Makes sequence names distinct: the second of a name gets " (2)"."""
  counts: dict[str, int] = {}
  found: dict[str, None] = {}
  for name in names:
    one = name
    while one in found:
      counts[name] = counts.get(name, 1) + 1
      one = f"{name} ({counts[name]})"
    found[one] = None
  return tuple(found)


def _others(counts, known):
  """The share of unknown entries by count, and the three commonest."""
  others = collections.Counter(
    {x: n for x, n in counts.items() if x not in known}
  )
  common = [repr(x) for x, _ in others.most_common(3)]
  share = others.total() / max(counts.total(), 1)
  return share, ", ".join(common)


def records(
  path: str | os.PathLike, pattern: str = "**/*", lines: bool = True
) -> tuple[list[str], list[str]]:
  """Reads the names and the letters of sequences.

  Args:
    path: see `load`; empty lines are skipped.
    pattern: pattern of the files in a folder.
    lines: whether each line is a sequence.

  Raises:
    ValueError: if there is no sequence, or a file is not UTF-8.
    MissingData: if there is no such file.
  """
  names: list[str] = []
  sequences: list[str] = []
  for name, file in text.find(path, pattern):
    content = columns.decoded(limits.read_bytes(file), name)
    if content.lstrip().startswith(">"):
      for record in content.lstrip()[1:].split("\n>"):
        title, _, letters = record.partition("\n")
        names.append(title.strip())
        sequences.append("".join(letters.split()))
        if not sequences[-1]:
          place = f"{name}, record {names[-1]!r}"
          raise validate.error(place, "no letter", "one or more")
    elif lines:
      all_lines = [line.rstrip() for line in content.splitlines()]
      filled = [(i, line) for i, line in enumerate(all_lines, 1) if line]
      names += [f"{name}:{number}" for number, _ in filled]
      sequences += [line for _, line in filled]
    elif content:
      names.append(name)
      sequences.append(content)
    else:
      raise validate.error(name, "no letter", "one or more")
  if not sequences:
    raise validate.error(str(path), "no sequence", "one or more")
  return names, sequences


def load(
  path: str | os.PathLike,
  *,
  pattern: str = "**/*",
  alphabet: Literal["own", "rna"] = "own",
  lines: bool = True,
  words: int | None = None,
  length: int = 256,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> datasets.Splits:
  """Loads sequences of letters or words, to predict hidden ones.

  Args:
    path: a file, a folder, or a pattern. A file that begins with ">" is FASTA.
    pattern: pattern of the files in a folder.
    alphabet: "own": the letters of the files; "rna": the tokens of RNA-FM.
      Other letters are <unk>, with a warning above 1 %.
    lines: whether each line of other files is a sequence; or a whole file.
    words: for sequences of words instead of letters the least count of a word:
      rarer words in the files are <unk>; None for letters.
    length: number of letters, or words, of the chunks that longer sequences are
      cut into.
    valid_fraction: share of the chunks for validation; those of a sequence are
      in one part, unless there are too few sequences.
    test_fraction: share for testing.
    seed: seed of the random split; the chunks of whole texts stay in order, and
      the last ones are for testing.

  Returns:
    The splits, see `make_splits`.

  Raises:
    ValueError: if an option is wrong, a part would be empty, or more than 20 %
      of the letters are not in the alphabet.
    MissingData: if there is no such file.
  """
  validate.choice("alphabet", alphabet, ("own", "rna"))
  validate.positive("length", length)
  _, sequences = records(path, pattern, lines)
  tokens = RNA
  if alphabet == "own":
    *first, mask = _SPECIAL
    known = set("".join(sequences))
    if words is not None:
      known = _sentence_words.vocabulary(sequences, words)
    tokens = (*first, *sorted(known), mask)
  elif words is not None:
    raise validate.error("words", words, f"None with alphabet {alphabet!r}")
  source = LetterSource(
    reader="letters",
    tokens=tokens,
    rna=alphabet == "rna",
    lines=lines,
    pattern=pattern,
    words=words is not None,
  )
  share, others = source.outside(sequences)
  if alphabet != "own" and share > _REFUSED:
    expected = f"one that has the letters of {path}, as 'own' does: of these"
    outside = f"{100 * share:.0f} % are others, most often {others}"
    raise validate.error("alphabet", alphabet, f"{expected} {outside}")
  order = np.arange(len(sequences))
  if lines:
    order = np.random.default_rng(seed).permutation(order)
  pieces, ends = [], []
  for i in order:
    parts, between = sequences[i], ""
    if words is not None:
      parts, between = _sentence_words.split(parts), " "
    for begin in range(0, len(parts), length):
      pieces.append(between.join(parts[begin : begin + length]))
    ends.append(len(pieces))
  fractions = valid_fraction, test_fraction
  whole = ends if lines else None
  return make_splits(pieces, source, str(path), *fractions, ends=whole)


def make_splits(
  sequences: Sequence[str],
  source: LetterSource,
  place: str,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.1,
  partners: Sequence[np.ndarray] | None = None,
  ends: Sequence[int] | None = None,
) -> datasets.Splits:
  """Splits sequences in their order, the last ones for testing.

  Args:
    sequences: sequences of letters.
    source: source that encodes them.
    place: origin of the sequences.
    valid_fraction: share for validation.
    test_fraction: share for testing.
    partners: for each sequence (n,) the place paired with each letter, from 0
      on, or -1; None if there are no pairs.
    ends: allowed ends of parts, as numbers of sequences before; anywhere if
      None, or if a part would be empty.

  Returns:
    The splits: inputs and targets (n, time) int32 tokens, with lengths, and
    extras.partners if given; info.tokens has the tokens.

  Raises:
    ValueError: if a part would be empty.
  """
  dataset = source.prepare(sequences)
  if partners is not None:
    # From 1 on, after the start token.
    places = np.zeros_like(dataset.inputs)
    for row, one in zip(places, partners):
      row[1 : len(one) + 1] = np.where(one < 0, 0, one + 1)
    dataset = dataset._replace(extras=datasets.Extras(partners=places))
  sizes = _part_splits.sizes(
    len(sequences), valid_fraction, test_fraction, "sequences"
  )
  if ends is not None:
    sizes = _part_splits.moved(sizes, ends)
  parts = datasets.consecutive(dataset, sizes)
  info = datasets.Info(
    "Letters of sequences; which ones are hidden?",
    place,
    "that of the files",
    vocab_size=len(source.tokens),
    tokens=source.tokens,
    preparation=source,
  )
  return datasets.Splits(*parts, info)
