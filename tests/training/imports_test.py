"""Importing the modules touches no device and loads nothing optional."""

import os
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_EXPERIMENTS = """
import importlib
import pkgutil
import sys
from absl import flags
for module in pkgutil.iter_modules(sys.argv[1:]):
  if module.name == "language_model":
    # It has more modes than the others, which defined the flag before it.
    delattr(flags.FLAGS, "mode")
  importlib.import_module(f"experiments.{module.name}")
import jax._src.xla_bridge as bridge
assert not bridge.backends_are_initialized()
assert "gymnax" not in sys.modules
from jaxseq.rl import envs
env, params = envs.make("FrozenLake-misc", is_slippery=False)
import jax
key = jax.random.key(0)
step = jax.jit(env.step)
state = env.reset(key, params)[1]
for action in (1, 1, 2):  # down, down, right
  state = step(key, state, action, params)[1]
print(int(state.position))
"""
_PROGRAM = """
import sys
import jaxseq.training
names = jaxseq.training.__all__
HEAVY = ("array_files", "arms", "checkpoint", "study")
light = [name for name in names if name not in HEAVY]
for name in light:
  getattr(jaxseq.training, name)
loaded = {"matplotlib", "orbax", "rich", "tensorboardX"} & set(sys.modules)
assert not loaded, loaded
for name in names:
  getattr(jaxseq.training, name)
import jax._src.xla_bridge as bridge
assert not bridge.backends_are_initialized()
assert "gymnax" not in sys.modules
assert not any(name.startswith("jaxseq.rl") for name in sys.modules)
try:
  jaxseq.training.absent
except AttributeError as error:
  print(error)
"""


def run(*arguments):
  done = subprocess.run(
    [sys.executable, *arguments],
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 0, done.stderr
  return done


def test_imports():
  done = run("-W", "error", "-c", _PROGRAM)
  assert done.stdout == "module 'jaxseq.training' has no attribute 'absent'\n"


def test_experiments_touch_no_device_before_they_join_other_processes():
  done = run("-c", _EXPERIMENTS, str(_ROOT / "experiments"))
  # gymnax, whose import makes an array, is imported when it is needed.
  assert done.stdout == "9\n"
