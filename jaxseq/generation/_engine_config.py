"""Sizes of an engine."""

import dataclasses

from jaxseq import _validate


@dataclasses.dataclass(frozen=True)
class EngineConfig:
  """Sizes of the compiled program.

  Attributes:
    slots: rows that tokens are drawn for at a time.
    lines: prompts that are read at a time.
    chunk: tokens of each that are read in one call.
    steps: tokens that one call draws for each row, at most; passes, each of
      some tokens, with drafts.
  """

  slots: int = 16
  lines: int = 4
  chunk: int = 64
  steps: int = 16

  def __post_init__(self):
    names = "slots", "lines", "chunk", "steps"
    _validate.fields(self, positive=names)
