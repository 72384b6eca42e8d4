"""TensorBoard's event files, written without a thread.

tensorboardX's own writer hands its events to a thread: where that fails, as on
a full disk, the run would wait for it for ever.
"""

from collections.abc import Mapping
import contextlib
import math
import pathlib
import socket
import time

from absl import logging


class EventFiles:
  """Writes scalars; a warning tells where that fails, and it ends.

  TensorBoard forgets what earlier files have from `purge_step` on.
  """

  def __init__(self, directory: pathlib.Path, purge_step: int | None = None):
    # Optional, and slow to import.
    from tensorboardX import record_writer
    from tensorboardX import summary
    from tensorboardX.proto import event_pb2

    self._scalar, self._proto = summary.scalar, event_pb2
    self._directory = directory
    self._writer = None
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
    with self._tried():
      directory.mkdir(parents=True, exist_ok=True)
      self._writer = record_writer.RecordWriter(str(directory / name))
      self._add(time.time(), file_version="brain.Event:2")
      if purge_step is not None:
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(time.time(), step=purge_step, session_log=start)

  def write(
    self, step: int, wall_time: float, values: Mapping[str, object]
  ) -> None:
    """Writes a row: of a list over seeds a tag each."""
    with self._tried():
      for tag, value in tags(values).items():
        if self._writer is not None:
          self._add(wall_time, step=step, summary=self._scalar(tag, value))

  def flush(self) -> None:
    """Puts everything written so far on disk."""
    with self._tried():
      if self._writer is not None:
        self._writer.flush()

  def close(self) -> None:
    """Closes the file."""
    with self._tried():
      writer, self._writer = self._writer, None
      if writer is not None:
        writer.close()

  def _add(self, wall_time, **fields):
    event = self._proto.Event(wall_time=wall_time, **fields)
    self._writer.write(event.SerializeToString())

  @contextlib.contextmanager
  def _tried(self):
    """Ends the writing, with a warning, where it fails."""
    try:
      yield
    except OSError as error:
      logging.warning(
        "No more event files in %s: %s", self._directory, error.strerror
      )
      writer, self._writer = self._writer, None
      with contextlib.suppress(OSError):
        if writer is not None:
          writer.close()


def tags(row: Mapping[str, object]) -> dict[str, float]:
  """Returns the numbers of a row that can be drawn, one for each seed.

  Args:
    row: names to numbers, or to lists of one number per seed, which become
      `name/seed_0`, `name/seed_1`, ...

  Returns:
    The finite ones by name.
  """
  out = {}
  for name, value in row.items():
    if isinstance(value, list):
      out |= {f"{name}/seed_{seed}": x for seed, x in enumerate(value)}
    else:
      out[name] = value
  return {name: value for name, value in out.items() if math.isfinite(value)}
