"""The public formulation of PPO that ours is measured against."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import ppo
from benchmarks import ppo_baseline
from jaxseq.rl import envs


def test_it_plays_the_same_game():
  env, params = envs.make("RepeatPreviousEasy")
  observation, game = ppo_baseline.reset_game(jax.random.key(0))
  seen, state = env.reset_with_deck(game.cards)
  actions = jax.random.randint(jax.random.key(1), (51,), 0, 4)
  step = jax.jit(ppo_baseline.step_game)
  words = jnp.zeros((env.step_words,), jnp.uint32)
  for t, action in enumerate(actions):
    np.testing.assert_array_equal(observation[:4], jax.nn.one_hot(seen, 4))
    assert float(observation[-1]) == (t == 0)
    observation, game, reward, ended = step(jax.random.key(t), game, action)
    state, expected = env.advance(words, state, action, params)
    seen = env.observe(state, params)
    # 1/48, computed in float32 by both.
    np.testing.assert_allclose(reward, expected, rtol=1e-6)
    assert bool(ended) == (t == 50)
  # The next episode has begun, and the return of the last is kept.
  assert float(observation[-1]) == 1
  assert int(game.timestep) == 0
  assert float(game.returned) != 0
  assert float(game.episode_return) == 0


@pytest.mark.slow
def test_an_update_learns_from_a_rollout():
  config = ppo.configuration(
    "s5", num_envs=4, rollout_length=64, num_epochs=2, num_minibatches=2
  )
  init, update = ppo_baseline.make(config)
  runner = jax.jit(init)(jax.random.key(0))
  after, metrics = jax.jit(update)(runner)
  for leaf in jax.tree.leaves((after.params, metrics)):
    assert np.isfinite(leaf).all()
  # Four answers, all as likely at first; one in four is right.
  np.testing.assert_allclose(metrics["entropy"], np.log(4), atol=0.01)
  assert -1 <= float(metrics["episode_return"]) < 0.2
  moved = jax.tree.map(
    lambda x, y: bool((x != y).any()), runner.params, after.params
  )
  assert all(jax.tree.leaves(moved))
