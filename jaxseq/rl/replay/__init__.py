"""Replays of frames and of sequences, with a shared tree of priorities."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl.replay import frame_rows as frame_rows
  from jaxseq.rl.replay import frame_sequences as frame_sequences
  from jaxseq.rl.replay import frames as frames
  from jaxseq.rl.replay import sequences as sequences
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
