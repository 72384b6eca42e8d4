"""A stop that is asked for by a signal and takes effect between chunks.

Clusters send SIGTERM some time before they take a machine back. The loop then
finishes the chunk that runs, saves, and leaves with exit code 0, so that the
job counts as ended in order and can be started again.
"""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils
import numpy as np

EXIT_CODES = {"SIGTERM": 0, "SIGINT": 130}


class Stopped(SystemExit):
  """The loop stopped because of a signal, after it had saved its state.

  Attributes:
    signal: "SIGTERM" or "SIGINT".
    step: the step after which the run stopped.
  """

  def __init__(self, name: str, step: int):
    super().__init__(EXIT_CODES[name])
    self.signal = name
    self.step = step


class GracefulStop:
  """Context manager in which SIGTERM and SIGINT only ask for a stop.

  A second SIGINT interrupts at once. Outside the main thread, where Python
  cannot handle signals, nothing is changed.
  """

  def __init__(self):
    self._name: str | None = None
    self._previous: dict[signal.Signals, object] = {}

  def __enter__(self) -> "GracefulStop":
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGTERM, signal.SIGINT):
        self._previous[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *unused_exception) -> None:
    for number, handler in self._previous.items():
      # None stands for a handler that was not installed from Python.
      signal.signal(number, handler or signal.SIG_DFL)
    self._previous.clear()

  def _handle(self, number: int, frame: object) -> None:
    del frame
    name = signal.Signals(number).name
    if name == "SIGINT" and self._name == "SIGINT":
      raise KeyboardInterrupt
    if self._name is None and jax.process_index() == 0:
      # Not print: the handler may have come in the middle of one.
      text = f"\n{name}: stopping after what runs now (or is being compiled)"
      if name == "SIGINT":
        text += "; again, to stop at once"
      os.write(2, f"{text}\n".encode())
    self._name = self._name or name

  def requested(self) -> str | None:
    """Returns the name of the signal that asked for a stop, or None.

    With several processes this is a collective call: all of them get the same
    answer, whichever of them the signal reached.
    """
    if jax.process_count() == 1:
      return self._name
    names = list(EXIT_CODES)
    mine = names.index(self._name) + 1 if self._name else 0
    everyone = multihost_utils.process_allgather(np.int32(mine))
    # The smallest code that is not 0, so that SIGTERM prevails.
    heard = [int(code) for code in np.ravel(everyone) if code]
    return names[min(heard) - 1] if heard else None
