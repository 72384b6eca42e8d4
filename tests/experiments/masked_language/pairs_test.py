"""Pairs of letters: their scores, and training from an encoder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.masked_language import pairs
from experiments.masked_language import rna
from jaxseq import nn
from jaxseq.tasks import masked_language
from tests import drawn

STACK = nn.StackConfig("gru", d_model=8, num_layers=1, bidirectional=True)
ARM = pairs.ArmConfig(
  nn.NetworkConfig(STACK),
  batch_size=4,
  pair_width=4,
  pair_channels=2,
  pair_blocks=1,
)
SPLITS = rna.load(examples=24, length=28)


def test_numbers_of_blocks_are_integers():
  with pytest.raises(ValueError, match="pair_blocks: got 1.5, expected an int"):
    dataclasses.replace(ARM, pair_blocks=1.5)


def test_pairs_are_counted_over_all_sequences():
  problem = pairs.Problem(ARM, SPLITS)
  batch = jax.tree.map(jnp.asarray, problem.data["test"])
  time = batch.inputs.shape[1]
  true = batch.extras.partners[:, :, None] == jnp.arange(time)
  true &= batch.extras.partners[:, :, None] > 0
  # The true ones, and as many between the ends, which are none.
  logits = jnp.where(true, 1.0, -9.0).at[:, 0].set(9.0).at[:, :, 0].set(9.0)
  count = jax.jit(problem.counts)
  counts = count(logits, batch)
  assert counts["hits"] == counts["predicted"] == counts["true"] > 0
  _, number = problem.score(logits, batch)
  assert number == len(batch.inputs) * 28 * 27 // 2
  assert count(-9 * jnp.abs(logits), batch)["predicted"] == 0
  # Pairs with every other base are no structure, however likely they are.
  counts = count(jnp.full_like(logits, 9.0), batch)
  assert counts["predicted"] <= len(batch.inputs) * (28 - 3) // 2
  floor = pairs.floors(SPLITS, "test")["Nussinov"]
  assert 0 < floor["f1"] < 1


def test_training_goes_on_from_an_encoder():
  variables = drawn.variables(masked_language.Problem(ARM, SPLITS))
  problem = pairs.Problem(ARM, SPLITS, variables)
  begun = jax.jit(problem.init)(jax.random.key(0))
  encoder = begun["params"]["encoder"]
  jax.tree.map(
    np.testing.assert_array_equal,
    encoder,
    {k: v for k, v in variables["params"].items() if k != "head"},
  )
  # The network reads with them.
  row = SPLITS.test.inputs[:1], np.array([30])
  logits = jax.eval_shape(problem.network.apply, begun, *row)
  assert logits.shape == (1, 30, 30)
  wide = dataclasses.replace(STACK, d_model=10)
  arm = dataclasses.replace(ARM, network=nn.NetworkConfig(wide), encoder="a")
  with pytest.raises(ValueError, match="encoder: got .*another network in 'a'"):
    pairs.Problem(arm, SPLITS, variables).init(jax.random.key(0))
