"""A game to test with.

The frame shows the number of steps since the game began. Action 1 earns 2, any
other 0. A life is lost every 3 steps, and the game is over after `length`.
"""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import spr
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces

SHAPE = (4, 4, 1)
# Frames that differ from place to place.
_PATTERN = 29 * np.arange(16, dtype=np.int32).reshape(SHAPE) + 37


@struct.dataclass
class State(base.EnvState):
  length: jax.Array


@dataclasses.dataclass(frozen=True)
class Counting(base.Environment):
  """The game.

  Attributes:
    length: steps of a game, at least.
    spread: up to so many steps more, at random.
    always: whether every action earns 2.
    vivid: whether frames differ from place to place.
  """

  length: int = 7
  spread: int = 0
  always: bool = False
  vivid: bool = False

  reset_words = 1

  @property
  def default_params(self):
    return base.EnvParams(max_steps_in_episode=1000)

  def start(self, words, params):
    del params
    more = words[0] % jnp.uint32(self.spread + 1)
    return State(jnp.int32(0), self.length + more.astype(jnp.int32))

  def advance(self, words, state, action, params):
    del words, params
    state = state.replace(time=state.time + 1)
    earns = self.always | (action == 1)
    return state, jnp.where(earns, 2.0, 0.0)

  def step(self, key, state, action, params=None):
    count = state.time + 1
    *after, info = super().step(key, state, action, params)
    life_lost = (count % 3 == 0) & (count < state.length)
    return *after, {**info, "life_lost": life_lost}

  def is_terminated(self, state, params):
    del params
    return state.time >= state.length

  def observation_space(self, params=None):
    del params
    return spaces.Box(0, 255, SHAPE, np.dtype(np.uint8))

  def action_space(self, params=None):
    del params
    return spaces.Discrete(3)

  def observe(self, state, params):
    del params
    if self.vivid:
      return ((state.time + 1) * _PATTERN % 251).astype(jnp.uint8)
    return frame_of(state.time)


def make(**options):
  env = Counting(**options)
  return spr.game.Game("counting", env, env.default_params, stack=2)


def frame_of(count):
  return jnp.full(SHAPE, count, jnp.uint8)
