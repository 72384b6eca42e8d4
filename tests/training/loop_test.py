"""The host loop: exact resume after kills, signals, and damage."""

import functools
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.training import checkpoint
from jaxseq.training import errors
from jaxseq.training import loop
from jaxseq.training import scalars
from jaxseq.training import signals
from tests import programs

_HERE = pathlib.Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]


def init():
  return {"x": jnp.ones(3), "key": jax.random.key(0)}


@functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
def train(state, count):
  def update(state, _):
    key, noise = jax.random.split(state["key"])
    x = jnp.sin(state["x"] * 1.3) + 0.1 * jax.random.normal(noise, (3,))
    return {"x": x, "key": key}, {"loss": x.sum(), "per_seed": x}

  return jax.lax.scan(update, state, length=count)


class Recorder:
  """A `run_chunk` that counts, and does something at the n-th call."""

  def __init__(self, at=None, action=None):
    self.counts = []
    self._at = at
    self._action = action

  def __call__(self, state, count):
    self.counts.append(count)
    if len(self.counts) == self._at:
      self._action()
    return train(state, count)


def run(directory, run_chunk=train, **options):
  """Runs 11 updates in chunks of 2; returns the final state and the rows."""
  settings = {
    "num_updates": 11,
    "chunk_size": 2,
    "steps_per_update": 10,
    "checkpoint_every": 2,
    "evaluate": lambda state, step: {"eval": state["x"].max()},
    "evaluate_every": 3,
    **options,
  }
  with (
    checkpoint.Checkpointer(directory / "checkpoints", keep=10) as saver,
    scalars.MetricWriter(directory, tensorboard=False) as writer,
  ):
    state = loop.run(
      run_chunk, init(), checkpointer=saver, writer=writer, **settings
    )
  return state, rows_of(directory)


def rows_of(directory):
  """Returns the rows without what depends on the clock."""
  return [
    {k: v for k, v in row.items() if k not in scalars.WALL_CLOCK_FIELDS}
    for row in scalars.read(directory)
  ]


def assert_same_run(actual, expected):
  assert actual[1] == expected[1]
  for a, e in zip(jax.tree.leaves(actual[0]), jax.tree.leaves(expected[0])):
    if jax.dtypes.issubdtype(e.dtype, jax.dtypes.prng_key):
      a, e = jax.random.key_data(a), jax.random.key_data(e)
    np.testing.assert_array_equal(np.asarray(a), np.asarray(e))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
  return run(tmp_path_factory.mktemp("uninterrupted"))


def steps_of(directory):
  with checkpoint.Checkpointer(directory / "checkpoints") as reader:
    return reader.steps()


def test_chunks_rows_and_checkpoints(tmp_path):
  recorder = Recorder()
  state, rows = run(tmp_path, recorder)
  assert recorder.counts == [2, 2, 2, 2, 2, 1]
  assert [r["step"] for r in rows if "loss" in r] == list(range(10, 111, 10))
  # Every third chunk, and the end.
  assert [r["step"] for r in rows if "eval" in r] == [60, 110]
  assert steps_of(tmp_path) == [40, 80, 110]
  speeds = [r for r in scalars.read(tmp_path) if "steps_per_second" in r]
  assert [r["step"] for r in speeds] == [40, 60, 80, 100]
  assert all(r["steps_per_cpu_second"] > 0 for r in speeds)
  expected, metrics = train(init(), 11)
  assert rows[0]["per_seed"] == metrics["per_seed"][0].tolist()
  assert rows[0]["loss"] == float(metrics["loss"][0])
  # Another program (one chunk of 11), so equal but for rounding.
  np.testing.assert_allclose(state["x"], expected["x"], rtol=1e-5)


def test_finished_run_is_not_run_again(tmp_path, uninterrupted):
  run(tmp_path)
  recorder = Recorder()
  assert_same_run(run(tmp_path, recorder), uninterrupted)
  assert recorder.counts == []


@pytest.mark.parametrize("at", [1, 2, 3, 6])
def test_a_crash_changes_no_number(tmp_path, uninterrupted, at):
  def crash():
    raise RuntimeError("crash")

  with pytest.raises(RuntimeError, match="crash"):
    run(tmp_path, Recorder(at, crash))
  recorder = Recorder()
  assert_same_run(run(tmp_path, recorder), uninterrupted)
  assert sum(recorder.counts) == 11 - 4 * ((at - 1) // 2)


@pytest.mark.parametrize(
  ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("at", [1, 3])
def test_a_signal_ends_the_chunk_and_saves(
  tmp_path, uninterrupted, capsys, number, code, at
):
  before = signal.getsignal(number)
  with pytest.raises(signals.Stopped) as caught:
    run(tmp_path, Recorder(at, lambda: signal.raise_signal(number)))
  assert caught.value.code == code
  assert caught.value.step == 20 * at
  assert signal.getsignal(number) == before
  message = capsys.readouterr().err
  assert f"stopped after step {20 * at}" in message
  assert str(tmp_path / "checkpoints") in message
  assert steps_of(tmp_path)[-1] == 20 * at
  assert_same_run(run(tmp_path), uninterrupted)


def test_a_signal_in_the_last_chunk_lets_the_run_end(tmp_path, uninterrupted):
  recorder = Recorder(6, lambda: signal.raise_signal(signal.SIGTERM))
  assert_same_run(run(tmp_path, recorder), uninterrupted)


def test_a_second_interrupt_does_not_wait(tmp_path):
  def twice():
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)

  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, Recorder(2, twice))


