"""Tasks on several devices: no number changes but by rounding."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.tasks import language
from jaxseq.training import mesh as mesh_lib
from tests.training import mesh_test

pytestmark = pytest.mark.devices

LENGTH = 8


def language_problem(config, jump_every):
  """A GRU on texts in which documents begin at every fifth place or so."""
  rng = np.random.default_rng(0)

  def text(count):
    tokens = rng.integers(1, 7, count).astype(np.uint8)
    starts = rng.random(count) < 0.2
    starts[0] = True
    return language.Text(tokens, starts)

  corpus = language.Corpus(text(256), text(96), text(96), 7)
  arm = base.ArmConfig(
    nn.NetworkConfig(mixer="gru", d_model=8, num_layers=1), batch_size=4
  )
  return language.make_problem(
    mesh_lib.split_time(config, arm),
    corpus,
    length=LENGTH,
    jump_every=jump_every,
    valid_tokens=96,
  )


@pytest.mark.parametrize("jump_every", [None, 2])
@pytest.mark.parametrize(
  "fields",
  [
    {"time": 2},
    pytest.param({"time": 4}, marks=pytest.mark.slow),
    pytest.param(
      {"data": 2, "parameters": 2, "time": 2}, marks=pytest.mark.slow
    ),
  ],
  ids=str,
)
def test_language(fields, jump_every):
  alone = mesh_lib.MeshConfig()
  config = dataclasses.replace(alone, **fields)
  (state, metrics), (expected_state, expected) = (
    mesh_test.train(mesh, task=language_problem(mesh, jump_every))
    for mesh in (config, alone)
  )
  # float32, sums in another order, four updates.
  for a, b in zip(jax.tree.leaves(metrics), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
  for a, b in zip(
    jax.tree.leaves(state.variables), jax.tree.leaves(expected_state.variables)
  ):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
