"""DarkRoom: its rules, its goals, and the expert."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import dark_room


def _state(position, goal):
  return dark_room.EnvState(
    time=jnp.int32(0), position=jnp.array(position), goal=jnp.array(goal)
  )


@pytest.mark.parametrize(
  ("position", "action", "after"),
  [
    ((1, 1), 0, (2, 1)),
    ((1, 1), 1, (0, 1)),
    ((1, 1), 2, (1, 2)),
    ((1, 1), 3, (1, 0)),
    ((1, 1), 4, (1, 1)),
    ((2, 0), 0, (2, 0)),
    ((0, 0), 1, (0, 0)),
    ((1, 2), 2, (1, 2)),
    ((1, 0), 3, (1, 0)),
  ],
)
def test_moves_and_what_is_paid_after_them(position, action, after):
  env = dark_room.DarkRoom(size=3)
  for goal in (after, (after[0], (after[1] + 1) % 3)):
    state, reward = env.advance(None, _state(position, goal), action, None)
    np.testing.assert_array_equal(state.position, after)
    assert reward == (goal == after)


def test_an_episode_ends_with_its_time_alone():
  env, params = envs.make("DarkRoomMiddle", max_steps=3)
  shown, state = env.reset(jax.random.key(0))
  np.testing.assert_array_equal(shown, (4, 4))
  for time in range(3):
    *_, terminated, truncated, info = out = env.step(
      jax.random.key(time), state, jnp.int32(0)
    )
    state = out[1]
    assert not terminated
    assert truncated == (time == 2)
  np.testing.assert_array_equal(info["final_observation"], (7, 4))
  np.testing.assert_array_equal(out[0], (4, 4))
  corner, params = envs.make("DarkRoomCorner")
  assert (corner.size, params.max_steps_in_episode) == (10, 100)
  assert corner.first_cell == (0, 0)


def test_goals_for_training_and_for_measurements():
  training = dark_room.cells(10, "training")
  held_out = dark_room.cells(10, "held_out")
  assert (len(training), len(held_out)) == (80, 20)
  both = np.concatenate([training, held_out])
  assert len(np.unique(both, axis=0)) == 100
  # Those that are drawn are of the part that is asked for, and all of it.
  env, params = envs.make("DarkRoomCorner", goals="held_out")
  words = np.linspace(0, 2**32 - 1, 60).astype(np.uint32)[:, None]
  drawn = jax.vmap(lambda x: env.start(x, params).goal)(words)
  assert set(map(tuple, drawn.tolist())) == set(map(tuple, held_out.tolist()))
  with pytest.raises(ValueError, match="goals: got 'test', expected"):
    envs.make("DarkRoomCorner", goals="test")
  with pytest.raises(ValueError, match="size: got 1, expected"):
    envs.make("DarkRoomCorner", size=1)


def test_the_expert_goes_along_the_row_first():
  cells = dark_room.cells(4, "all")
  goal = jnp.array([2, 1])
  actions = jax.vmap(lambda cell: dark_room.expert(cell, goal))(cells)
  for (x, y), action in zip(cells.tolist(), actions.tolist()):
    row = 0 if x < 2 else 1
    column = 4 if y == 1 else 2 if y < 1 else 3
    assert action == (row if x != 2 else column)
