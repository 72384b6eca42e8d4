"""The page on mixers runs, and its table says what the code does."""

import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq._registry import Registry
from jaxseq.mixers import registry
from scripts import mixers_table

_TEXT = (
  pathlib.Path(__file__).resolve().parents[2] / "docs" / "mixers.md"
).read_text()
_FIRST, _NAMED, _LEAKY, _REGISTER = re.findall(
  r"```python\n(.*?)```", _TEXT, re.DOTALL
)


def test_the_first_examples_run():
  exec(compile(_FIRST + _NAMED, "mixers.md", "exec"), {})


def test_the_table_is_what_the_mixers_declare():
  # Rows of mixers that came after the last `python -m scripts.mixers_table`
  # may be missing, but none may be wrong.
  rows = re.findall(r"^\| `(\w+)` \|.*\n", _TEXT, re.M)
  assert len(rows) > 10
  for name in rows:
    assert mixers_table.row(name) in _TEXT


@pytest.fixture
def names(tmp_path, monkeypatch):
  """What is there after the page's mixer has been registered."""
  (tmp_path / "leaky.py").write_text(_LEAKY)
  monkeypatch.syspath_prepend(str(tmp_path))
  entries = {name: registry._MIXERS.path(name) for name in mixers.names()}
  monkeypatch.setattr(registry, "_MIXERS", Registry("mixer", entries))
  names = {"mixers": mixers, "nn": nn}
  exec(compile(_REGISTER, "mixers.md", "exec"), names)
  return names


@pytest.mark.slow
def test_the_contract_tests_take_the_mixer_of_the_page(tmp_path):
  (tmp_path / "leaky.py").write_text(_LEAKY)
  (command,) = re.findall(r"```\n(PYTHONPATH=.*?)```", _TEXT, re.DOTALL)
  words = shlex.split(command.replace("\\\n", " "))
  variable, mixer = words[1].split("=")
  assert words[2] == "python"
  result = subprocess.run(
    [sys.executable, *words[3:], "--no-header", "-p", "no:cacheprovider"],
    env={**os.environ, "PYTHONPATH": str(tmp_path), variable: mixer},
    cwd=pathlib.Path(__file__).resolve().parents[2],
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert result.returncode == 0, result.stdout + result.stderr
  assert re.search(r"\b\d\d? passed", result.stdout)


@pytest.mark.slow
def test_the_mixer_of_the_page_keeps_the_contract(names):
  leaky = importlib.import_module("leaky")
  config = mixers.make_config("leaky", d_model=3)
  params = leaky.init(jax.random.key(0), config)
  x = jax.random.normal(jax.random.key(1), (2, 9, 3))
  reset = jnp.zeros((2, 9), bool).at[0, 4].set(True)
  state = leaky.initial_state(config, (2,)) + 1
  y, final = leaky.apply(config, params, x, state, reset)
  for t in range(9):
    y_t, state = leaky.step(config, params, x[:, t], state, reset[:, t])
    # float32, in another order.
    np.testing.assert_allclose(y_t, y[:, t], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(final, state, rtol=1e-5, atol=1e-6)

  network = nn.SequenceNetwork(nn.NetworkConfig(names["stack"]), num_outputs=2)
  outputs, _ = network.init_with_output(jax.random.key(2), x)
  assert outputs[0].shape == (2, 9, 2)
