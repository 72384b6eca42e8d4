"""Importing the modules touches no device and loads nothing optional."""

import os
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[2]
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


def test_imports():
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", _PROGRAM],
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == "module 'jaxseq.training' has no attribute 'absent'\n"
