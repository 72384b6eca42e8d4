"""Parameters of mixers that are no arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import recurrence


def _apply(name, leaf):
  module = mixers.get(name)
  config = module.Config(8)
  params = module.init(jax.random.key(0), config)
  w = params[leaf]
  a = 0.1 * jnp.ones((*w.shape[:-1], 2))
  b = 0.1 * jnp.ones((*w.shape[:-2], 2, w.shape[-1]))
  node = recurrence.LowRank(w, a, b, path=f"params/{leaf}")
  x = jax.random.normal(jax.random.key(1), (2, 5, 8))
  outputs = jax.jit(
    lambda params: module.apply(config, params, x, None, None)[0]
  )
  merged = {**params, leaf: w + a @ b}
  return outputs, {**params, leaf: node}, merged


@pytest.mark.parametrize(
  ("name", "leaf"), [("mamba2", "in_proj"), ("attention", "W_q")]
)
def test_mixers_take_a_node_for_a_product(name, leaf):
  outputs, attached, merged = _apply(name, leaf)
  np.testing.assert_allclose(
    outputs(attached), outputs(merged), rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize(
  ("name", "leaf"), [("mamba2", "conv_weight"), ("s5", "C")]
)
def test_a_node_elsewhere_names_its_path(name, leaf):
  outputs, attached, _ = _apply(name, leaf)
  with pytest.raises(ValueError, match=f"params/{leaf}: got a LowRank"):
    outputs(attached)


def test_latents_are_not_absorbed_by_a_node():
  module = mixers.get("latent_attention")
  config = module.Config(8, heads=2, window=64)
  params = module.init(jax.random.key(0), config)
  w = params["W_kv2"]
  a, b = jnp.full((len(w), 1), 0.1), jnp.full((1, w.shape[1]), 0.1)
  x = jax.random.normal(jax.random.key(1), (2, 8))
  state = module.initial_state(config, (2,))
  node = {**params, "W_kv2": recurrence.LowRank(w, a, b)}
  step = jax.jit(lambda params: module.step(config, params, x, state)[0])
  y, want = step(node), step({**params, "W_kv2": w + a @ b})
  np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
