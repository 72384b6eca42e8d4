"""Networks of equal size: parameters counted without making them."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jaxseq import nn
from jaxseq.tasks import budget

GRU = nn.NetworkConfig(nn.StackConfig("gru", num_layers=1, d_model=8))


@pytest.mark.parametrize(("vocab", "pairs"), [(None, False), (5, True)])
def test_the_count_is_that_of_the_parameters(vocab, pairs):
  config = dataclasses.replace(GRU, pooling="mean")
  network = nn.SequenceNetwork(config, 3, vocab, pairs)
  shape = (1, 2, 6) if pairs else (1, 6)
  inputs = jnp.zeros((*shape, 4)) if vocab is None else jnp.zeros(shape, int)
  variables = jax.jit(network.init)(jax.random.key(0), inputs)
  made = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  assert budget.count_parameters(config, 3, vocab, 4, pairs) == made


def test_the_width_comes_closest():
  def count(config):
    return budget.count_parameters(config, 3, None, 4)

  fitted = budget.fit_width(GRU, 3, None, 4, 20_000)
  assert fitted.stack.d_model % 8 == 0
  distance = abs(count(fitted) - 20_000)
  for other in (fitted.stack.d_model - 8, fitted.stack.d_model + 8):
    config = nn.NetworkConfig(
      nn.StackConfig("gru", num_layers=1, d_model=other)
    )
    assert distance <= abs(count(config) - 20_000)
  with pytest.raises(ValueError, match="budget: got 10, expected at least"):
    budget.fit_width(GRU, 3, None, 4, 10)


def test_the_size_of_the_states():
  assert budget.state_bytes(GRU) == 8 * 4
  lstm = nn.NetworkConfig(nn.StackConfig("lstm", num_layers=3, d_model=8))
  assert budget.state_bytes(lstm) == 3 * 2 * 8 * 4


def test_a_fresh_state_that_is_learned_has_its_size():
  options = {"heads": 2}
  ttt = nn.StackConfig("ttt", options, num_layers=2, d_model=8)
  config = nn.NetworkConfig(ttt)
  network = nn.SequenceNetwork(config, 1)
  variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 2, 8)))
  states = network.initial_state(variables=variables)
  assert budget.state_bytes(config) == sum(
    leaf.nbytes for leaf in jax.tree.leaves(states)
  )
