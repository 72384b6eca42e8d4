"""Environments whose values and returns can be worked out by hand."""

import dataclasses

from flax import struct
from gymnax.environments import environment
from gymnax.environments import spaces
import jax
import jax.numpy as jnp

from jaxseq.rl import wrappers
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces as more_spaces


@struct.dataclass
class State(environment.EnvState):
  time: jax.Array
  length: jax.Array
  cut: jax.Array


@dataclasses.dataclass(frozen=True)
class Paid(base.Environment):
  """Pays 1 for every step, whatever is done.

  Every episode is cut off after `limit` steps, and before that with
  probability `cut` at each step, or ends by itself after a random number of 1
  to `longest` steps, if that is set. Shows a function of the time.
  """

  limit: int = 5
  longest: int = 0
  cut: float = 0.0
  continuous: int = 0
  choices: tuple[int, ...] = ()

  step_words = 1
  reset_words = 1

  @property
  def default_params(self):
    return environment.EnvParams(max_steps_in_episode=self.limit)

  def start(self, words, params):
    length = 1 + (words[0] % max(self.longest, 1)).astype(jnp.int32)
    state = State(jnp.int32(0), length, jnp.bool_(False))
    return self._seen(state.time), state

  def advance(self, words, state, action, params):
    cut = randomness.uniform(words[0]) < self.cut
    state = state.replace(time=state.time + 1, cut=cut)
    return self._seen(state.time), state, jnp.float32(1)

  def is_terminated(self, state, params):
    return (state.time >= state.length) & (self.longest > 0)

  def is_truncated(self, state, params):
    return state.cut | super().is_truncated(state, params)

  def observation_space(self, params=None):
    return spaces.Box(0.0, 1.0, (1,))

  def action_space(self, params=None):
    if self.continuous:
      return spaces.Box(-1.0, 1.0, (self.continuous,))
    if self.choices:
      return more_spaces.MultiDiscrete(self.choices)
    return spaces.Discrete(2)

  def _seen(self, time):
    return jnp.sin(time.astype(jnp.float32))[None]


def paid(**options):
  """Returns the environment as agents see it, and its parameters."""
  env = Paid(**options)
  return wrappers.EpisodeStatistics(
    wrappers.FlattenHistory(env)
  ), env.default_params
