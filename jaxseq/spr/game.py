"""An environment as an agent of SPR plays it: frame by frame.

Frames are images of bytes, or vectors of numbers that also tell the action
before and whether an episode begins. Whoever wants several frames stacks them.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl import envs
from jaxseq.rl import mixtures
from jaxseq.rl import wrappers
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces
from jaxseq.rl.replay import frame_rows
from jaxseq.types import PyTree

Array = jax.Array


class Step(NamedTuple):
  """Outcome of an action; with a leading axis for several players.

  Attributes:
    frame: of the game's frame_shape, after the action; of another game if this
      one is over.
    reward: () float32, as the game counts.
    done: () bool, whether the return ends here: a life was lost, or the game is
      over.
    over: () bool, whether the game is over, or was stopped by a time limit.
  """

  frame: Array
  reward: Array
  done: Array
  over: Array


@dataclasses.dataclass(frozen=True)
class Game:
  """A game that can be played.

  Attributes:
    name: of the game.
    env: the environment; its observations are one array, its actions one
      choice.
    env_params: its parameters.
    stack: how many frames an observation should have.
  """

  name: str
  env: protocol.Env
  env_params: PyTree
  stack: int = 1

  @property
  def frame_shape(self) -> tuple[int, ...]:
    """(height, width, channels) of an image, or (n,)."""
    return tuple(self.env.observation_space(self.env_params).shape)

  @property
  def frame_dtype(self) -> np.dtype:
    """uint8 of images, float32 of vectors."""
    return np.dtype(self.env.observation_space(self.env_params).dtype)

  @property
  def is_image(self) -> bool:
    """True if frames are images."""
    return spaces.is_image(self.env.observation_space(self.env_params))

  @property
  def num_actions(self) -> int:
    """Number of actions."""
    return self.env.action_space(self.env_params).n

  @property
  def observation_shape(self) -> tuple[int, ...]:
    """(height, width, stack * channels) of an observation, or (stack * n,)."""
    return frame_rows.stacked_shape(self.frame_shape, self.stack)

  def init(self, key: Array) -> tuple[PyTree, Array]:
    """Returns the state of a player and the first frame."""
    frame, state = self.env.reset(key, self.env_params)
    return state, frame

  def step(
    self, state: PyTree, action: Array, key: Array
  ) -> tuple[PyTree, Step]:
    """Takes an action, a () integer; returns the state and its outcome."""
    frame, state, reward, terminated, truncated, info = self.env.step(
      key, state, action, self.env_params
    )
    over = terminated | truncated
    done = over | info.get("life_lost", False)
    return state, Step(frame, jnp.asarray(reward, jnp.float32), done, over)


def make(env_id: str, options: Mapping[str, Any] | None = None) -> Game:
  """Returns a game by an id and options that `jaxseq.rl.envs.make` knows.

  It is one of an environment with a `Discrete` action space.

  Raises:
    ValueError: there is no such game, it is not installed, or its actions are
      not one choice.
  """
  env, env_params = envs.make(env_id, **(options or {}))
  actions = spaces.convert(env.action_space(env_params))
  single = not isinstance(env, mixtures.Mixture)
  if not (single and isinstance(actions, spaces.Discrete)):
    expected = "a single environment with Discrete actions"
    raise validate.error("env_id", env_id, expected)
  seen = env.observation_space(env_params)
  action_masks.check(seen, actions)
  if action_masks.is_masked(seen):
    expected = "an environment without masks of actions"
    raise validate.error("env_id", env_id, expected)
  if not spaces.is_image(seen):
    env = wrappers.flat(env)
  return Game(env_id, env, env_params, getattr(env, "frame_stack", 1))
