"""An experiment on two processes, stopped, and gone on with on one."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxseq.training import metrics

_ROOT = pathlib.Path(__file__).resolve().parents[2]


# Experiment: its config and more flags, and how many steps it makes.
RUNS = {
  "classify": (["--config=tests/experiments/gru_digits.py"], 400),
  "icrl": (
    [
      "--config=tests/experiments/gru_only.py",
      # A minibatch has an environment for each of four devices.
      "--config.ppo.num_envs=16",
      "--config.ppo.rollout_length=16",
      "--config.ppo.total_steps=10240",
    ],
    10240,
  ),
}


def start(experiment, workdir, devices, *flags, log):
  command = [
    sys.executable,
    "-m",
    f"experiments.{experiment}",
    *RUNS[experiment][0],
    f"--workdir={workdir}",
    "--mesh=data=0",
    *flags,
  ]
  environment = {
    **os.environ,
    "JAX_NUM_CPU_DEVICES": str(devices),
    "PYTHONPATH": str(_ROOT),
  }
  if experiment == "icrl":
    # Process 0 would find what it compiled in an earlier run and the other one
    # would not: they meet within 30 seconds, or not at all.
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
  with open(log.with_suffix(".out"), "w") as out, open(log, "w") as err:
    return subprocess.Popen(
      command, cwd=_ROOT, env=environment, stdout=out, stderr=err
    )


def losses(workdir):
  return metrics.column(metrics.read(workdir / "gru"), "loss")


def free_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
  "experiment", ["classify", pytest.param("icrl", marks=pytest.mark.slow)]
)
def test_sigterm_to_one_of_two_processes_and_resume_on_one(
  tmp_path, experiment
):
  whole, stopped = tmp_path / "whole", tmp_path / "stopped"
  port = free_port()
  logs = [tmp_path / f"{number}.log" for number in range(2)]
  two = [
    start(
      experiment,
      stopped,
      2,
      f"--coordinator=127.0.0.1:{port}",
      "--num_processes=2",
      f"--process_id={number}",
      log=logs[number],
    )
    for number in range(2)
  ]
  try:
    deadline = time.monotonic() + 200
    while not (stopped / "gru/metrics.jsonl").exists():
      assert time.monotonic() < deadline, logs[0].read_text()
      assert two[0].poll() is None, logs[0].read_text()
      time.sleep(0.1)
    two[1].send_signal(signal.SIGTERM)
    assert [process.wait(200) for process in two] == [0, 0]
  finally:
    for process in two:
      process.kill()
  told = re.search(r"stopped after step (\d+)", logs[0].read_text())
  step = int(told[1])
  assert 0 < step < RUNS[experiment][1]
  saved = [int(p.name) for p in (stopped / "gru/checkpoints").iterdir()]
  assert max(saved) == step
  assert losses(stopped)[0][-1] == step
  # The other process tells nothing.
  assert "stopped" not in logs[1].read_text()

  # Not beside the two, which then would be slower to meet.
  ends = [
    start(experiment, stopped, 2, log=tmp_path / "last.log"),
    start(experiment, whole, 4, log=tmp_path / "alone.log"),
  ]
  try:
    for process, name in zip(ends, ("last", "alone")):
      assert process.wait(200) == 0, (tmp_path / f"{name}.log").read_text()
  finally:
    for process in ends:
      process.kill()
  text = (tmp_path / "last.log").read_text()
  assert f"goes on after step {step}" in text
  (steps, values), (expected_steps, expected) = losses(stopped), losses(whole)
  np.testing.assert_array_equal(steps, expected_steps)
  # The same sums in another order, in float32, fed back up to 400 times.
  np.testing.assert_allclose(values, expected, rtol=1e-3)
