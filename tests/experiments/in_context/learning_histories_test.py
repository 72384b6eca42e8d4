"""Learning histories: their order, and what networks see of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.in_context import learning_histories
from jaxseq.data import trajectories
from jaxseq.rl import envs
from jaxseq.rl import meta_suites

LEARNER = learning_histories.Learner(histories=6, episodes=4, every=3)
ROOM = {"size": 3, "max_steps": 8}


@functools.cache
def _recorded():
  env, _ = envs.make("DarkRoomCorner", **ROOM)
  return learning_histories.record(env, LEARNER, jax.random.key(0))


def test_histories_are_of_one_task_each_and_get_better():
  recorded = _recorded()
  known = trajectories.statistics(recorded)
  np.testing.assert_array_equal(known.lengths, 8)
  assert len(known.lengths) == 6 * 4
  histories = learning_histories.split(recorded, 4)
  assert histories.observations.shape == (6, 32, 2)
  # All that was paid in a history was paid in one cell, its goal.
  moves = jnp.array([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)])
  reached = np.clip(histories.observations + moves[histories.actions], 0, 2)
  goals = set()
  for cells, rewards in zip(reached, histories.rewards):
    paid = {tuple(cell) for cell in cells[rewards > 0].tolist()}
    assert len(paid) <= 1
    goals |= paid
  assert len(goals) > 1
  returns = known.returns.reshape(6, 4).mean(axis=0)
  assert returns[-1] > returns[0] + 2


def test_shuffled_episodes_stay_in_their_history():
  recorded = _recorded()
  mixed = learning_histories.shuffled(recorded, 4)
  before, after = (learning_histories.split(x, 4) for x in (recorded, mixed))
  changed = 0
  for old, new in zip(before.actions, after.actions):
    old, new = (x.reshape(4, 8).tolist() for x in (old, new))
    assert sorted(old) == sorted(new)
    changed += old != new
  assert changed > 3
  again = learning_histories.shuffled(recorded, 4)
  np.testing.assert_array_equal(again.actions, mixed.actions)


@pytest.mark.parametrize("keep_memory", [True, False])
def test_inputs_are_what_trials_show(keep_memory):
  trials = meta_suites.trials(
    "DarkRoomCorner", tuple(ROOM.items()), 4, keep_memory
  )
  actions = jax.random.randint(jax.random.key(1), (32,), 0, 5)
  shown, state = trials.reset(jax.random.key(4))

  def step(carry, action):
    shown, state = carry
    after, state, reward, *_ = trials.step(jax.random.key(0), state, action)
    cell = shown[:6].reshape(2, 3).argmax(axis=1).astype(jnp.int32)
    return (after, state), (shown, cell, reward)

  _, (expected, cells, rewards) = jax.lax.scan(step, (shown, state), actions)
  histories = learning_histories.Histories(
    *(x[None] for x in (cells, actions, rewards, jnp.arange(32) % 8 == 0))
  )
  assert rewards.sum() > 0
  seen = learning_histories.inputs(trials, histories)
  np.testing.assert_array_equal(seen[0], expected)


def test_an_input_does_not_tell_its_own_action():
  histories = learning_histories.split(_recorded(), 4)
  trials = meta_suites.trials("DarkRoomCorner", tuple(ROOM.items()), 4)
  seen = learning_histories.inputs(trials, histories)
  later = np.arange(32) >= 10
  changed = histories._replace(
    actions=np.where(later, (histories.actions + 1) % 5, histories.actions),
    rewards=np.where(later, 1 - histories.rewards, histories.rewards),
  )
  other = learning_histories.inputs(trials, changed)
  np.testing.assert_array_equal(seen[:, :11], other[:, :11])
  assert (seen[:, 11] != other[:, 11]).any(axis=1).all()


def test_what_cannot_be_recorded_is_refused():
  key = jax.random.key(0)
  cart_pole, _ = envs.make("CartPole-v1")
  with pytest.raises(ValueError, match="env: the observation space: got Box"):
    learning_histories.record(cart_pole, LEARNER, key)
  with pytest.raises(ValueError, match="rate: got 2"):
    learning_histories.Learner(rate=2)
  with pytest.raises(ValueError, match="every: got 0"):
    learning_histories.Learner(every=0)
