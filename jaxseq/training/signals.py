"""A stop that is asked for by a signal and takes effect between chunks.

Clusters send SIGTERM some time before they take a machine back. The loop then
finishes the chunk that runs, saves, and leaves with exit code 0, so that the
job counts as ended in order and can be started again.
"""

import os
import signal
import threading

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


def exit_on_sigterm() -> None:
  """Makes SIGTERM end the program in order where no loop runs.

  Before training, and between two runs, there is nothing to save: what has been
  trained is saved already.
  """

  def leave(number, frame):
    del frame
    os.write(
      2,
      b"\nSIGTERM: stopped outside of training; what was trained is saved, and "
      b"the same command goes on from there\n",
    )
    raise SystemExit(EXIT_CODES[signal.Signals(number).name])

  if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, leave)


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
    if threading.current_thread() is threading.main_thread():
      signs = (
        (signal.SIGTERM, signal.SIGINT) if self._alone else (signal.SIGINT,)
      )
      for number in signs:
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