def test_damaged_newest_checkpoint_changes_no_number(tmp_path, uninterrupted):
  run(tmp_path)
  victim = tmp_path / "checkpoints" / "110" / "integrity.json"
  victim.write_text(victim.read_text()[:-2])
  recorder = Recorder()
  assert_same_run(run(tmp_path, recorder), uninterrupted)
  assert recorder.counts == [2, 1]
  assert steps_of(tmp_path) == [40, 80, 110]


@pytest.mark.slow
def test_a_file_that_must_not_grow_ends_the_run_in_one_sentence(tmp_path):
  done = subprocess.run(
    # Files of 100 kB at most: as a full disk, but one that a test can have.
    [
      "bash",
      "-c",
      f"ulimit -f 100; {sys.executable} -m "
      "tests.training.toy_run --config=tests/training/toy_config.py "
      f"--workdir={tmp_path}",
    ],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    timeout=100,
  )
  assert done.returncode == 2, done.stderr
  assert "error: checkpoint 400 could not be written to" in done.stderr
  assert "Traceback" not in done.stderr


def test_a_run_can_be_made_longer(tmp_path, uninterrupted):
  run(tmp_path, num_updates=6)
  _, rows = run(tmp_path)
  losses = [r for r in rows if "loss" in r]
  assert losses == [r for r in uninterrupted[1] if "loss" in r]


def test_rows_of_a_run_that_never_saved_are_dropped(tmp_path, uninterrupted):
  with scalars.MetricWriter(tmp_path, tensorboard=False) as writer:
    writer.write(10, {"loss": 0.0})
  assert_same_run(run(tmp_path), uninterrupted)


def test_metrics_of_a_whole_chunk():
  class Rows(list):
    def resume(self, step):
      pass

    def write(self, step, values):
      self.append((step, values))

  rows = Rows()
  loop.run(
    lambda state, count: (state + count, {"count": jnp.asarray(count)}),
    0,
    num_updates=5,
    chunk_size=2,
    update_axis=None,
    writer=rows,
  )
  assert [(step, int(v["count"])) for step, v in rows] == [
    (2, 2),
    (4, 2),
    (5, 1),
  ]


def test_nothing_but_a_function_is_needed():
  state = loop.run(
    lambda x, n: (x + n, {"x": jnp.zeros(n)}), 0, num_updates=7, chunk_size=3
  )
  assert state == 7


def test_progress_is_told_the_newest_metrics():
  calls = []

  class Bar:
    def __enter__(self):
      return self

    def __exit__(self, *unused):
      calls.append("end")

    def start(self, step):
      calls.append(step)

    def doing(self, what, *, compiles=False):
      calls.append((what, compiles))

    def update(self, step, metrics, *, timed):
      calls.append((step, metrics, timed))

  loop.run(
    lambda x, n: (x, {"x": jnp.arange(n)}),
    0,
    num_updates=5,
    chunk_size=3,
    evaluate=lambda state, step: {"y": step},
    progress=Bar(),
  )
  assert calls == [
    0,
    ("compiling", True),
    ("evaluating", True),
    (3, {"x": 2, "y": 3}, False),
    # A chunk of another size is another program.
    ("compiling", True),
    ("evaluating", False),
    (5, {"x": 1, "y": 5}, False),
    "end",
  ]


@pytest.mark.parametrize(
  "name", ["num_updates", "chunk_size", "steps_per_update", "checkpoint_every"]
)
def test_numbers_must_be_positive(tmp_path, name):
  with pytest.raises(ValueError, match=f"{name}: got 0, expected an integer"):
    run(tmp_path, **{name: 0})


def test_metrics_that_do_not_fit_the_axis(tmp_path):
  with pytest.raises(
    ValueError, match=r"'loss': got shape \(2,\), expected an axis 1"
  ):
    run(tmp_path, update_axis=1)


def test_checkpoint_from_beyond_the_end(tmp_path):
  run(tmp_path)
  with pytest.raises(errors.UserError, match="step 110 .* ends at 50"):
    run(tmp_path, num_updates=5)
  with pytest.raises(errors.UserError, match="makes 7 steps per update"):
    run(tmp_path, num_updates=50, steps_per_update=7)


# What follows starts processes of its own.


def toy(workdir, *arguments):
  return [
    sys.executable,
    str(_HERE / "toy_run.py"),
    f"--config={_HERE / 'toy_config.py'}",
    f"--workdir={workdir}",
    *arguments,
  ]


