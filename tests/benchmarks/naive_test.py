"""The benchmark of the mixers compares equals."""

import chex
import jax
import jax.numpy as jnp
import pytest

from benchmarks import mixers as mixers_benchmark
from jaxseq import mixers
from tests.mixers import cases


@pytest.mark.parametrize("name", mixers.names())
def test_the_usual_form_is_the_same_mixer(name):
  mixer = cases.bind((name, ()))
  x = jax.random.normal(jax.random.key(1), (2, 9, cases.D_MODEL))
  reset = jnp.zeros((2, 9), bool).at[0, 4].set(True).at[1, 0].set(True)
  _, state = mixer.step(
    mixer.params, x[:, 0], mixer.module.initial_state(mixer.config, (2,))
  )

  def value_and_gradient(params, x):
    def loss(params, x):
      y, final = mixer.module.apply(mixer.config, params, x, state, reset)
      leaves = [y, *jax.tree.leaves(final)]
      return sum(jnp.sum(jnp.abs(leaf)) for leaf in leaves), y

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x)

  # float32 over 9 elements, and gradients summed over all of them.
  chex.assert_trees_all_close(
    jax.jit(mixers_benchmark.usual(value_and_gradient))(mixer.params, x),
    jax.jit(value_and_gradient)(mixer.params, x),
    rtol=1e-3,
    atol=1e-4,
  )
