"""Standard output and error that may be closed or full without harm.

A run writes what it reaches to files. That nobody reads its terminal any more,
as after `| head`, that the disk behind `> log` is full, or that an encoding has
not all characters of a text must not end it.
"""

import errno
import io
import os
import sys
from typing import Any
from typing import TextIO


class Tolerant:
  """A text stream that ignores writes once the stream below fails.

  Args:
    stream: the stream; None for one that was closed before the program began.
  """

  def __init__(self, stream: TextIO | None):
    self._stream = stream or open(os.devnull, "w", encoding="utf-8")
    self.error: OSError | None = None
    if isinstance(self._stream, io.TextIOWrapper):
      # What the terminal's encoding lacks is shown as \u2713, say.
      self._stream.reconfigure(errors="backslashreplace")

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    """Writes a text; returns its length."""
    self._try(lambda: self._stream.write(text))
    return len(text)

  def flush(self) -> None:
    """Hands on what has been written."""
    self._try(self._stream.flush)

  def _try(self, function) -> None:
    try:
      function()
    except OSError as error:
      self.error = error
      # What is still in the stream's buffer must not fail again at the end.
      sink = os.open(os.devnull, os.O_WRONLY)
      os.dup2(sink, self._stream.fileno())
      os.close(sink)

  def lost(self) -> str | None:
    """Says why output was lost, None if none was or its reader went away."""
    if self.error is None or self.error.errno == errno.EPIPE:
      return None
    return self.error.strerror


def install() -> tuple[Tolerant, Tolerant]:
  """Puts tolerant streams in place of standard output and error."""
  out, err = Tolerant(sys.stdout), Tolerant(sys.stderr)
  sys.stdout, sys.stderr = out, err
  return out, err
