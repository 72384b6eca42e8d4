"""Others' implementations, timed beside ours in processes of their own.

JAX and torch both take a device's memory in advance, so that each library has
its process, which lives as long as the benchmark does. `peer.py` is that
process; it answers each request with lines of JSON, one for each peer.
"""

import contextlib
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np

from benchmarks.accelerators import correctness
from benchmarks.accelerators import problems

LIBRARIES = ("jax", "torch")
_ROOT = pathlib.Path(__file__).resolve().parents[2]
# So many elements: kernels want a multiple of their chunks.
_LENGTH = 256


class Peers:
  """The processes, started when they are first asked.

  Args:
    directory: where problems in float64 are written for them.
    platform: of this process, as `jax.default_backend()` gives it.
  """

  def __init__(self, directory: pathlib.Path, platform: str):
    self._directory, self._platform = directory, platform
    self._running: dict[str, _Process] = {}

  def timed(
    self, problem: problems.Problem, seconds: float
  ) -> list[dict[str, Any]]:
    """Times all peers of a problem.

    Args:
      problem: which.
      seconds: that they may take together; who has not answered by then is
        ended.

    Returns:
      For each peer and kind, or for each peer without an answer: "peer", and
      "kind", "ms", "spread", "error" (against float64, on a small problem) or
      "note", why there is no time.
    """
    path = self._truth(problem)
    request = {
      "op": problem.op,
      "label": problem.label,
      "dtype": problem.dtype,
      "sizes": problem.sizes,
      "truth": str(path),
    }
    rows, end = [], time.monotonic() + seconds
    for library in LIBRARIES:
      process = self._running.get(library)
      if process is None or not process.alive():
        process = _Process(library, self._platform, self._directory)
        self._running[library] = process
      rows += process.ask(request, end - time.monotonic())
    return rows

  def close(self) -> None:
    """Ends the processes."""
    for process in self._running.values():
      process.end()

  def _truth(self, problem):
    """A file with a small problem of the kind, with and without resets."""
    path = self._directory / f"truth_{problem.op}_{problem.dtype}.npz"
    if path.exists():
      return path
    small = problems.small(problem.op, problem.dtype, time=_LENGTH)
    found = {"sizes": np.array(json.dumps(small.sizes))}
    for key, resets in (("y_resets", True), ("y", False)):
      known = correctness.truth(small, resets=resets)
      found[key] = known.results[0]
    np.savez(path, **found)
    return path


class _Process:
  """One library's process, and its answers as they come."""

  def __init__(self, library, platform, directory):
    environment = dict(os.environ) | {
      "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
      "PYTHONUNBUFFERED": "1",
    }
    if library != "jax":
      # It draws the numbers alone there.
      environment["JAX_PLATFORMS"] = "cpu"
    self._log = open(directory / f"peers_{library}.log", "w")
    self._process = subprocess.Popen(
      [sys.executable, "-m", "benchmarks.accelerators.peer", library, platform],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      text=True,
      cwd=_ROOT,
      env=environment,
    )
    self._library, self._lines = library, queue.Queue()
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()

  def alive(self):
    return self._process.poll() is None

  def ask(self, request, seconds):
    """Its answers until "done", or until the time is up."""
    rows, end = [], time.monotonic() + seconds
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(json.dumps(request) + "\n")
      self._process.stdin.flush()
    while True:
      try:
        line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
      except queue.Empty:
        note = f"no further answer within {seconds:.0f} s"
        break
      if line is None:
        note = f"its process ended: see {pathlib.Path(self._log.name).name}"
        break
      row = json.loads(line)
      if row.get("done"):
        return rows
      rows.append(row)
    self.end()
    return [*rows, {"peer": self._library, "note": note}]

  def end(self):
    """Ends the process, whatever it does."""
    self._process.kill()
    self._process.wait()
    self._reader.join()
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    self._process.stdout.close()
    self._log.close()

  def _read(self):
    for line in self._process.stdout:
      self._lines.put(line)
    self._lines.put(None)
