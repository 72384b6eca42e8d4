"""The core in the form of other RL codebases."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn

_CONFIG = nn.StackConfig(
  "gru",
  hybrid={"attention": {"heads": 2, "window": 4}},
  d_model=8,
  num_layers=2,
)


def _inputs(width):
  key_ins, key_resets = jax.random.split(jax.random.key(0))
  ins = jax.random.normal(key_ins, (6, 3, width))
  return ins, jax.random.bernoulli(key_resets, 0.3, (6, 3))


@pytest.mark.slow
def test_the_core_is_the_stack_with_time_in_front():
  core, model = nn.RecurrentCore(_CONFIG), nn.SequenceModel(_CONFIG)
  ins, resets = _inputs(8)
  carry = core.initialize_carry(3, 128)
  params = core.init(jax.random.key(1), carry, (ins, resets))["params"]
  assert params.keys() == {"memory"}
  after, out = core.apply({"params": params}, carry, (ins, resets))
  expected, states = model.apply(
    {"params": params["memory"]}, jnp.swapaxes(ins, 0, 1), carry, resets.T
  )
  np.testing.assert_array_equal(out, jnp.swapaxes(expected, 0, 1))
  chex.assert_trees_all_equal(after, states)


@pytest.mark.slow
def test_one_element_at_a_time_gives_the_same():
  core = nn.RecurrentCore(_CONFIG)
  ins, resets = _inputs(5)
  carry = core.initialize_carry(3)
  variables = core.init(jax.random.key(1), carry, (ins, resets))
  after, out = core.apply(variables, carry, (ins, resets))
  step = jax.jit(core.apply)
  for t in range(len(ins)):
    carry, out_t = step(variables, carry, (ins[t, None], resets[t, None]))
    # float32, summed in another order.
    np.testing.assert_allclose(out_t[0], out[t], rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(carry, after, rtol=1e-4, atol=1e-5)


def test_other_axes_are_refused():
  core = nn.RecurrentCore(_CONFIG)
  ins, resets = _inputs(8)
  with pytest.raises(ValueError, match="ins and resets: got .shapes"):
    core.init(jax.random.key(0), core.initialize_carry(3), (ins, resets.T))
