"""A stop that is asked for by a signal and takes effect between chunks.

Clusters send SIGTERM some time before they take a machine back. The loop then
finishes the chunk that runs, saves, and leaves with exit code 0, so that the
job counts as ended in order and can be started again.
"""

import _thread
from collections.abc import Iterable
from collections.abc import Iterator
import os
import signal
import sys
import threading
import time
from typing import TypeVar

T = TypeVar("T")
# The request that came in the last chunk of the newest loop, which has ended as
# if there were none.
_unanswered: str | None = None
EXIT_CODES = {"SIGTERM": 0, "SIGINT": 130}
_GOES_ON = "the trained state is saved, and the same command resumes from there"


class Stopped(SystemExit):
  """The loop stopped because of a signal, after it had saved its state.

  Attributes:
    signal: "SIGTERM" or "SIGINT".
    step: the step after which the run stopped; None between two runs.
  """

  def __init__(self, name: str, step: int | None):
    super().__init__(EXIT_CODES[name])
    self.signal = name
    self.step = step


def exit_on_sigterm() -> None:
  """Makes SIGTERM end the program in order where no loop runs.

  Before training, and between two runs, there is nothing to save: what has been
  trained is saved already. Python drops an exception that is raised inside of a
  callback, such as one of its garbage collector. The signal is therefore raised
  again, once a second, until the program leaves.
  """
  if threading.current_thread() is not threading.main_thread():
    return
  program = _outermost(sys._getframe())
  leaving: SystemExit | None = None

  def leave(number, frame):
    nonlocal leaving
    if leaving is None:
      leaving = SystemExit(EXIT_CODES[signal.Signals(number).name])
      os.write(
        2,
        f"\nSIGTERM: stopped outside of training; {_GOES_ON}\n".encode(),
      )
      # Not a `threading.Thread`, whose locks the main thread may hold.
      _thread.start_new_thread(_raise_again, (number,))
    elif _is_leaving() or _outermost(frame) is not program:
      return
    raise leaving

  signal.signal(signal.SIGTERM, leave)


def _outermost(frame):
  """The frame of the program; at its end, that of what the interpreter runs."""
  while frame is not None and frame.f_back is not None:
    frame = frame.f_back
  return frame


def _is_leaving():
  """True if a `finally` or an `__exit__` runs because of a SystemExit."""
  error = sys.exc_info()[1]
  while error is not None and not isinstance(error, SystemExit):
    error = error.__context__
  return error is not None


def _raise_again(number):
  """Calls the handler of a signal in the main thread, once a second."""
  while True:
    time.sleep(1)
    _thread.interrupt_main(number)


def one_by_one(runs: Iterable[T]) -> Iterator[T]:
  """Yields runs until a stop is requested; later ones do not start.

  A loop whose last chunk runs when the signal comes ends as if there were none.

  Args:
    runs: whatever describes runs, each of which has a loop of its own, or
      several.

  Raises:
    Stopped: the signal came at the end of the run before.
  """
  global _unanswered
  _unanswered = None
  for run in runs:
    if _unanswered is not None:
      import jax

      if jax.process_index() == 0:
        text = f"{_unanswered}: stopped between two runs; {_GOES_ON}"
        print(text, file=sys.stderr, flush=True)
      raise Stopped(_unanswered, None)
    yield run


class GracefulStop:
  """Context manager in which SIGTERM and SIGINT only ask for a stop.

  A second SIGINT interrupts at once. Outside the main thread, where Python
  cannot handle signals, nothing is changed.

  With several processes `jax.distributed` listens for SIGTERM, whichever of
  them it reaches, and they agree on where all of them stop; SIGINT is passed on
  as SIGTERM.
  """

  def __init__(self):
    import jax  # slow to import, and no matter for `exit_on_sigterm`

    self._name: str | None = None
    self._alone = jax.process_count() == 1
    self._first = jax.process_index() == 0
    self._agreed = False
    self._asked = 0
    self._previous: dict[signal.Signals, object] = {}

  def __enter__(self) -> "GracefulStop":
    global _unanswered
    _unanswered = None
    if threading.current_thread() is threading.main_thread():
      signs = (
        (signal.SIGTERM, signal.SIGINT) if self._alone else (signal.SIGINT,)
      )
      for number in signs:
        self._previous[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *unused_exception) -> None:
    global _unanswered
    if self._alone or self._agreed:
      _unanswered = self._name
    for number, handler in self._previous.items():
      # None stands for a handler that was not installed from Python.
      signal.signal(number, handler or signal.SIG_DFL)
    self._previous.clear()

  def _handle(self, number: int, frame: object) -> None:
    del frame
    name = signal.Signals(number).name
    if name == "SIGINT" and self._name == "SIGINT":
      raise KeyboardInterrupt
    if self._name is None and self._first:
      # Not print: the handler may have come in the middle of one.
      text = f"\n{name}: stopping after what runs now (or is being compiled)"
      if name == "SIGINT":
        text += "; again, to stop at once"
      os.write(2, f"{text}\n".encode())
    self._name = self._name or name
    if self._alone:
      return
    if os.name == "nt":
      # There os.kill ends the process at once.
      signal.raise_signal(signal.SIGTERM)
    else:
      os.kill(os.getpid(), signal.SIGTERM)

  def requested(self) -> str | None:
    """Returns the name of the signal that asked for a stop, or None.

    With several processes all of them must call it equally often: the call at
    which it first returns a name is the same for all.
    """
    if self._alone:
      return self._name
    from jax.experimental import multihost_utils

    self._asked += 1
    if multihost_utils.reached_preemption_sync_point(self._asked):
      self._agreed = True
      self._name = self._name or "SIGTERM"
    return self._name if self._agreed else None
