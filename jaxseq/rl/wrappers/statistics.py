"""Returns and lengths of episodes."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq.rl.wrappers import base
from jaxseq.types import PyTree


@struct.dataclass
class StatisticsState:
  """State of `EpisodeStatistics`; all () except `env_state`.

  Attributes:
    env_state: the environment's state.
    episode_return: float32, rewards of the episode so far.
    episode_length: int32, steps of the episode so far.
    returned_episode_return: float32, return of the last finished episode.
    returned_episode_length: int32, length of the last finished episode.
  """

  env_state: PyTree
  episode_return: jax.Array
  episode_length: jax.Array
  returned_episode_return: jax.Array
  returned_episode_length: jax.Array


@dataclasses.dataclass(frozen=True)
class EpisodeStatistics(base.Wrapper):
  """Reports the return and length of every episode when it ends.

  `info` gains `returned_episode`, () bool, whether the episode ended with this
  step, and `returned_episode_return`, () float32, and
  `returned_episode_length`, () int32, of the last finished episode: 0 until
  a first one has ended.

  Attributes:
    env: the environment.
  """

  def _reset(self, key, params):
    observation, env_state = self.env.reset(key, params)
    zeros = jnp.float32(0), jnp.int32(0)
    return observation, StatisticsState(env_state, *zeros, *zeros)

  def _step(self, key, state, action, params):
    observation, env_state, reward, terminated, truncated, info = self.env.step(
      key, state.env_state, action, params
    )
    done = terminated | truncated
    total = state.episode_return + jnp.asarray(reward, jnp.float32)
    length = state.episode_length + 1
    last = state.returned_episode_return, state.returned_episode_length
    last = base.select(done, (total, length), last)
    on = jnp.where(done, 0, total), jnp.where(done, 0, length)
    state = StatisticsState(env_state, *on, *last)
    info = {
      **info,
      "returned_episode": done,
      "returned_episode_return": last[0],
      "returned_episode_length": last[1],
    }
    return observation, state, reward, terminated, truncated, info
