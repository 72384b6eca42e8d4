import doctest
import importlib
import pathlib

import jax.numpy as jnp
import pytest

from jaxseq.rl import losses

NAMES = [
  path.stem
  for path in sorted(pathlib.Path(losses.__file__).parent.glob("[!_]*.py"))
  if ">>> " in path.read_text()
]


def test_there_are_examples():
  assert {"advantages", "categorical", "td"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings(name):
  module = importlib.import_module(f"jaxseq.rl.losses.{name}")
  names = {"jnp": jnp, name: module}
  failed, tried = doctest.testmod(module, extraglobs=names)
  assert tried
  assert not failed
