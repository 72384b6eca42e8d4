"""Mixers and networks as Equinox modules."""

import io

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import mixers
from jaxseq import nn

eqx = pytest.importorskip("equinox", reason="needs the extra equinox")
for_equinox = pytest.importorskip("jaxseq.nn.for_equinox")

_X = jax.random.normal(jax.random.key(0), (2, 6, 8))
_RESET = jnp.zeros((2, 6), bool).at[0, 3].set(True)


def _network(**options):
  stack = nn.StackConfig("gru", d_model=8, num_layers=1, **options)
  return nn.SequenceNetwork(nn.NetworkConfig(stack), 3)


def test_a_mixer_is_its_pure_functions():
  config = mixers.make_config("s5", d_model=8, ssm_size=8, blocks=1)
  mixer = for_equinox.SequenceMixer(config, key=jax.random.key(1))
  y, state = eqx.filter_jit(mixer)(_X, None, _RESET)
  apply = jax.jit(mixers.get("s5").apply, static_argnums=0)
  expected = apply(config, mixer.params, _X, None, _RESET)
  # float32, in other programs.
  chex.assert_trees_all_close((y, state), expected, rtol=1e-5, atol=1e-6)
  carried = mixer.initial_state((2,))
  step = eqx.filter_jit(mixer.step)
  for t in range(6):
    y_t, carried = step(_X[:, t], carried, _RESET[:, t])
    # float32, summed in another order.
    np.testing.assert_allclose(y_t, y[:, t], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_network_trains_and_is_read_back_from_a_file():
  module = _network(dropout=0.5)
  network = for_equinox.Network(module, _X, key=jax.random.key(1))
  optimizer = optax.adam(1e-2)
  opt_state = optimizer.init(eqx.filter(network, eqx.is_array))

  @eqx.filter_jit
  def step(network, opt_state, key):
    def loss(network):
      return jnp.mean(network(_X, key=key)[0] ** 2)

    value, gradients = eqx.filter_value_and_grad(loss)(network)
    updates, opt_state = optimizer.update(gradients, opt_state)
    return eqx.apply_updates(network, updates), opt_state, value

  losses = []
  for key in jax.random.split(jax.random.key(2), 8):
    network, opt_state, value = step(network, opt_state, key)
    losses.append(float(value))
  assert losses[-1] < losses[0]
  file = io.BytesIO()
  eqx.tree_serialise_leaves(file, network)
  file.seek(0)
  like = eqx.filter_eval_shape(
    for_equinox.Network, module, _X, key=jax.random.key(1)
  )
  again = eqx.tree_deserialise_leaves(file, like)
  variables = {"params": network.params}
  np.testing.assert_array_equal(again(_X)[0], module.apply(variables, _X)[0])
  taken = for_equinox.Network(
    module, _X, key=jax.random.key(3), params=network.params
  )
  np.testing.assert_array_equal(again(_X)[0], taken(_X)[0])


def test_a_network_carries_states_and_steps():
  network = for_equinox.Network(_network(), _X, key=jax.random.key(1))
  whole, final = eqx.filter_jit(network)(_X, None, _RESET)
  states = network.initial_state((2,))
  step = eqx.filter_jit(network.step)
  for t in range(6):
    out, states = step(_X[:, t], states, _RESET[:, t])
  # float32, summed in another order.
  np.testing.assert_allclose(out, whole[:, -1], rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(states, final, rtol=1e-4, atol=1e-5)


def test_statistics_of_batch_norm_are_refused():
  with pytest.raises(ValueError, match="module: got .* batch_stats"):
    for_equinox.Network(_network(norm="batch"), _X, key=jax.random.key(0))
