"""Ends a program that has come to a standstill, and says so.

A collective operation waits for all processes. When one of them is stuck (and
not gone: then `jax.distributed` ends the others) the rest would wait for ever,
silently, and be paid for.
"""

import faulthandler
import os
import sys
import threading
import time

import jax

from jaxseq import validate

EXIT_CODE = 70


class Watchdog:
  """Context manager that wants to hear from its owner now and then.

  Args:
    patience: seconds of silence after which the program ends, with a sentence
      and the stacks of its threads on stderr and exit code 70; 0 for never.
  """

  def __init__(self, patience: float):
    self._patience = validate.number("patience", patience, 0)
    self._last = time.monotonic()
    self._doing = "starting"
    self._closed = threading.Event()
    self._thread: threading.Thread | None = None

  def __enter__(self) -> "Watchdog":
    self.beat("starting")
    if self._patience:
      self._thread = threading.Thread(
        target=self._watch, name="watchdog", daemon=True
      )
      self._thread.start()
    return self

  def __exit__(self, *unused_exception) -> None:
    self._closed.set()
    if self._thread is not None:
      self._thread.join()

  def beat(self, doing: str) -> None:
    """Tells that all is well, and names the next step."""
    self._doing = doing
    self._last = time.monotonic()

  def _watch(self) -> None:
    while True:
      left = self._last + self._patience - time.monotonic()
      if left <= 0:
        self._end()
      if self._closed.wait(max(left, 0.01)):
        return

  def _end(self) -> None:
    print(
      f"\nprocess {jax.process_index()} of {jax.process_count()}: nothing has "
      f"happened for {self._patience:g} seconds while {self._doing}; another "
      "process may be stuck, or the machines have lost each other. Ending; the "
      "same command resumes from the last checkpoint. Where the threads are:",
      file=sys.stderr,
      flush=True,
    )
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(EXIT_CODE)
