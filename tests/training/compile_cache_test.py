"""A folder of compiled programs: where it is, and that it serves."""

import os
import subprocess
import sys

import pytest

from jaxseq.training import compile_cache

_PROGRAM = """
import time
import jax, jax.numpy as jnp
from jaxseq.training import compile_cache

# Something was compiled before: the folder serves what comes after.
jax.jit(lambda x: x + 1)(1.0)
print(compile_cache.enable())
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))

def program(x):
  for i in range(300):
    x = jnp.sin(x @ x + i)
  return x

jax.jit(program)(jnp.eye(8)).block_until_ready()
jnp.squeeze(jnp.eye(1))  # Compiles in a moment.
asked = sum("compile_requests_use_cache" in event for event in events)
print(asked, sum("cache_hits" in event for event in events))
"""


def run(**variables):
  kept = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("JAX_COMPILATION_CACHE", "JAXSEQ_", "XDG_"))
  }
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM],
    env={**kept, **variables},
    capture_output=True,
    text=True,
    check=True,
    timeout=300,
  )
  assert not done.stderr
  return done.stdout.split()


@pytest.mark.slow
def test_a_later_process_need_not_compile(tmp_path):
  folder, asked, found = run(XDG_CACHE_HOME=str(tmp_path))
  assert folder.startswith(str(tmp_path / "jaxseq" / "jax"))
  assert (int(asked) > 2, found) == (True, "0")
  assert run(XDG_CACHE_HOME=str(tmp_path)) == [folder, asked, asked]


@pytest.mark.slow
def test_nothing_is_kept_where_it_is_not_wanted_or_cannot_be(tmp_path):
  assert run(JAXSEQ_COMPILATION_CACHE="off", HOME=str(tmp_path))[0] == "None"
  taken = tmp_path / "file"
  taken.write_text("")
  assert run(JAXSEQ_COMPILATION_CACHE=str(taken))[0] == "None"
  assert list(tmp_path.iterdir()) == [taken]
  chosen = str(tmp_path / "chosen")
  assert run(JAX_COMPILATION_CACHE_DIR=chosen)[0] == chosen


def test_places():
  def parent(**variables):
    found = compile_cache.folder(variables)
    return found and str(found.parent)

  assert parent(HOME="/home/u") == "/home/u/.cache/jaxseq/jax"
  both = {"HOME": "/home/u", "XDG_CACHE_HOME": "/cache"}
  assert parent(**both) == "/cache/jaxseq/jax"
  moved = {compile_cache.VARIABLE: "/scratch/programs"}
  assert parent(**both, **moved) == "/scratch/programs"
  for word in ("off", "OFF", "0", ""):
    assert parent(**both, **{compile_cache.VARIABLE: word}) is None
  assert parent() is None


def test_old_programs_make_room(tmp_path, monkeypatch):
  monkeypatch.setattr(compile_cache, "_BYTES", 100)
  for age in range(6):
    file = tmp_path / f"{age}-cache"
    file.write_bytes(bytes(30))
    os.utime(file, (1000 - age, 1000 - age))
  compile_cache._make_room(tmp_path)
  assert sorted(x.name for x in tmp_path.iterdir()) == ["0-cache"]
