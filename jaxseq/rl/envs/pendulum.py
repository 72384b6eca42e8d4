"""Pendulums that do not show how fast they swing."""

import dataclasses
import math

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._types import PyTree
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces

# The constants of gymnasium's Pendulum.
_GRAVITY = 10.0
_MASS = 1.0
_LENGTH = 1.0
_TIME_STEP = 0.05
_MAX_SPEED = 8.0
_MAX_TORQUE = 2.0
_MAX_START_ANGLE = math.pi
_MAX_START_SPEED = 1.0
# Half of the greatest cost, as POPGym rounds it.
_HALF_COST = 8.1368022


@struct.dataclass
class EnvState(base.EnvState):
  """State of a pendulum, all ().

  Attributes:
    time: int32, steps played.
    theta: float32, angle from upright in radians, not wrapped.
    theta_dot: float32, its velocity in radians per second.
  """

  time: jax.Array
  theta: jax.Array
  theta_dot: jax.Array


@dataclasses.dataclass(frozen=True)
class PositionOnlyPendulum(base.Environment):
  """Swings up a pendulum, seeing where it is but not how fast.

  A step costs the squared angle from upright plus 0.1 times the squared
  velocity, both before the step, plus 0.001 times the squared torque. The
  reward is linear in the cost: 1 part in `max_steps` if there is none, and
  -1 part at the greatest cost. The episode is truncated after `max_steps`
  steps and never terminates.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859), the dynamics
  those of gymnasium's Pendulum-v1.

  Attributes:
    max_steps: time limit.
  """

  max_steps: int = 200

  reset_words = 2

  def __post_init__(self):
    if self.max_steps < 1:
      raise ValueError(f"max_steps: got {self.max_steps}, expected 1 or more.")

  @property
  def default_params(self) -> base.EnvParams:
    """Parameters: the time limit."""
    return base.EnvParams(max_steps_in_episode=self.max_steps)

  def start(
    self, words: jax.Array, params: PyTree
  ) -> tuple[jax.Array, EnvState]:
    """Starts at any angle and at up to 1 radian per second."""
    state = EnvState(**_start(words))
    return self.observe(None, state, None, params), state

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[jax.Array, EnvState, jax.Array]:
    """Applies a torque, (1,) in newton metres, for one time step."""
    del words
    torque = jnp.clip(action[0].astype(jnp.float32), -_MAX_TORQUE, _MAX_TORQUE)
    reward = (_HALF_COST - cost(state, torque)) / _HALF_COST
    state = swing(state, torque)
    observation = self.observe(None, state, action, params)
    return observation, state, reward / params.max_steps_in_episode

  def observe(
    self, key: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> jax.Array:
    """Returns the cosine and the sine of the angle, (2,) float32."""
    del key, action, params
    return jnp.stack([jnp.cos(state.theta), jnp.sin(state.theta)])

  def is_terminated(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns False, () bool."""
    del params
    return jnp.zeros_like(state.time, bool)

  def action_space(self, params: PyTree = None) -> spaces.Box:
    """Torques; those beyond the bounds are clipped."""
    del params
    return spaces.Box(-_MAX_TORQUE, _MAX_TORQUE, (1,))

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """A point on the circle."""
    del params
    high = np.ones((2,), np.float32)
    return spaces.Box(-high, high, (2,))


@struct.dataclass
class NoisyEnvState(EnvState):
  """State of a pendulum that is seen through noise.

  Attributes:
    noise: (2,) float32, what is added to cosine and sine before they are
      shown.
  """

  noise: jax.Array


@dataclasses.dataclass(frozen=True)
class NoisyPositionOnlyPendulum(PositionOnlyPendulum):
  """Swings up a pendulum, seeing with an error where it is.

  Independent normal noise is added to every observation, the first included,
  and the sum is clipped to [-1, 1].

  Attributes:
    max_steps: time limit.
    noise_sigma: standard deviation of the noise.
  """

  noise_sigma: float = 0.1

  step_words = 2
  reset_words = 4

  def __post_init__(self):
    super().__post_init__()
    if not self.noise_sigma >= 0:
      raise ValueError(
        f"noise_sigma: got {self.noise_sigma}, expected 0 or more."
      )

  def start(
    self, words: jax.Array, params: PyTree
  ) -> tuple[jax.Array, NoisyEnvState]:
    """Starts at any angle and at up to 1 radian per second."""
    state = NoisyEnvState(**_start(words[:2]), noise=self._noise(words[2:]))
    return self.observe(None, state, None, params), state

  def advance(
    self,
    words: jax.Array,
    state: NoisyEnvState,
    action: jax.Array,
    params: PyTree,
  ) -> tuple[jax.Array, NoisyEnvState, jax.Array]:
    """Applies a torque, (1,) in newton metres, for one time step."""
    state = state.replace(noise=self._noise(words))
    return super().advance(words, state, action, params)

  def observe(
    self,
    key: jax.Array,
    state: NoisyEnvState,
    action: jax.Array,
    params: PyTree,
  ) -> jax.Array:
    """Returns the cosine and the sine with noise, (2,) float32."""
    exact = super().observe(key, state, action, params)
    return jnp.clip(exact + state.noise, -1, 1)

  def _noise(self, words):
    return randomness.normal(words, self.noise_sigma)


def cost(state: EnvState, torque: jax.Array) -> jax.Array:
  """Returns what a step from `state` costs, () float32.

  Args:
    state: the state before the step.
    torque: () float32, within the bounds.
  """
  wrapped = (state.theta + math.pi) % (2 * math.pi) - math.pi
  return wrapped**2 + 0.1 * state.theta_dot**2 + 0.001 * torque**2


def swing(state: EnvState, torque: jax.Array) -> EnvState:
  """Integrates the dynamics over one time step.

  Args:
    state: the state before.
    torque: () float32 in newton metres, within the bounds.

  Returns:
    The state after.
  """
  theta_acc = 3 * _GRAVITY / (2 * _LENGTH) * jnp.sin(state.theta)
  theta_acc += 3 / (_MASS * _LENGTH**2) * torque
  theta_dot = jnp.clip(
    state.theta_dot + _TIME_STEP * theta_acc, -_MAX_SPEED, _MAX_SPEED
  )
  return state.replace(
    time=state.time + 1,
    theta=state.theta + _TIME_STEP * theta_dot,
    theta_dot=theta_dot,
  )


def _start(words):
  """The fields of a fresh state, drawn from two words."""
  return {
    "time": jnp.int32(0),
    "theta": randomness.uniform(words[0], -_MAX_START_ANGLE, _MAX_START_ANGLE),
    "theta_dot": randomness.uniform(
      words[1], -_MAX_START_SPEED, _MAX_START_SPEED
    ),
  }
