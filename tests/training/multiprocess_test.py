"""Checkpoints, signals and metrics with two processes on this machine."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.training import checkpoint
from jaxseq.training import scalars
from jaxseq.training.devices import _watchdog
from jaxseq.training.devices import processes

_HERE = pathlib.Path(__file__).resolve().parent


def free_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def run_two(script, *arguments):
  """Runs a script twice, side by side; returns codes, outputs and errors."""
  port = str(free_port())
  started = [
    subprocess.Popen(
      [sys.executable, str(_HERE / script), str(number), port, *arguments],
      env={
        **os.environ,
        "PYTHONPATH": str(_HERE.parents[1]),
        "XLA_FLAGS": "",
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(2)
  ]
  try:
    told = [process.communicate(timeout=90) for process in started]
  finally:
    for process in started:
      process.kill()
  return [(process.returncode, *each) for process, each in zip(started, told)]


@pytest.mark.slow
def test_two_processes_that_hang_end_with_a_sentence():
  ends = run_two("hung_processes.py")
  waits = {0: 5, 1: 2}
  for number, (code, out, err) in enumerate(ends):
    assert code == _watchdog.EXIT_CODE, err
    assert "not ended" not in out
    assert (
      f"process {number} of 2: nothing has happened for {waits[number]} "
      "seconds while updating; another process may be stuck"
    ) in err
  assert "in stuck_here" in ends[0][2]
  assert "in sync_global_devices" in ends[1][2]


@pytest.mark.slow
def test_two_processes_save_stop_and_fall_back_together(tmp_path):
  told = run_two("two_processes.py", str(tmp_path))
  for code, out, err in told:
    assert code == 0, err
    assert out.endswith("right\n")
  # Process 0 alone writes rows and tells of the stop.
  steps = [row["step"] for row in scalars.read(tmp_path)]
  assert steps == list(range(1, len(steps) + 1))
  last = steps[-1]
  assert f"stopped after step {last}" in told[0][2]
  assert "stopped after step" not in told[1][2]
  # One process restores what two have saved.
  template = {
    "split": jnp.zeros(8),
    "whole": jnp.zeros(3),
    "key": jax.random.key(0),
    "keys": jax.random.split(jax.random.key(0)),
    "weak": jnp.full(2, 0.0),
    "weak_split": jnp.full(8, 0.0),
    "host": np.zeros(2),
    "local": jnp.zeros(2),
  }
  with checkpoint.Checkpointer(tmp_path / "checkpoints") as reader:
    step, state = reader.restore(template)
  assert step == last
  np.testing.assert_array_equal(state["split"], np.arange(8.0) + last)
  np.testing.assert_array_equal(state["whole"], last)
  np.testing.assert_array_equal(state["weak_split"], np.arange(8.0) + last)
  words = jax.random.key_data(state["keys"])
  np.testing.assert_array_equal(words, [[0, last]] * 2)


def test_a_process_ends_soon_when_another_has_gone():
  start = time.monotonic()
  (code, out, err), (killed, _, _) = run_two("dead_processes.py")
  assert killed == -signal.SIGKILL
  assert code == processes.EXIT_CODE, err
  assert "not ended" not in out
  assert "error: process 0 of 2: another process has gone" in err
  assert "Traceback" not in err
  # Twice what it takes to start; without this it waits for 100 seconds.
  assert time.monotonic() - start < 60
