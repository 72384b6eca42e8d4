"""Decision pretraining: what is drawn, and the loop that plays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.in_context import decision_pretraining
from jaxseq.rl import envs
from jaxseq.rl.envs import dark_room

ROOM, _ = envs.make("DarkRoomCorner", size=4, max_steps=6)
ROOMS = decision_pretraining.family(ROOM)
BANDIT, _ = envs.make("MultiarmedBanditEasy", num_arms=3, max_steps=5)
BANDITS = decision_pretraining.family(BANDIT)


def _cells(one_hots):
  return np.asarray(one_hots).reshape(*one_hots.shape[:-1], 2, 4).argmax(-1)


def test_contexts_of_rooms():
  keys = jax.random.split(jax.random.key(0), 40)
  draw = jax.vmap(lambda key: decision_pretraining.draw(ROOMS, key, 64))
  tokens, labels = jax.jit(draw)(keys)
  assert tokens.shape == (40, 65, decision_pretraining.token_size(ROOMS))
  assert tokens.shape[-1] == 1 + 8 + 5 + 8 + 1
  asked, steps = tokens[:, 0], tokens[:, 1:]
  # The first token is the query, and nothing else.
  assert (asked[:, 0] == 1).all()
  assert not steps[..., 0].any()
  assert not asked[:, 9:].any()
  queries, before = _cells(asked[:, 1:9]), _cells(steps[..., 1:9])
  actions, after = steps[..., 9:14].argmax(-1), _cells(steps[..., 14:22])
  moved = np.clip(before + dark_room.MOVES[actions], 0, 3)
  np.testing.assert_array_equal(after, moved)
  # States and actions are drawn uniformly: 160 times each of 16 cells.
  for values in (before @ (1, 4), np.asarray(actions)):
    counts = np.bincount(values.ravel())
    assert counts.min() > 0.7 * counts.mean()
  checked = 0
  for query, cells, rewards, label in zip(
    queries, after, steps[..., 22], labels
  ):
    goals = np.unique(cells[rewards > 0], axis=0)
    assert len(goals) <= 1
    for goal in goals:
      assert ((cells == goal).all(axis=1) == (rewards > 0)).all()
      assert label == dark_room.expert(query, goal)
      checked += 1
  assert checked > 30


def test_contexts_of_bandits():
  draw = jax.vmap(lambda key: decision_pretraining.draw(BANDITS, key, 400))
  keys = jax.random.split(jax.random.key(0), 20)
  tokens, labels = jax.jit(draw)(keys)
  steps = tokens[:, 1:]
  arms, paid = steps[..., 3:6], steps[..., -1]
  assert set(np.unique(paid)) == {-1, 1}
  means = (arms * paid[..., None]).sum(axis=1) / arms.sum(axis=1)
  # With 130 pulls each, means are known to 0.09 or better.
  best = np.take_along_axis(means, np.asarray(labels)[:, None], axis=1)[:, 0]
  assert (best > means.max(axis=1) - 0.35).all()
  assert len(set(labels.tolist())) == 3


class Walker:
  """Goes right to column 2 and stays, unless it has just been paid for less.

  Its memory holds the column of the query, and how many steps it has seen.
  """

  def initial_state(self, shape):
    return jnp.zeros(shape), jnp.zeros(shape, jnp.int32)

  def apply(self, variables, token, memory, method):
    assert method == "step"
    column, count = memory
    asks = token[..., 0] == 1
    column = jnp.where(asks, token[..., 1:5].argmax(-1), column)
    action = jnp.where(column < 2, 0, 4)
    logits = 1e9 * jax.nn.one_hot(action, 5)
    return logits, (column, count + ~asks)


def test_play_asks_the_memory_of_the_state_where_it_is():
  returns = jax.jit(
    lambda key: decision_pretraining.play(Walker(), {}, ROOMS, key, 32, 3)
  )(jax.random.key(0))
  assert returns.shape == (32, 3)
  # On the goal (1, 0) it is for one step of six, on (2, 0) for five.
  assert set(np.unique(returns)) == {0, 1, 5}
  # Goals stay.
  np.testing.assert_array_equal(returns, returns[:, :1].repeat(3, axis=1))


class Pulls:
  """Takes any arm."""

  def initial_state(self, shape):
    return jnp.zeros(shape)

  def apply(self, variables, token, memory, method):
    del variables, method
    return jnp.zeros((*token.shape[:-1], 3)), memory


def test_a_bandit_that_has_paid_looks_as_in_training(monkeypatch):
  looks = []
  transition = decision_pretraining.transition

  def noted(tasks, shown, *rest):
    looks.append(shown)
    return transition(tasks, shown, *rest)

  monkeypatch.setattr(decision_pretraining, "transition", noted)
  with jax.disable_jit():
    decision_pretraining.play(Pulls(), {}, BANDITS, jax.random.key(0), 2, 1)
  assert len(looks) == 5
  assert not np.stack(looks).any()


def test_other_environments_are_refused():
  with pytest.raises(ValueError, match="expected a DarkRoom or a Multiarmed"):
    decision_pretraining.family(envs.make("RepeatFirstEasy")[0])
