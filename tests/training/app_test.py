"""The command line: what a user does wrong is told in one sentence."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from jaxseq.training import app
from jaxseq.training import errors
from tests import programs

_HERE = pathlib.Path(__file__).resolve().parent
_PROGRAM = """
import dataclasses
from absl import flags
from jaxseq.training import app
from jaxseq.training import configuration
from jaxseq.training import errors

_CONFIG, _WORKDIR = app.define_flags()
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "break"], "")

@dataclasses.dataclass(frozen=True)
class Optimizer:
  learning_rate: float

@dataclasses.dataclass(frozen=True)
class Config:
  num_updates: int
  seconds_per_chunk: float
  optimizer: Optimizer
  untyped: int | None
  left_out: int = 1

def main(argv):
  with errors.setup():
    config = configuration.load(_CONFIG.value, app.overrides(), Config)
    if _MODE.value == "evaluate":
      open("/no/such/data.npz")
  if _MODE.value == "break":
    raise ValueError("a bug")
  rate = config.optimizer.learning_rate
  print(config.num_updates, config.left_out, rate, _WORKDIR.value)

if __name__ == "__main__":
  app.run_main(main)
"""
# Imports the program once, and calls it in a process of its own for each line.
_CALLS = """
import json, os, sys
import program

for line in sys.stdin:
  with open("out", "w") as out, open("err", "w") as err:
    child = os.fork()
    if not child:
      os.dup2(out.fileno(), 1)
      os.dup2(err.fileno(), 2)
      sys.argv = ["program.py", *json.loads(line)]
      program.app.run_main(program.main)
  code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  shown = [open(name).read() for name in ("out", "err")]
  print(json.dumps([code, *shown]), flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder with a program and configs."""
  folder = tmp_path_factory.mktemp("app")
  (folder / "program.py").write_text(_PROGRAM)
  (folder / "config.py").write_text((_HERE / "toy_config.py").read_text())
  (folder / "syntax.py").write_text("def get_config(:\n")
  (folder / "nameless.py").write_text("def get_config():\n  return oops\n")
  (folder / "calls.py").write_text(_CALLS)
  return folder


@pytest.fixture(scope="module")
def options(folder):
  """Options of processes."""
  environment = {**os.environ, "PYTHONPATH": str(_HERE.parents[1])}
  return {"cwd": folder, "env": environment, "text": True}


@pytest.fixture
def run(options):
  """Returns a function that runs the program with arguments."""

  def call(*arguments):
    return subprocess.run(
      [sys.executable, "program.py", *arguments],
      capture_output=True,
      timeout=60,
      **options,
    )

  return call


@pytest.fixture(scope="module")
def call(options):
  """Returns a function to what a call exits with and shows, out and error."""
  process = subprocess.Popen(
    [sys.executable, "-W", "ignore", "calls.py"],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    **options,
  )

  def call(*arguments):
    process.stdin.write(f"{json.dumps(arguments)}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())

  yield call
  process.stdin.close()
  process.wait(timeout=60)
  process.stdout.close()


def test_a_right_command_line(run):
  done = run(
    "--config=config.py:long",
    "--workdir=w",
    "--config.optimizer.learning_rate=0.5",
    "--config.left_out=2",  # The file leaves it at its default.
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == "240 2 0.5 w\n"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (
      ["--config.numupdates=3"],
      "config has no field 'numupdates' (did you mean "
      "'num_updates'?); its fields are: left_out, num_updates, optimizer, "
      "seconds_per_chunk, untyped",
    ),
    (
      ["--config.optimizer.lr=3"],
      "config.optimizer has no field 'lr'; its fields are: learning_rate",
    ),
    (
      ["--config.left_out=x"],
      "config.left_out: got 'x' (str), expected an int",
    ),
    (
      ["--config.optimiser.learning_rate=3"],
      "config has no field 'optimiser' (did you mean 'optimizer'?); its fields "
      "are: left_out, num_updates, optimizer, seconds_per_chunk, untyped",
    ),
    (
      ["--config.network.stack.hybrid.attention.heads=2"],
      "config has no field 'network' (does the file belong to another "
      "experiment?); its fields are: left_out, num_updates, "
      "optimizer, seconds_per_chunk, untyped",
    ),
    (
      ["--config.num_updates.deep=3"],
      "--config.num_updates.deep: config.num_updates is 24, which has no "
      "fields",
    ),
    (
      ["--config.optimizer.learning_rate.peak=3"],
      "--config.optimizer.learning_rate.peak: config.optimizer.learning_rate "
      "is 0.05, which has no fields",
    ),
    (
      ["--config.num_updates=many"],
      "--config.num_updates=many: expected an int",
    ),
    (
      ["--config.untyped=three"],
      "config.untyped: got 'three' (str), expected an int or None",
    ),
    (
      ["--mod=train"],
      "Unknown command line flag 'mod'. Did you mean: mode ?",
    ),
    (
      ["--mode=play"],
      "flag --mode=play: value should be one of <train|evaluate|break>",
    ),
    (["stray"], "unexpected argument 'stray': flags start with --"),
    (["--mode=evaluate"], "/no/such/data.npz: No such file or directory"),
  ],
)
def test_wrong_arguments(call, arguments, message):
  shown = call("--config=config.py", "--workdir=w", *arguments)
  assert shown == [2, "", f"error: {message}\n"]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--workdir=w"], "--config is required"),
    (
      ["--workdir=w", "--config.num_updates=3"],
      "--config=FILE is missing: name a config file",
    ),
    (
      ["--config=config.py"],
      "--workdir is required",
    ),
    (
      ["--config=absent.py", "--workdir=w"],
      "--config: there is no file 'absent.py'",
    ),
    (
      ["--config=absent.py", "--workdir=w", "--config.num_updates=3"],
      "--config: there is no file 'absent.py'",
    ),
    (
      ["--config=config.py:short", "--workdir=w"],
      "--config: config.py: variant must be 'plain' or 'long', got 'short'",
    ),
    (
      ["--config=syntax.py", "--workdir=w"],
      "--config: syntax.py: invalid syntax (syntax.py, line 1)",
    ),
  ],
)
def test_wrong_config(call, arguments, message):
  assert call(*arguments) == [2, "", f"error: {message}\n"]


def test_bugs_keep_their_traceback(run, call):
  done = run("--config=config.py", "--workdir=w", "--mode=break")
  assert done.returncode == 1
  assert "Traceback" in done.stderr
  assert "a bug" in done.stderr
  code, _, error = call("--config=nameless.py", "--workdir=w")
  assert code == 1
  assert "name 'oops' is not defined" in error


def test_setup_translates_expected_errors_only():
  with pytest.raises(errors.UserError, match="^two lines$"):
    with errors.setup():
      raise ValueError("two\nlines")
  with pytest.raises(errors.UserError, match="'absent_package' is needed"):
    with errors.setup():
      import absent_package  # noqa: F401
  with pytest.raises(ZeroDivisionError):
    with errors.setup():
      _ = 1 / 0


def test_help_is_no_error(run):
  done = run("--help")
  assert done.returncode == 0
  assert "--workdir" in done.stdout


def test_what_is_slow_to_import_comes_after_the_flags():
  program = (
    "import importlib, pkgutil, sys\n"
    "for module in pkgutil.iter_modules(['experiments']):\n"
    "  if not module.ispkg:\n"
    "    importlib.import_module(f'experiments.{module.name}')\n"
    "slow = {'jax', 'numpy', 'flax', 'orbax'} & set(sys.modules)\n"
    "assert not slow, slow\n"
  )
  done = programs.run("-c", program)
  assert done.returncode == 0, done.stderr


def test_overrides_with_and_without_an_equals_sign():
  assert app.with_overrides(
    ["p", "--config=f.py", "--config.a.b", "2", "--noconfig.c", "--config.d"]
  ) == [
    "p",
    "--config=f.py",
    "--override=a.b=2",
    "--override=c=False",
    "--override=d=True",
  ]
