"""Cart-poles that show only a part of their state."""

import dataclasses
import math

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import _noisy
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

# The constants of gymnasium's CartPole.
_GRAVITY = 9.8
_CART_MASS = 1.0
_POLE_MASS = 0.1
_POLE_HALF_LENGTH = 0.5
_FORCE = 10.0
_TIME_STEP = 0.02
_MAX_POSITION = 2.4
_MAX_ANGLE = 12 * 2 * math.pi / 360
_MAX_SEEN = np.array([2 * _MAX_POSITION, 2 * _MAX_ANGLE], np.float32)


@struct.dataclass
class EnvState(base.EnvState):
  """State of a cart-pole; all () and, except the time, float32.

  Attributes:
    time: int32, steps played.
    x: position of the cart in meters.
    x_dot: its velocity in meters per second.
    theta: angle of the pole from upright in radians.
    theta_dot: its velocity in radians per second.
    noise: (2,), noise on the shown position and angle; None
      without noise.
  """

  x: jax.Array
  x_dot: jax.Array
  theta: jax.Array
  theta_dot: jax.Array
  noise: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class PositionOnlyCartPole(base.Environment):
  """Balances a pole, observing positions of cart and pole but no velocities.

  Every step earns 1 / `max_steps`. The episode terminates when the
  cart is more than 2.4 m from the middle or the pole more than 12 degrees
  from upright, and is truncated after `max_steps` steps.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859), the dynamics
  those of gymnasium's CartPole, integrated by Euler's method.

  Attributes:
    max_steps: time limit.
    max_start: largest absolute value of the four numbers of an initial state.
  """

  max_steps: int = 200
  max_start: float = 0.05

  # Push to the left or to the right.
  actions = spaces.Discrete(2)
  # Twice the range within which the episode continues.
  observations = spaces.Box(-_MAX_SEEN, _MAX_SEEN, (2,))
  reset_words = 4

  def __post_init__(self):
    validate.positive("max_steps", self.max_steps)
    if not 0 <= self.max_start < _MAX_ANGLE:
      fallen = f"{_MAX_ANGLE:.3f}, the angle at which a pole has fallen"
      expected = f"0 or more and less than {fallen}"
      raise validate.error("max_start", self.max_start, expected)

  def start(self, words: jax.Array, params: PyTree) -> EnvState:
    """Starts near the middle, nearly upright and nearly at rest."""
    start = randomness.uniform(words, -self.max_start, self.max_start)
    return EnvState(jnp.int32(0), *start)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Pushes the cart to the left (0) or right (1) for one time step."""
    state = push(state, jnp.where(action == 1, _FORCE, -_FORCE))
    return state, jnp.float32(1) / params.max_steps_in_episode

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns the position and the angle, (2,) float32."""
    return jnp.stack([state.x, state.theta])

  def is_terminated(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns whether the cart is off or the pole has fallen, () bool."""
    off = jnp.abs(state.x) > _MAX_POSITION
    return off | (jnp.abs(state.theta) > _MAX_ANGLE)


@dataclasses.dataclass(frozen=True)
class VelocityOnlyCartPole(PositionOnlyCartPole):
  """Balances a pole, observing velocities of cart and pole but no positions.

  The first observation of an episode shows position and angle instead of the
  velocities, a mistake of the original that is kept.
  """

  # Velocities have no bounds.
  observations = spaces.Box(-np.inf, np.inf, (2,))

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns the velocities; at first position and angle, (2,) float32."""
    velocities = jnp.stack([state.x_dot, state.theta_dot])
    return jnp.where(
      state.time == 0, super().observe(state, params), velocities
    )


@dataclasses.dataclass(frozen=True)
class NoisyPositionOnlyCartPole(_noisy.Noisy, PositionOnlyCartPole):
  """Balances a pole, observing noisy positions of cart and pole.

  Independent normal noise is added to every observation, the first included,
  and the sum is clipped to the observation space.

  Attributes, beside those of `PositionOnlyCartPole`:
    noise_sigma: standard deviation of the noise, in meters and in radians.
  """


def push(state: EnvState, force: jax.Array) -> EnvState:
  """Integrates the dynamics over one time step.

  Args:
    state: the state before.
    force: () force on the cart in newtons.

  Returns:
    The state after.
  """
  total_mass = _CART_MASS + _POLE_MASS
  pole_moment = _POLE_MASS * _POLE_HALF_LENGTH
  sin, cos = jnp.sin(state.theta), jnp.cos(state.theta)
  pull = (force + pole_moment * state.theta_dot**2 * sin) / total_mass
  theta_acc = (_GRAVITY * sin - cos * pull) / (
    _POLE_HALF_LENGTH * (4 / 3 - _POLE_MASS * cos**2 / total_mass)
  )
  x_acc = pull - pole_moment * theta_acc * cos / total_mass
  return state.replace(
    time=state.time + 1,
    x=state.x + _TIME_STEP * state.x_dot,
    x_dot=state.x_dot + _TIME_STEP * x_acc,
    theta=state.theta + _TIME_STEP * state.theta_dot,
    theta_dot=state.theta_dot + _TIME_STEP * theta_acc,
  )
