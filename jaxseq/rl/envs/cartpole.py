"""Cart-poles that show only a part of their state."""

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

# The constants of gymnasium's CartPole.
_GRAVITY = 9.8
_CART_MASS = 1.0
_POLE_MASS = 0.1
_POLE_HALF_LENGTH = 0.5
_FORCE = 10.0
_TIME_STEP = 0.02
_MAX_POSITION = 2.4
_MAX_ANGLE = 12 * 2 * math.pi / 360


@struct.dataclass
class EnvState(base.EnvState):
  """State of a cart-pole, all () and, but for the time, float32.

  Attributes:
    time: int32, steps played.
    x: position of the cart in metres.
    x_dot: its velocity in metres per second.
    theta: angle of the pole from upright in radians.
    theta_dot: its velocity in radians per second.
  """

  time: jax.Array
  x: jax.Array
  x_dot: jax.Array
  theta: jax.Array
  theta_dot: jax.Array


@dataclasses.dataclass(frozen=True)
class PositionOnlyCartPole(base.Environment):
  """Balances a pole, seeing where cart and pole are but not how fast.

  Every step earns one part in `max_steps`. The episode terminates when the
  cart is more than 2.4 m from the middle or the pole more than 12 degrees
  from upright, and is truncated after `max_steps` steps.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859), the dynamics
  those of gymnasium's CartPole, integrated by Euler's method.

  Attributes:
    max_steps: time limit.
    max_start: bound of the four numbers of a first state, by absolute value.
  """

  max_steps: int = 200
  max_start: float = 0.05

  reset_words = 4

  def __post_init__(self):
    if self.max_steps < 1:
      raise ValueError(f"max_steps: got {self.max_steps}, expected 1 or more.")
    if not 0 <= self.max_start < _MAX_ANGLE:
      raise ValueError(
        f"max_start: got {self.max_start}, expected 0 or more and less than"
        f" {_MAX_ANGLE:.3f}, the angle at which a pole has fallen."
      )

  @property
  def default_params(self) -> base.EnvParams:
    """Parameters: the time limit."""
    return base.EnvParams(max_steps_in_episode=self.max_steps)

  def start(
    self, words: jax.Array, params: PyTree
  ) -> tuple[jax.Array, EnvState]:
    """Starts near the middle, nearly upright and nearly at rest."""
    state = EnvState(**self._start(words))
    return self.observe(None, state, None, params), state

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[jax.Array, EnvState, jax.Array]:
    """Pushes the cart to the left (0) or right (1) for one time step."""
    del words
    state = push(state, jnp.where(action == 1, _FORCE, -_FORCE))
    reward = jnp.float32(1) / params.max_steps_in_episode
    return self.observe(None, state, action, params), state, reward

  def observe(
    self, key: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> jax.Array:
    """Returns the position and the angle, (2,) float32."""
    del key, action, params
    return jnp.stack([state.x, state.theta])

  def is_terminated(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns whether the cart is off or the pole has fallen, () bool."""
    del params
    return (jnp.abs(state.x) > _MAX_POSITION) | (
      jnp.abs(state.theta) > _MAX_ANGLE
    )

  def action_space(self, params: PyTree = None) -> spaces.Discrete:
    """Push to the left or to the right."""
    del params
    return spaces.Discrete(2)

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """Twice the range within which the episode goes on."""
    del params
    high = np.array([2 * _MAX_POSITION, 2 * _MAX_ANGLE], np.float32)
    return spaces.Box(-high, high, (2,))

  def _start(self, words):
    """The fields of a fresh state, drawn from four words."""
    x, x_dot, theta, theta_dot = randomness.uniform(
      words, -self.max_start, self.max_start
    )
    return {
      "time": jnp.int32(0),
      "x": x,
      "x_dot": x_dot,
      "theta": theta,
      "theta_dot": theta_dot,
    }


@dataclasses.dataclass(frozen=True)
class VelocityOnlyCartPole(PositionOnlyCartPole):
  """Balances a pole, seeing how fast cart and pole are but not where.

  The first observation of an episode shows position and angle in place of the
  velocities. That is a slip of the original which is kept.

  Attributes:
    max_steps: time limit.
    max_start: bound of the four numbers of a first state, by absolute value.
  """

  def observe(
    self, key: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> jax.Array:
    """Returns the two velocities; at first position and angle, (2,) float32."""
    del key, action, params
    return jnp.where(
      state.time == 0,
      jnp.stack([state.x, state.theta]),
      jnp.stack([state.x_dot, state.theta_dot]),
    )

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """Velocities have no bounds."""
    del params
    high = np.full((2,), np.inf, np.float32)
    return spaces.Box(-high, high, (2,))


@struct.dataclass
class NoisyEnvState(EnvState):
  """State of a cart-pole that is seen through noise.

  Attributes:
    noise: (2,) float32, what is added to position and angle before they are
      shown.
  """

  noise: jax.Array


@dataclasses.dataclass(frozen=True)
class NoisyPositionOnlyCartPole(PositionOnlyCartPole):
  """Balances a pole, seeing with an error where cart and pole are.

  Independent normal noise is added to every observation, the first included,
  and the sum is clipped to the observation space.

  Attributes:
    max_steps: time limit.
    max_start: bound of the four numbers of a first state, by absolute value.
    noise_sigma: standard deviation of the noise, in metres and in radians.
  """

  noise_sigma: float = 0.1

  step_words = 2
  reset_words = 6

  def __post_init__(self):
    super().__post_init__()
    if not self.noise_sigma >= 0:
      raise ValueError(
        f"noise_sigma: got {self.noise_sigma}, expected 0 or more."
      )

  def start(
    self, words: jax.Array, params: PyTree
  ) -> tuple[jax.Array, NoisyEnvState]:
    """Starts near the middle, nearly upright and nearly at rest."""
    state = NoisyEnvState(
      **self._start(words[:4]), noise=self._noise(words[4:])
    )
    return self.observe(None, state, None, params), state

  def advance(
    self,
    words: jax.Array,
    state: NoisyEnvState,
    action: jax.Array,
    params: PyTree,
  ) -> tuple[jax.Array, NoisyEnvState, jax.Array]:
    """Pushes the cart to the left (0) or right (1) for one time step."""
    state = state.replace(noise=self._noise(words))
    return super().advance(words, state, action, params)

  def observe(
    self,
    key: jax.Array,
    state: NoisyEnvState,
    action: jax.Array,
    params: PyTree,
  ) -> jax.Array:
    """Returns the position and the angle with noise, (2,) float32."""
    high = self.observation_space(params).high
    exact = super().observe(key, state, action, params)
    return jnp.clip(exact + state.noise, -high, high)

  def _noise(self, words):
    return randomness.normal(words, self.noise_sigma)


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
