"""Environments with gymnax's classes, for its wrappers and other clients.

env, params = gymnax.make("RepeatPreviousEasy")   # after register_with_gymnax
env = for_gymnax.ForGymnax(envs.make("RepeatPreviousEasy")[0])
"""

import dataclasses
from typing import Any
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


@dataclasses.dataclass(unsafe_hash=True)
class ForGymnax:
  """An environment whose spaces are of gymnax's classes.

  Everything else is forwarded. Attributes can be set, which gymnax's wrapper
  for vectors of environments needs.

  Attributes:
    env: the environment.
  """

  env: protocol.Env

  def __getattr__(self, name: str) -> Any:
    if name == "env" or name.startswith("__"):
      # Not yet set while a copy is made.
      raise AttributeError(name)
    return getattr(self.env, name)

  def observation_space(self, params: PyTree = None) -> Any:
    """The space of observations."""
    return to_gymnax(self.env.observation_space(params))

  def action_space(self, params: PyTree = None) -> Any:
    """The space of actions."""
    return to_gymnax(self.env.action_space(params))

  def state_space(self, params: PyTree = None) -> Any:
    """The space of states."""
    return to_gymnax(self.env.state_space(params))

  def observe(
    self, key: jax.Array, state: PyTree, action: PyTree, params: PyTree
  ) -> PyTree:
    """The observation of a state; gymnax's key and action are not used."""
    del key, action
    return self.env.observe(state, params)

  def get_obs(
    self, state: PyTree, params: PyTree = None, key: PyTree = None
  ) -> PyTree:
    """The observation of a state, under the name before gymnax 1.0."""
    del key
    if params is None:
      params = self.env.default_params
    return self.env.observe(state, params)

  def is_terminal(self, state: PyTree, params: PyTree) -> jax.Array:
    """Returns whether the episode has ended by itself, () bool; an old name."""
    return self.env.is_terminated(state, params)

  def discount(self, state: PyTree, params: PyTree) -> jax.Array:
    """0 if the episode has ended by itself, else 1, () float32."""
    return jnp.where(self.env.is_terminated(state, params), 0.0, 1.0)

  @property
  def supports_transition_gradients(self) -> bool:
    """False: no gradient flows through the dynamics."""
    return False

  @property
  def transition_gradients_enabled(self) -> bool:
    """False: no gradient flows through the dynamics."""
    return False

  def with_transition_gradients(self) -> NoReturn:
    """Rejects gradients through the dynamics, like gymnax's discrete games.

    Raises:
      ValueError: always.
    """
    raise ValueError(f"{self.env.name} does not support transition gradients")


def to_gymnax(space: spaces.Space) -> Any:
  """Returns a space of gymnax's classes with the same elements.

  A `MultiDiscrete`, which gymnax does not have, becomes a box of integers.
  """
  # Not at the top: the import of gymnax puts arrays on a device.
  from gymnax.environments import spaces as gymnax_spaces

  match space:
    case spaces.MultiDiscrete():
      counts = np.array([part.n for part in space.spaces], np.int32)
      return gymnax_spaces.Box(
        np.zeros_like(counts), counts - 1, counts.shape, jnp.int32
      )
    case spaces.Discrete():
      return gymnax_spaces.Discrete(space.n, dtype=space.dtype)
    case spaces.Box():
      return gymnax_spaces.Box(space.low, space.high, space.shape, space.dtype)
    case spaces.Tuple():
      return gymnax_spaces.Tuple(tuple(map(to_gymnax, space.spaces)))
    case spaces.Dict():
      return gymnax_spaces.Dict(
        {name: to_gymnax(part) for name, part in space.spaces.items()}
      )
  return space
