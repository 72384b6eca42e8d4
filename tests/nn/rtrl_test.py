"""Stacks whose states carry their derivatives."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn


@pytest.mark.slow
def test_a_stack_carries_traces_and_gives_the_same_numbers():
  stack = nn.StackConfig(
    "lru", {"d_state": 3}, d_model=4, num_layers=2, rtrl=True
  )
  assert (
    stack.ssm_parameters
    == dataclasses.replace(stack, rtrl=False).ssm_parameters
  )
  model = nn.SequenceModel(stack)
  plain = nn.SequenceModel(dataclasses.replace(stack, rtrl=False))
  x = jax.random.normal(jax.random.key(1), (2, 5, 4))
  reset = jnp.zeros((2, 5), bool).at[1, 3].set(True)
  variables = jax.jit(plain.init)(jax.random.key(0), x)
  y, states = jax.jit(model.apply)(variables, x, None, reset)
  want, own = jax.jit(plain.apply)(variables, x, None, reset)
  np.testing.assert_array_equal(y, want)
  chex.assert_trees_all_equal(tuple(s.mixer for s in states), own)
  fresh = model.initial_state((2,))
  chex.assert_trees_all_equal_shapes_and_dtypes(fresh, states)
  step = jax.jit(lambda *given: model.apply(variables, *given, method="step"))
  for t in range(5):
    y_t, fresh = step(x[:, t], fresh, reset[:, t])
    # Sums of a few products in float32.
    np.testing.assert_allclose(y_t, y[:, t], rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(fresh, states, rtol=1e-4, atol=1e-5)


def test_traces_need_one_direction_and_whole_time():
  for option in ({"bidirectional": True}, {"time_axis": "time"}):
    with pytest.raises(ValueError, match="rtrl: got True, expected False"):
      nn.StackConfig("lru", rtrl=True, **option)
  with pytest.raises(ValueError, match="rtrl: mixer: got 'lstm', expected one"):
    nn.StackConfig("lstm", rtrl=True)
