"""MinAtar's games as images of bytes, with the interface of gymnax 1.0.

Young and Tian, arXiv:1903.03176: five small versions of Atari games, images of
10x10 with a channel for each kind of object, as in gymnax: the minimal
action set, no sticky actions, and a time limit of 1,000 steps (freeway:
2,500).
"""

import dataclasses
import functools
from typing import ClassVar
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class MinAtar(base.Environment):
  """A game of MinAtar.

  An observation is (10, 10, channels) uint8, 255 where a cell holds an object
  of that kind. Moving objects leave a trail, so that one frame is enough.

  Attributes:
    game: name of the game.
  """

  game: Literal[
    "Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders"
  ] = "Breakout"

  frame_stack: ClassVar[int] = 1

  def __post_init__(self):
    validate.literals(self)

  @property
  def default_params(self) -> PyTree:
    """The default parameters of gymnax."""
    return self._env[1]

  @property
  def name(self) -> str:
    """The name of the game."""
    return self.game

  def _step(self, key, state, action, params):
    spaces.check("action", self.action_space(params), action)
    observation, state, reward, terminated, truncated, info = self._env[0].step(
      key, state, action, params
    )
    return base.outcome(
      _frame(observation),
      _strong(state),
      reward.astype(jnp.float32),
      terminated,
      truncated,
      _frame(info["final_observation"]),
    )

  def _reset(self, key, params):
    observation, state = self._env[0].reset(key, params)
    return _frame(observation), _strong(state)

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """Images with a channel for each kind of object."""
    return spaces.Box(0, 255, self._env[0].obs_shape, np.dtype(np.uint8))

  def action_space(self, params: PyTree = None) -> spaces.Discrete:
    """The minimal set of actions of the game."""
    return spaces.Discrete(int(self._env[0].num_actions))

  @property
  def _env(self) -> tuple[PyTree, PyTree]:
    return _of_gymnax(self.game)


@functools.cache
def _of_gymnax(game: str) -> tuple[PyTree, PyTree]:
  """Returns gymnax's game and its parameters."""
  # Not at the top: the import of gymnax puts arrays on a device.
  with jax.ensure_compile_time_eval():
    import gymnax

    return gymnax.make(f"{game}-MinAtar")


def _frame(observation):
  return jnp.where(observation > 0, 255, 0).astype(jnp.uint8)


def _strong(state):
  """Converts Python numbers to arrays, whose dtypes do not change in a loop."""
  return jax.tree.map(
    lambda leaf: jax.lax.convert_element_type(leaf, jnp.result_type(leaf)),
    state,
  )
