"""Updates that run a rollout in segments."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import rollout
from jaxseq.rl.agents import on_policy
from jaxseq.rl.agents import ppo
from tests.rl import toy
from tests.rl.agents import ppo_test


@functools.cache
def problem(mixer):
  """A rollout with episode ends, and the loss's gradient as a function."""
  config = ppo_test.small(
    mixer,
    env_id="MemoryChain-bsuite",
    env_params=(("memory_length", 6),),
    rollout_length=24,
  )
  player, variables, before, _, taken = ppo_test.play(config)
  ones = jnp.ones_like(taken.reward)
  batch = on_policy.Batch(
    before.memory,
    taken,
    jax.random.normal(jax.random.key(1), ones.shape),
    ones,
  )

  def gradient(config):
    return jax.jit(
      jax.grad(ppo.loss, argnums=2, has_aux=True), static_argnums=(0, 1)
    )(config, player.network, variables, batch)

  return config, gradient


@pytest.mark.slow
@pytest.mark.parametrize(
  "mixer", ["gru", pytest.param("mamba", marks=pytest.mark.slow)]
)
def test_segments_give_the_same_loss_and_gradient(mixer):
  config, gradient = problem(mixer)
  whole, metrics = gradient(config)
  parts, same = gradient(dataclasses.replace(config, segment_length=6))
  # Float32 sums in another order, over at most 24 elements.
  toy.equal(same, metrics, rtol=1e-4, atol=1e-5)
  toy.equal(parts, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_truncated_gradient_is_another_one_of_the_same_loss():
  config, gradient = problem("gru")
  whole, metrics = gradient(config)
  cut, same = gradient(
    dataclasses.replace(config, segment_length=6, truncate_gradient=True)
  )
  toy.equal(same, metrics, rtol=1e-4, atol=1e-5)
  differences = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), cut, whole)
  assert max(jax.tree.leaves(differences)) > 1e-4
  # The critic's head has no memory behind it.
  np.testing.assert_allclose(
    cut["params"]["critic"]["mlp"]["dense_1"]["bias"],
    whole["params"]["critic"]["mlp"]["dense_1"]["bias"],
    rtol=1e-4,
  )


@pytest.mark.slow
def test_memory_grows_with_a_segment():
  def temporary(length):
    config = ppo_test.small(
      "gru", rollout_length=2048, total_steps=8192, segment_length=length
    )
    player = ppo.player(config)
    runner = jax.eval_shape(
      functools.partial(ppo.init, config), jax.random.key(0)
    )
    _, taken = jax.eval_shape(
      functools.partial(
        rollout.collect, player, num_steps=2048, final_values=True
      ),
      runner.variables,
      runner.world,
      jax.random.key(0),
    )
    taken = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(
        (x.shape[1], x.shape[0], *x.shape[2:]), x.dtype
      ),
      taken,
    )
    batch = on_policy.Batch(
      runner.world.memory, taken, taken.reward, taken.reward
    )
    program = jax.jit(
      jax.grad(ppo.loss, argnums=2, has_aux=True), static_argnums=(0, 1)
    ).lower(config, player.network, runner.variables, batch)
    return program.compile().memory_analysis().temp_size_in_bytes

  assert temporary(64) < temporary(None) / 3


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"segment_length": 5}, "segment_length: got 5, expected a divisor of"),
    ({"segment_length": 0}, "segment_length: got 0"),
    ({"truncate_gradient": True}, "expected False without a segment_length"),
  ],
)
def test_wrong_settings(options, message):
  with pytest.raises(ValueError, match=message):
    ppo_test.small(**options)
