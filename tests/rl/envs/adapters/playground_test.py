import functools
import sys

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl import wrappers
from jaxseq.rl.envs.adapters import libraries


@struct.dataclass
class TaskState:
  data: jax.Array
  obs: jax.Array
  reward: jax.Array
  done: jax.Array
  metrics: dict
  info: dict


class Slide:
  """Behaves as Playground's tasks do: a point that an action moves.

  Beyond 2 the simulation fails.
  """

  observation_size = 1
  action_size = 1

  def reset(self, key):
    position = jax.random.uniform(key)
    nothing = jnp.float32(0)
    return TaskState(
      position,
      position[None],
      nothing,
      nothing,
      {"moved": nothing},
      {"rng": key},
    )

  def step(self, state, action):
    position = state.data + action[0]
    position = jnp.where(position > 2, jnp.nan, position)
    failed = jnp.isnan(position).astype(jnp.float32)
    state.metrics["moved"] = action[0]  # As theirs, in the caller's dictionary.
    return TaskState(
      position, position[None], position, failed, state.metrics, state.info
    )


@functools.partial(jax.jit, static_argnums=0)
def play(env, actions):
  """Plays actions (num_steps, num_envs, k) in a batch of environments."""
  num_steps, num_envs, _ = actions.shape
  keys = jax.random.split(jax.random.key(0), (num_steps + 1, num_envs))
  first, state = jax.vmap(env.reset)(keys[0])

  def step(state, inputs):
    observation, state, reward, terminated, truncated, info = jax.vmap(
      env.step
    )(inputs[0], state, inputs[1])
    final = info["final_observation"]
    return state, (observation, final, reward, terminated, truncated)

  return first, jax.lax.scan(step, state, (keys[1:], actions))[1]


def test_a_time_limit_shows_the_last_observation_and_starts_afresh():
  env = libraries.of_mujoco(Slide(), episode_length=3)
  # What lies beyond -1 is clipped.
  actions = jnp.full((6, 2, 1), -0.5).at[2].set(-7.0)
  first, (seen, final, reward, terminated, truncated) = play(env, actions)
  ends = np.arange(6) % 3 == 2
  np.testing.assert_array_equal(truncated, np.stack([ends, ends], axis=1))
  assert not terminated.any()
  moved = np.array([[-0.5], [-1.0], [-2.0]])
  np.testing.assert_allclose(final[:3, :, 0], first.T + moved, atol=1e-6)
  np.testing.assert_array_equal(reward, final[..., 0])
  np.testing.assert_array_equal(seen[~ends], final[~ends])
  # Four starts, no two the same.
  starts = np.stack([first, seen[2]]).ravel()
  assert len(set(starts.tolist())) == 4
  assert (starts >= 0).all()
  np.testing.assert_allclose(final[3], seen[2] - 0.5, atol=1e-6)


def test_a_failed_simulation_terminates_with_finite_numbers():
  env = wrappers.EpisodeStatistics(
    wrappers.FlattenHistory(libraries.of_mujoco(Slide()))
  )
  _, (seen, final, reward, terminated, truncated) = play(
    env, jnp.ones((2, 3, 1))
  )
  assert terminated[1].all()
  assert not truncated.any()
  # Position, previous action, first-step flag.
  assert seen.shape == (2, 3, 3)
  assert np.isfinite(seen).all()
  np.testing.assert_array_equal(final[1], [[0, 1, 0]] * 3)
  np.testing.assert_array_equal(reward[1], 0)
  np.testing.assert_array_equal(seen[1, :, 1:], [[0, 1]] * 3)


def test_resets_are_computed_where_there_are_any():
  env = libraries.of_mujoco(Slide())
  keys = jax.random.split(jax.random.key(0), 2)
  _, state = jax.vmap(env.reset)(keys)
  program = jax.make_jaxpr(jax.vmap(env.step))(keys, state, jnp.zeros((2, 1)))
  assert " cond[" in str(program)


def test_what_is_wrong(monkeypatch):
  with pytest.raises(ValueError, match="episode_length: got 0, expected an"):
    libraries.of_mujoco(Slide(), 0)
  pixels = Slide()
  pixels.observation_size = {"pixels": (8, 8, 3)}
  with pytest.raises(ValueError, match="task: got observations .*one vector"):
    libraries.of_mujoco(pixels)
  with pytest.raises(ValueError, match="task: got 'Cartpole', expected one"):
    libraries.playground("Cartpole")
  monkeypatch.setitem(sys.modules, "mujoco_playground", None)
  with pytest.raises(ModuleNotFoundError, match="need the package 'mujoco_pl"):
    envs.make("Playground-PointMass")


@pytest.mark.filterwarnings("default")
def test_the_cartpole_of_the_control_suite():
  pytest.importorskip("mujoco_playground")
  env, params = envs.make("Playground-CartpoleBalance", episode_length=3)
  assert params.max_steps_in_episode == 3
  first, (seen, final, reward, terminated, truncated) = play(
    env, jnp.zeros((4, 2, 1))
  )
  np.testing.assert_array_equal(truncated[:, 0], [False, False, True, False])
  assert not terminated.any()
  assert first.shape == (2, 5)
  # The pole stands almost upright: cart, cosine, sine, two velocities.
  for observation in (first, *seen, *final):
    assert np.isfinite(observation).all()
    np.testing.assert_allclose(observation[:, 1], 1, atol=0.01)
  assert ((reward > 0.5) & (reward <= 1)).all()
  np.testing.assert_array_equal(seen[:2], final[:2])
  assert (np.abs(seen[2] - final[2]).max(axis=-1) > 1e-3).all()
  assert (np.abs(seen[2] - first).max(axis=-1) > 1e-3).all()
