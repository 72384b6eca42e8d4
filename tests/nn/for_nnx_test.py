"""Mixers and networks as NNX modules."""

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.nn import for_nnx

_X = jax.random.normal(jax.random.key(0), (2, 6, 8))
_RESET = jnp.zeros((2, 6), bool).at[0, 3].set(True)


def _network(**options):
  stack = nn.StackConfig("gru", d_model=8, num_layers=1, **options)
  return nn.SequenceNetwork(nn.NetworkConfig(stack), 3)


@pytest.mark.slow
def test_a_mixer_is_its_pure_functions():
  config = mixers.make_config("s5", d_model=8, ssm_size=8, blocks=1)
  mixer, s5 = for_nnx.SequenceMixer(config, rngs=nnx.Rngs(0)), mixers.get("s5")
  y, state = nnx.jit(lambda m, *args: m(*args))(mixer, _X, None, _RESET)
  expected = s5.apply(config, mixer.params, _X, None, _RESET)
  # float32, compiled and not.
  chex.assert_trees_all_close((y, state), expected, rtol=1e-5, atol=1e-6)
  carried = mixer.initial_state((2,))
  for t in range(6):
    y_t, carried = mixer.step(_X[:, t], carried, _RESET[:, t])
    # float32, summed in another order.
    np.testing.assert_allclose(y_t, y[:, t], rtol=1e-4, atol=1e-5)
  gradients = nnx.grad(lambda m: jnp.mean(m(_X)[0] ** 2))(mixer)
  assert len(jax.tree.leaves(gradients)) == len(mixer.params)


def test_a_network_trains_and_its_variables_are_those_of_linen():
  module = _network(dropout=0.5, norm="batch")
  network = for_nnx.Network(module, _X, rngs=nnx.Rngs(0, dropout=1))
  before = network.variables
  optimizer = nnx.Optimizer(network, optax.adam(1e-2), wrt=nnx.Param)

  @nnx.jit
  def step(network, optimizer):
    def loss(network):
      return jnp.mean(network(_X, train=True)[0] ** 2)

    value, gradients = nnx.value_and_grad(loss)(network)
    optimizer.update(network, gradients)
    return value

  # Dropout draws another mask each time.
  losses = [float(step(network, optimizer)) for _ in range(8)]
  assert len(set(losses)) == 8
  assert losses[-1] < losses[0]
  after = network.variables
  for collection in ("params", "batch_stats"):
    for one, other in zip(
      jax.tree.leaves(before[collection]), jax.tree.leaves(after[collection])
    ):
      assert jnp.any(one != other)
  again = for_nnx.Network(module, _X, rngs=nnx.Rngs(0), variables=after)
  # Dropout draws from the usual stream where it has none of its own.
  assert jnp.any(again(_X, train=True)[0] != again(_X, train=True)[0])
  again = for_nnx.Network(module, _X, rngs=nnx.Rngs(0), variables=after)
  np.testing.assert_array_equal(again(_X)[0], module.apply(after, _X)[0])


@pytest.mark.slow
def test_a_network_carries_states_and_steps():
  network = for_nnx.Network(_network(), _X, rngs=nnx.Rngs(0))
  whole, final = network(_X, None, _RESET)
  first, states = network(_X[:, :4], None, _RESET[:, :4])
  second, states = network(_X[:, 4:], states, _RESET[:, 4:])
  joined = jnp.concatenate([first, second], axis=1)
  # float32, summed in another order.
  np.testing.assert_allclose(joined, whole, rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(states, final, rtol=1e-4, atol=1e-5)
  states = network.initial_state((2,))
  for t in range(6):
    out, states = network.step(_X[:, t], states, _RESET[:, t])
  np.testing.assert_allclose(out, whole[:, -1], rtol=1e-4, atol=1e-5)
