"""Set-up that every test shares: the environment, float64, golden arrays."""

import gc
import os
import pathlib

_TESTS = pathlib.Path(__file__).resolve().parent

# Read by jax when it is first imported, and inherited by subprocesses.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA sizes its thread pool from NPROC. jax 0.10.2 can wait for ever on a pool
# of two threads when one program holds QR and vmapped loops.
os.environ.setdefault("NPROC", "8")
# Compiling is most of what the tests do, and most of that goes into code that
# runs once: optimizing it, lowering each fusion through MLIR instead of right
# to LLVM, and splitting a program for threads that the tests beside it keep
# busy. Slow tests on one device train: see `pytest_configure`.
_QUICK_TO_COMPILE = (
  "--xla_backend_optimization_level=0"
  " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
  " --xla_cpu_parallel_codegen_split_count=1"
)
os.environ.setdefault("XLA_FLAGS", _QUICK_TO_COMPILE)
# No display, and no need for a writable home directory.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault(
  "MPLCONFIGDIR", str(_TESTS.parent / ".cache" / "matplotlib")
)
# Compiled programs are shared between the test processes, with the programs
# that tests start, and with the next run of the tests.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(_TESTS.parent / ".cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from jaxseq import mixers  # noqa: E402

# Mixers from outside the package for the contract tests: NAME:MODULE, ...
for _text in filter(None, os.environ.get("TEST_MIXERS", "").split(",")):
  _name, _colon, _module = _text.partition(":")
  if not _colon:
    raise pytest.UsageError(
      f"TEST_MIXERS: got {_text!r}, expected NAME:MODULE, as leaky:leaky."
    )
  mixers.register(_name, _module)

# Compiled programs that one process keeps, about two gigabytes in all.
_PROGRAMS = 1500
_programs = 0


def _count_program(event: str, seconds: float, **_):
  """Counts a program that was compiled, or read from the cache."""
  global _programs
  if event == "/jax/core/compile/backend_compile_duration":
    _programs += 1


jax.monitoring.register_event_duration_secs_listener(_count_program)


# Folders with the name of the mark that all tests in them have.
_FOLDERS = ("accelerator", "fuzz", "popgym")


def pytest_ignore_collect(collection_path, config):
  """Leaves out what has no test of the chosen kind: importing takes longer."""
  chosen = config.option.markexpr.split(" and ")
  name = collection_path.name
  if name in _FOLDERS and f"not {name}" in chosen:
    return True
  if "devices" in chosen and collection_path.suffix == ".py":
    return "devices" not in collection_path.read_text("utf-8") or None
  return None


def pytest_configure(config):
  """Has slow tests on one device compiled as users do.

  They train, ten times as long in programs that are quick to compile. Those on
  eight devices compile far more than they compute. JAX reads the flags with
  its first device, after this.
  """
  chosen = config.option.markexpr.split(" and ")
  one_device = "JAX_NUM_CPU_DEVICES" not in os.environ
  ours = os.environ["XLA_FLAGS"] == _QUICK_TO_COMPILE
  if "slow" in chosen and one_device and ours:
    os.environ["XLA_FLAGS"] = ""


def pytest_collection_finish():
  """Lets the collector pass over what was imported, and come less often.

  Traced programs are many objects in few cycles.
  """
  gc.freeze()
  gc.set_threshold(50_000, 50, 100)


def pytest_runtest_setup(item):
  """Says what a test of many devices needs, where it is missing."""
  if item.get_closest_marker("devices") and jax.device_count() < 8:
    pytest.fail(
      f"needs 8 devices, there are {jax.device_count()}: set "
      "JAX_NUM_CPU_DEVICES=8, as `make test` does.",
      pytrace=False,
    )


def pytest_runtest_teardown():
  """Frees compiled programs when there are many.

  They add up to gigabytes, and to more memory maps than Linux gives a process.
  """
  global _programs
  if _programs >= _PROGRAMS:
    jax.clear_caches()
    _programs = 0


@pytest.fixture
def x64():
  """Runs the test with 64-bit types on."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def atari_stand_in(monkeypatch):
  """Makes games of Atari that nobody can play, as loading one takes a while."""
  # Most tests need nothing of SPR.
  from jaxseq.rl.envs import atari

  class Host:
    num_actions, num_bytes = 6, 8

  monkeypatch.setattr(atari, "_hosted", lambda game, rules: Host())


@pytest.fixture(scope="session")
def golden():
  """Returns a function: `golden("ssm/s5_layer")` loads that file's arrays.

  The name is a path below `tests/golden`, without the `.npz`; the result is a
  dict from names to numpy arrays.
  """

  def load(name: str) -> dict[str, np.ndarray]:
    path = _TESTS / "golden" / f"{name}.npz"
    with np.load(path, allow_pickle=False) as arrays:
      return {key: arrays[key] for key in arrays.files}

  return load
