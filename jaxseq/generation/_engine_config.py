"""Sizes of an engine."""

import dataclasses

from jaxseq import validate
from jaxseq.generation import _thin_states


@dataclasses.dataclass(frozen=True)
class EngineConfig:
  """Sizes of the compiled program.

  Attributes:
    slots: rows that tokens are drawn for at a time.
    lines: prompts that are read at a time.
    chunk: tokens of each that are read in one call.
    steps: tokens that one call draws for each row, at most; passes, each of
      some tokens, with drafts.
    key_channels: share of the channels of a head that keys of attention keep
      once a prompt is read, those that matter most to its last 32 queries (Xu
      et al., "ThinK", arXiv:2407.21018); 1 for all. Layers that see at most
      `whole_keys` elements keep all, and so do lines that read prompts, and a
      `PrefixCache`.
    whole_keys: number of the last keys that have room for all channels, at
      least 32: the last 32 of the prompt, and drawn ones until so many have
      followed them.
  """

  slots: int = 16
  lines: int = 4
  chunk: int = 64
  steps: int = 16
  key_channels: float = 1.0
  whole_keys: int = 128

  def __post_init__(self):
    names = "slots", "lines", "chunk", "steps"
    validate.fields(self, positive=names)
    _thin_states.parse(self.key_channels, self.whole_keys)

  @property
  def thinning(self) -> _thin_states.Thinning | None:
    """Sizes of thin keys of prompts; None if all channels stay."""
    return _thin_states.parse(self.key_channels, self.whole_keys)
