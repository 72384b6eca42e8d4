"""Observations that are partly hidden, noisy, intermittent or delayed.

    env, params = envs.make("view/PositionOnlyCartPoleEasy", flicker=0.3)

A hidden observation is 0 if it is a number, and an additional option if it is
a choice. A mask of actions is never hidden or delayed: it describes the current
step.
"""

import dataclasses
import math

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs import teams
from jaxseq.rl.wrappers import base
from jaxseq.rl.wrappers import history
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class View(base.Wrapper):
  """Applies `show`, a function that may be random, to observations.

  Attributes:
    env: the environment.
  """

  def show(self, key: jax.Array, observation: PyTree) -> PyTree:
    """Returns the visible part of an observation without its mask."""
    raise NotImplementedError

  def _shown_space(self, space: spaces.Space) -> spaces.Space:
    """Returns the output space of `show`, given its input space."""
    return space

  def _reset(self, key, params):
    key, key_show = jax.random.split(key)
    observation, state = self.env.reset(key, params)
    return self._see(key_show, observation), state

  def _step(self, key, state, action, params):
    key, key_show = jax.random.split(key)
    observation, state, reward, terminated, truncated, info = self.env.step(
      key, state, action, params
    )
    # If no episode ends, both observations are the same, with the same random
    # draws.
    key_first, key_final = jax.random.split(key_show)
    final = self._see(key_final, info["final_observation"])
    first = self._see(key_first, observation)
    shown = base.select(terminated | truncated, first, final)
    info = {**info, "final_observation": final}
    return shown, state, reward, terminated, truncated, info

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The space of the shown observations."""
    space = self.env.observation_space(self._or_default(params))
    return action_masks.like(
      space, self._shown_space(action_masks.shown(space))
    )

  def _see(self, key, observation):
    observation, mask = action_masks.split(observation)
    return action_masks.join(self.show(key, observation), mask)

  def _inner_space(self) -> spaces.Space:
    """Returns the space of the environment's observations, without a mask."""
    space = self.env.observation_space(self.env.default_params)
    return action_masks.shown(space)


@dataclasses.dataclass(frozen=True)
class Shown(View):
  """Shows some of the numbers of an observation, with noise.

  Attributes:
    env: the environment; observations are vectors.
    indices: indices of the shown numbers, in their order.
    noise_sigma: standard deviation of the noise added to each.
  """

  indices: tuple[int, ...]
  noise_sigma: float = 0.0

  def __post_init__(self):
    space = self._inner_space()
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
      raise validate.error("env", space, "observations that are vectors")
    size = space.shape[0]
    if not self.indices or not all(0 <= i < size for i in self.indices):
      expected = f"one or more from 0 to {size - 1}"
      raise validate.error("indices", self.indices, expected)
    validate.number("noise_sigma", self.noise_sigma, 0)

  def _shown_space(self, space):
    return spaces.Box(-math.inf, math.inf, (len(self.indices),))

  def show(self, key: jax.Array, observation: jax.Array) -> jax.Array:
    """Returns the numbers, (len(indices),) float32."""
    shown = observation[np.array(self.indices)]
    if self.noise_sigma:
      shown += self.noise_sigma * jax.random.normal(key, shown.shape)
    return shown


@dataclasses.dataclass(frozen=True)
class Noise(View):
  """Adds independent normal noise to all numbers of an observation.

  Attributes:
    env: the environment; observations are arrays of numbers, not images.
    sigma: standard deviation of the noise.
  """

  sigma: float

  def __post_init__(self):
    space = self._inner_space()
    numbers = isinstance(space, spaces.Box) and np.dtype(space.dtype).kind
    if numbers != "f":
      raise validate.error("env", space, "observations that are numbers")
    validate.number("sigma", self.sigma, 0)

  def _shown_space(self, space):
    return spaces.Box(-math.inf, math.inf, tuple(space.shape))

  def show(self, key: jax.Array, observation: jax.Array) -> jax.Array:
    """Returns the observation with noise."""
    noise = jax.random.normal(key, observation.shape, observation.dtype)
    return observation + self.sigma * noise


@dataclasses.dataclass(frozen=True)
class Flicker(View):
  """Hides each observation as a whole with some probability.

  The first one of an episode may be hidden, too. Hausknecht and Stone, "Deep
  Recurrent Q-Learning for Partially Observable MDPs", arXiv:1507.06527.

  Attributes:
    env: the environment.
    probability: probability of hiding, independent at each step.
  """

  probability: float = 0.5

  def __post_init__(self):
    validate.fields(self, shares=("probability",))

  def _shown_space(self, space):
    return hideable(space)

  def show(self, key: jax.Array, observation: PyTree) -> PyTree:
    """Returns the observation, or its hidden replacement."""
    hides = jax.random.bernoulli(key, self.probability)
    return base.select(hides, hidden(self._inner_space()), observation)


