"""A stand-in for an environment that runs elsewhere, known by its spaces."""

import dataclasses
from typing import Any

from flax import struct
import jax.numpy as jnp

from jaxseq.rl.envs import _described_spaces
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


@struct.dataclass
class Params(base.EnvParams):
  """Parameters of `Outside`."""

  observation: PyTree = None  # the next one


@dataclasses.dataclass(frozen=True)
class Outside(base.Jitted):
  """Shows the observation in its parameters, whatever the action.

  So an agent's wrappers work as with the environment itself.

  Attributes:
    observation: space of observations, see `_described_spaces.describe`.
    action: space of actions.
    shown: if the environment shows the previous action itself, the space of the
      first part of its observations; None otherwise.
    frame_stack: number of stacked images.
  """

  observation: tuple[Any, ...]
  action: tuple[Any, ...]
  shown: tuple[Any, ...] | None = None
  frame_stack: int = 1

  # The only trait that players need from the environment it replaces.
  num_trials = 1

  @property
  def shows_history(self) -> bool:
    """True if observations already hold the previous action."""
    return self.shown is not None

  @property
  def default_params(self) -> Params:
    """A time limit out of reach, and an observation of zeros."""
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
    """The space of the first part of observations."""
    return _described_spaces.read(self.shown or self.observation, "shown")

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """The space of actions."""
    return _described_spaces.read(self.action, "action")


def make(name: str, **options: Any) -> Outside:
  """Makes `Outside`; the name is ignored."""
  del name
  return Outside(**options)
