import doctest
import importlib

import jax.numpy as jnp
import pytest


@pytest.mark.parametrize("name", ["advantages", "categorical", "td"])
def test_examples_in_docstrings(name):
  module = importlib.import_module(f"jaxseq.rl.losses.{name}")
  names = {"jnp": jnp, name: module}
  failed, tried = doctest.testmod(module, extraglobs=names)
  assert tried
  assert not failed