@dataclasses.dataclass(frozen=True)
class Dropped(Flicker):
  """Hides the observation of an agent, but not its previous actions.

  A hidden observation is 0, also if it is a choice: no option is added, so
  that the same network plays without this wrapper.

  Attributes:
    env: the environment, from `rollout.environment`, but not a mixture.
    probability: probability of hiding, independent at each step.
  """

  def _shown_space(self, space):
    return space

  def show(self, key: jax.Array, observation: PyTree) -> PyTree:
    """Returns the observation, hidden or not, with its history."""
    if isinstance(observation, teams.Observation):
      return observation._replace(own=self.show(key, observation.own))
    if isinstance(observation, history.ImageObservation):
      hides = jax.random.bernoulli(key, self.probability)
      image = jnp.where(hides, 0, observation.image)
      return observation._replace(image=image)
    # If several agents have a vector each, each is hidden independently.
    shape = (*observation.shape[:-1], 1)
    hides = jax.random.bernoulli(key, self.probability, shape)
    size = spaces.flat_size(self.env.shown_space())
    hides &= jnp.arange(observation.shape[-1]) < size
    return jnp.where(hides, 0, observation)


@struct.dataclass
class DelayState:
  """State of `Delay`.

  Attributes:
    env_state: the environment's state.
    waiting: the last `steps` observations, oldest first, as a leading axis.
  """

  env_state: PyTree
  waiting: PyTree


@dataclasses.dataclass(frozen=True)
class Delay(base.Wrapper):
  """Delays each observation by some steps.

  The first observations of an episode are hidden, so that nothing of the
  previous episode is seen.

  Attributes:
    env: the environment.
    steps: number of steps of the delay.
  """

  steps: int = 1

  def __post_init__(self):
    validate.positive("steps", self.steps)

  def _reset(self, key, params):
    observation, env_state = self.env.reset(key, params)
    shown, waiting = self._begin(observation)
    return shown, DelayState(env_state, waiting)

  def _step(self, key, state, action, params):
    observation, env_state, reward, terminated, truncated, info = self.env.step(
      key, state.env_state, action, params
    )
    last = self._take(state.waiting, info["final_observation"])
    done = terminated | truncated
    shown, waiting = base.select(done, self._begin(observation), last)
    info = {**info, "final_observation": last[0]}
    after = DelayState(env_state, waiting)
    return shown, after, reward, terminated, truncated, info

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The environment's observations, extended by the hidden one."""
    space = self.env.observation_space(self._or_default(params))
    return action_masks.like(space, hideable(action_masks.shown(space)))

  def _begin(self, observation):
    """Returns the first shown observation, and the queue after it."""
    space = self.env.observation_space(self.env.default_params)
    nothing = hidden(action_masks.shown(space))
    waiting = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (self.steps, *x.shape)), nothing
    )
    return self._take(waiting, observation)

  def _take(self, waiting, observation):
    """Enqueues an observation; returns the oldest one, and the queue."""
    observation, mask = action_masks.split(observation)
    oldest = jax.tree.map(lambda x: x[0], waiting)
    waiting = jax.tree.map(
      lambda x, new: jnp.concatenate([x[1:], jnp.asarray(new, x.dtype)[None]]),
      waiting,
      observation,
    )
    return action_masks.join(oldest, mask), waiting


def hideable(space: spaces.Space) -> spaces.Space:
  """Returns the space of observations that may be hidden as a whole."""
  space = spaces.convert(space)
  match space:
    case spaces.Discrete():
      return spaces.Discrete(space.n + 1, space.dtype)
    case spaces.MultiDiscrete():
      return spaces.MultiDiscrete([size + 1 for size in space.sizes])
    case spaces.Box():
      low, high = np.minimum(space.low, 0), np.maximum(space.high, 0)
      return spaces.Box(low, high, tuple(space.shape), space.dtype)
    case spaces.Dict():
      return spaces.Dict({name: hideable(part) for name, part in space.parts})
  return spaces.Tuple(tuple(hideable(part) for _, part in space.parts))


def hidden(space: spaces.Space) -> PyTree:
  """Returns the element of `hideable(space)` for a hidden observation."""
  space = spaces.convert(space)
  match space:
    case spaces.Discrete():
      return jnp.asarray(space.n, space.dtype)
    case spaces.MultiDiscrete():
      return jnp.asarray(space.sizes, space.dtype)
    case spaces.Box():
      return spaces.zeros(space)
  return space.of(hidden(part) for _, part in space.parts)
