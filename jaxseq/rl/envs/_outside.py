"""An environment that is played elsewhere, and known by its spaces alone."""

import dataclasses
from typing import Any

from flax import struct
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.rl.envs import _described_spaces
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces


@struct.dataclass
class Params(base.EnvParams):
  """Parameters of `Outside`."""

  observation: PyTree = None  # that comes next


@dataclasses.dataclass(frozen=True)
class Outside(base.Jitted):
  """Shows the observation in its parameters, whatever is done.

  So the wrappers of an agent see what they would see of the environment itself.

  Attributes:
    observation: its space, see `_described_spaces.describe`.
    action: that of actions.
    shown: of an environment that shows the previous action by itself, the space
      of what its observations begin with; None of others.
    frame_stack: images that agents see at once.
  """

  observation: tuple[Any, ...]
  action: tuple[Any, ...]
  shown: tuple[Any, ...] | None = None
  frame_stack: int = 1

  # Of the environment that it stands for: a player asks for no more.
  num_trials = 1

  @property
  def shows_history(self) -> bool:
    """True if observations tell the previous action already."""
    return self.shown is not None

  @property
  def default_params(self) -> Params:
    """No time limit within reach, and an observation of zeros."""
    return Params(2**30, spaces.zeros(self.observation_space()))

  def _reset(self, key, params):
    return params.observation, base.EnvState(jnp.int32(0))

  def _step(self, key, state, action, params):
    never, after = jnp.bool_(False), base.EnvState(state.time + 1)
    shown = params.observation
    return base.outcome(shown, after, jnp.float32(0), never, never, shown)

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The space of observations."""
    return _described_spaces.read(self.observation, "observation")

  def shown_space(self, params: PyTree = None) -> spaces.Space:
    """The space of what observations begin with."""
    return _described_spaces.read(self.shown or self.observation, "shown")

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """The space of actions."""
    return _described_spaces.read(self.action, "action")


def make(name: str, **options: Any) -> Outside:
  """Makes `Outside`; the name is of no account."""
  del name
  return Outside(**options)