def environment():
  return {**os.environ, "PYTHONPATH": str(_ROOT)}


def finish(workdir):
  done = subprocess.run(
    toy(workdir), env=environment(), capture_output=True, text=True, timeout=90
  )
  assert done.returncode == 0, done.stderr
  # Where stderr is no terminal: that it begins, or goes on, and its end.
  begun = r"(toy: resumes after step [\d,]+ of 2,400\n)?toy +\d+%  compiling\n"
  # The speed is there once two reports have come.
  word = begun + r"(toy +\d+%  (.*  )?evaluating\n)?toy +100%  .*steps/s\n"
  assert re.fullmatch(word, done.stderr)
  return done.stdout


def start_and_wait(workdir, num_rows):
  """Starts a slow run, and returns once it has written some rows."""
  process = subprocess.Popen(
    toy(workdir, "--config.seconds_per_chunk=0.05"),
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  file = workdir / "metrics.jsonl"
  while process.poll() is None:
    if file.exists() and file.read_bytes().count(b"\n") >= num_rows:
      break
    time.sleep(0.01)
  return process


@pytest.fixture(scope="module")
def toy_reference(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("toy") / "run"
  return finish(workdir), rows_of(workdir)


def test_kill_9_changes_no_number(tmp_path, toy_reference):
  workdir = tmp_path / "run"
  process = start_and_wait(workdir, 7)
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  assert finish(workdir) == toy_reference[0]
  assert rows_of(workdir) == toy_reference[1]


def test_sigterm_outside_of_the_loop_ends_in_order():
  code = (
    "import os, signal; from jaxseq.training import signals;"
    "signals.exit_on_sigterm(); os.kill(os.getpid(), signal.SIGTERM);"
    "print('still here')"
  )
  result = programs.run("-c", code)
  assert result.returncode == 0
  assert "SIGTERM: stopped outside of training" in result.stderr
  assert not result.stdout


def test_sigterm_in_a_callback_ends_the_program_all_the_same():
  result = programs.run(
    "-c",
    """
import gc, os, signal, time
from jaxseq.training import signals

def callback(phase, info):
  gc.callbacks.clear()
  os.kill(os.getpid(), signal.SIGTERM)

signals.exit_on_sigterm()
gc.callbacks.append(callback)
gc.collect()
end = time.monotonic() + 20
while time.monotonic() < end:
  pass
print('still here')
""",
  )
  assert "Exception ignored in" in result.stderr
  assert result.stderr.count("SIGTERM: stopped outside of training") == 1
  assert result.returncode == 0
  assert not result.stdout


def test_sigterm_does_not_cut_off_what_follows_the_program():
  result = programs.run(
    "-c",
    """
import atexit, os, signal, time
from jaxseq.training import signals

def wait(what):
  end = time.monotonic() + 1.5
  while time.monotonic() < end:
    pass
  print(what, flush=True)

atexit.register(wait, 'registered')
signals.exit_on_sigterm()
try:
  os.kill(os.getpid(), signal.SIGTERM)
finally:
  wait('cleaned')
""",
  )
  assert result.returncode == 0
  assert result.stdout.split() == ["cleaned", "registered"]
  assert "Traceback" not in result.stderr


def test_sigterm_saves_and_exits_with_0(tmp_path, toy_reference):
  workdir = tmp_path / "run"
  process = start_and_wait(workdir, 3)
  process.terminate()
  _, message = process.communicate(timeout=60)
  assert process.returncode == 0, message
  assert "SIGTERM: stopped after step" in message
  assert "run the same command again" in message
  step = int(message.split("after step ")[1].split(";")[0])
  assert 200 < step < 2400
  assert step in steps_of(workdir)
  assert finish(workdir) == toy_reference[0]
  assert rows_of(workdir) == toy_reference[1]


@pytest.mark.parametrize(
  "moment",
  [pytest.param("integrity.write", marks=pytest.mark.slow), "os.rename"],
)
def test_kill_9_in_the_middle_of_a_save(tmp_path, moment):
  program = f"""
import os, signal
import jax.numpy as jnp
from jaxseq.training import checkpoint
from jaxseq.training import integrity
saver = checkpoint.Checkpointer({str(tmp_path)!r})
saver.save(1, {{"w": jnp.ones(1000)}})
saver.wait()
{moment} = lambda *unused: os.kill(os.getpid(), signal.SIGKILL)
saver.save(2, {{"w": jnp.zeros(1000)}})
saver.wait()
"""
  done = subprocess.run(
    [sys.executable, "-c", program], env=environment(), timeout=60
  )
  assert done.returncode == -signal.SIGKILL
  assert (tmp_path / "tmp-2").is_dir()
  with checkpoint.Checkpointer(tmp_path) as saver:
    step, tree = saver.restore({"w": jnp.zeros(1000)})
    assert step == 1
    assert tree["w"].all()
    saver.save(2, tree)
    saver.wait()
    assert saver.steps() == [1, 2]
  assert not (tmp_path / "tmp-2").exists()
