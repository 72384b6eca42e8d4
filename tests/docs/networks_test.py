"""The page on networks runs, and its table names every option."""

import dataclasses
import pathlib
import re

import jax.numpy as jnp
import pytest

from jaxseq import nn

_PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "networks.md"


@pytest.mark.slow
def test_the_examples_run():
  names = {}
  blocks = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
  for block in blocks:
    exec(compile(block, _PAGE.name, "exec"), names)
  assert names["y"].shape == (2, 50, 32)
  assert names["y"].dtype == jnp.bfloat16
  assert names["y_t"].shape == (2, 32)
  stack = names["agent"].stack
  assert (stack.num_layers, stack.d_model, stack.feedforward) == (
    4,
    256,
    "gelu",
  )
  assert (stack.norm, stack.activation) == ("none", "full_glu")


def test_the_table_has_every_option():
  rows = re.findall(r"^\| (`.*`) \| ", _PAGE.read_text(), re.M)
  named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
  options = {field.name for field in dataclasses.fields(nn.StackConfig)}
  assert options <= named
