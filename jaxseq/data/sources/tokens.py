"""Sequences of tokens with one class each."""

import dataclasses
from typing import ClassVar

import numpy as np

from jaxseq.data import _raw_arrays
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data.sources import base


@dataclasses.dataclass(frozen=True)
class TokenSource(base.Source):
  """Sequences of tokens, padded with 0 at their ends.

  `prepare` takes (n, time) integers, or a sequence of arrays (time_i,).

  Attributes:
    classes: names of the classes.
    length: tokens of the training examples, to which shorter ones are padded.
    vocab_size: number of tokens.
    tokens: meaning of each token.
  """

  kind: ClassVar[str] = "tokens"

  _: dataclasses.KW_ONLY
  classes: tuple[str, ...] | None = None
  length: base.Count | None = None
  vocab_size: base.Count | None = None
  tokens: tuple[str, ...] | None = None

  def _prepare(self, values, lengths, times, targets):
    del times
    rows = [
      _raw_arrays.tokens(f"sequence {number}", row, self.vocab_size)
      for number, row in enumerate(_raw_arrays.rows(values, lengths))
    ]
    length = max(max(map(len, rows), default=0), self.length or 1)
    inputs, lengths = padding.pad_sequences(
      [row.astype(np.int32) for row in rows], length
    )
    classes = _raw_arrays.class_targets(targets, self.classes, len(rows))
    whole = np.all(lengths == length)
    return datasets.ArrayDataset(inputs, classes, None if whole else lengths)
