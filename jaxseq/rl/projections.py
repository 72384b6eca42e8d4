"""Random linear projections of observations and actions, new in each task."""

import dataclasses
import math
from typing import Literal

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import wrappers
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


@struct.dataclass
class ProjectedState:
  """State of `Projected`.

  Attributes:
    env_state: the environment's state.
    observation_map: (observation_size, d) float32, d being the size of the
      environment's observation.
    action_map: (k, action_size) float32, k being the size of the
      environment's action, or None.
  """

  env_state: PyTree
  observation_map: jax.Array
  action_map: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Projected(wrappers.Wrapper):
  """Multiplies observations by a random matrix, and actions by another one.

  The matrices are drawn by `reset` and kept when `step` starts the next
  episode: inside `meta.Trials` they last for one meta-episode.

  Observations are flattened and multiplied by the observation map. It is
  either "orthogonal", sqrt(2) times a matrix with orthonormal columns (rows if
  there are more columns than rows), or "gaussian", with independent entries of
  variance 1 / d. The agent's action is multiplied by the action map, whose
  rows are independent directions of norm 1, clipped to [-1, 1] and scaled to
  the bounds of the environment's actions. For discrete actions, [-1, 1] is
  cut into as many equal parts.

  The setting of Lu et al., "Structured State Space Models for In-Context
  Reinforcement Learning", arXiv:2303.03982.

  Attributes:
    env: the environment.
    observation_size: size of an observation.
    kind: distribution of the observation map, "orthogonal" or "gaussian".
    action_size: size of an action; None leaves actions unchanged. With a
      number, the environment's actions must be a bounded Box or Discrete.
  """

  observation_size: int = 12
  kind: Literal["orthogonal", "gaussian"] = "orthogonal"
  action_size: int | None = None

  def __post_init__(self):
    validate.literals(self)
    validate.fields(
      self, positive=("observation_size",), optional=("action_size",)
    )
    if self.action_size is None:
      return
    space = spaces.convert(self.env.action_space(self.env.default_params))
    if not (isinstance(space, spaces.Discrete) or spaces.is_bounded(space)):
      received = f"the actions of the environment, {space!r},"
      expected = (
        f"None: {received} are neither Discrete nor a Box with finite bounds"
      )
      raise validate.error("action_size", self.action_size, expected)

  def _reset(self, key, params):
    """Draws the maps and starts an episode."""
    key_env, key_observation, key_action = jax.random.split(key, 3)
    observation, env_state = self.env.reset(key_env, params)
    size = spaces.flat_size(self._inner_space(params))
    shape = (self.observation_size, size)
    if self.kind == "orthogonal":
      observation_map = math.sqrt(2) * orthonormal(key_observation, shape)
    else:
      observation_map = _normal(key_observation, shape) / math.sqrt(size)
    action_map = None
    if self.action_size is not None:
      space = spaces.convert(self.env.action_space(params))
      is_choice = isinstance(space, spaces.Discrete)
      acted = 1 if is_choice else spaces.flat_size(space)
      action_map = _normal(key_action, (acted, self.action_size))
      action_map /= jnp.linalg.norm(action_map, axis=1, keepdims=True)
    state = ProjectedState(env_state, observation_map, action_map)
    return self._project(observation, state, params), state

  def _step(self, key, state, action, params):
    if self.action_size is not None:
      spaces.check("action", self.action_space(params), action)
      numbers = state.action_map @ action
      action = from_numbers(self.env.action_space(params), numbers)
    observation, env_state, reward, terminated, truncated, info = self.env.step(
      key, state.env_state, action, params
    )
    state = state.replace(env_state=env_state)
    final = self._project(info["final_observation"], state, params)
    info = {**info, "final_observation": final}
    shown = self._project(observation, state, params)
    return shown, state, reward, terminated, truncated, info

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """All vectors of the observation's size, with the mask if there is one."""
    space = self.env.observation_space(self._or_default(params))
    vectors = spaces.Box(-math.inf, math.inf, (self.observation_size,))
    return action_masks.like(space, vectors)

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """The environment's actions, or vectors that are clipped to [-1, 1]."""
    if self.action_size is None:
      return self.env.action_space(self._or_default(params))
    return spaces.Box(-1.0, 1.0, (self.action_size,))

  def _project(self, observation, state, params):
    observation, mask = action_masks.split(observation)
    flat = spaces.flatten(self._inner_space(params), observation)
    # Full precision also on accelerators: the map is fixed, not learned.
    precision = jax.lax.Precision.HIGHEST
    seen = jnp.matmul(state.observation_map, flat, precision=precision)
    return action_masks.join(seen, mask)

  def _inner_space(self, params):
    """Returns the space of the projected observations."""
    return action_masks.shown(self.env.observation_space(params))


def orthonormal(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
  """Draws a matrix with orthonormal columns, or rows, uniformly.

  Gram-Schmidt on Gaussian vectors, as a loop: the factorizations of linear
  algebra libraries are calls that stall or serialize a compiled training run.

  Args:
    key: random key.
    shape: rows and columns.

  Returns:
    float32 of that shape; its columns are orthonormal, or its rows if there
    are more columns than rows.
  """
  vectors = _normal(key, (min(shape), max(shape)))

  def add(i, basis):
    vector = vectors[i]
    # The second pass removes the rounding errors of the first.
    for _ in range(2):
      vector = vector - basis.T @ (basis @ vector)
    return basis.at[i].set(vector / jnp.linalg.norm(vector))

  basis = jax.lax.fori_loop(0, min(shape), add, jnp.zeros_like(vectors))
  return basis if shape[0] <= shape[1] else basis.T


def from_numbers(space: spaces.Space, numbers: jax.Array) -> jax.Array:
  """Maps numbers, clipped to [-1, 1], to an action.

  Args:
    space: space of the action: a Box with finite bounds, or Discrete.
    numbers: (k,), as many as an element of a Box has; (1,) for Discrete.

  Returns:
    An element of the space: float32, scaled to its bounds; or int32, the index
    of the part of [-1, 1] that holds the number.
  """
  space = spaces.convert(space)
  numbers = jnp.clip(numbers, -1, 1)
  if isinstance(space, spaces.Discrete):
    part = jnp.floor((numbers[0] + 1) / 2 * space.n).astype(jnp.int32)
    return jnp.minimum(part, space.n - 1)
  low = jnp.asarray(space.low, jnp.float32)
  high = jnp.asarray(space.high, jnp.float32)
  return (high + low) / 2 + (high - low) / 2 * numbers.reshape(space.shape)


def _normal(key, shape):
  return jax.random.normal(key, shape, jnp.float32)
