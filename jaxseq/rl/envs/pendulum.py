"""Pendulums that do not show their velocity."""

import dataclasses
import math

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl.envs import _noisy
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

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
    noise: (2,) float32, noise on the shown cosine and sine; None
      without noise.
  """

  theta: jax.Array
  theta_dot: jax.Array
  noise: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class PositionOnlyPendulum(base.Environment):
  """Swings up a pendulum, observing its angle but not its velocity.

  A step costs the squared angle from upright plus 0.1 times the squared
  velocity, both before the step, plus 0.001 times the squared torque. The
  reward is linear in the cost: 1 / `max_steps` at cost 0, and
  -1 / `max_steps` at the greatest cost. The episode is truncated after
  `max_steps` steps and never terminates.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859), the dynamics
  those of gymnasium's Pendulum-v1.

  Attributes:
    max_steps: time limit.
  """

  max_steps: int = 200

  # Torques; larger ones are clipped to the bounds.
  actions = spaces.Box(-_MAX_TORQUE, _MAX_TORQUE, (1,))
  # A point on the circle.
  observations = spaces.Box(-1.0, 1.0, (2,))
  reset_words = 2

  def __post_init__(self):
    validate.positive("max_steps", self.max_steps)

  def start(self, words: jax.Array, params: PyTree) -> EnvState:
    """Starts at any angle and at up to 1 radian per second."""
    theta = randomness.uniform(words[0], -_MAX_START_ANGLE, _MAX_START_ANGLE)
    speed = randomness.uniform(words[1], -_MAX_START_SPEED, _MAX_START_SPEED)
    return EnvState(time=jnp.int32(0), theta=theta, theta_dot=speed)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Applies a torque, (1,) in newton meters, for one time step."""
    torque = jnp.clip(action[0].astype(jnp.float32), -_MAX_TORQUE, _MAX_TORQUE)
    reward = (_HALF_COST - cost(state, torque)) / _HALF_COST
    return swing(state, torque), reward / params.max_steps_in_episode

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns the cosine and the sine of the angle, (2,) float32."""
    return jnp.stack([jnp.cos(state.theta), jnp.sin(state.theta)])


@dataclasses.dataclass(frozen=True)
class NoisyPositionOnlyPendulum(_noisy.Noisy, PositionOnlyPendulum):
  """Swings up a pendulum, observing its angle with noise.

  Independent normal noise is added to every observation, the first included,
  and the sum is clipped to [-1, 1].

  Attributes, beside those of `PositionOnlyPendulum`:
    noise_sigma: standard deviation of the noise.
  """


def cost(state: EnvState, torque: jax.Array) -> jax.Array:
  """Returns the cost of a step from `state`, () float32.

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
    torque: () float32 in newton meters, within the bounds.

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
