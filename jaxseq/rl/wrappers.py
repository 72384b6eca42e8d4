"""Wrappers around environments with the interface of gymnax 1.0.

A wrapper is hashable if its environment is, works under `jit`, `vmap` and
`scan`, and hands everything that it does not change on to the environment.
The environment resets itself when an episode ends, so a wrapper sees two
observations there, the last of one episode in `info["final_observation"]`
and the first of the next, and has to get both right.
"""

import dataclasses
import math
from typing import Any
from typing import Literal
from typing import NamedTuple

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl.envs import base
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces

select = base.select


def innermost(env: protocol.Env) -> protocol.Env:
  """Returns the environment inside all wrappers."""
  while isinstance(env, Wrapper):
    env = env.env
  return env


def innermost_state(state: PyTree) -> PyTree:
  """Returns the state of the environment inside all wrappers."""
  while hasattr(state, "env_state"):
    state = state.env_state
  return state


@dataclasses.dataclass(frozen=True)
class Wrapper(base.Jitted):
  """Hands everything on to an environment.

  Attributes:
    env: the environment.
  """

  env: protocol.Env

  def __getattr__(self, name: str) -> Any:
    # Unpickling asks for attributes before `env` is there.
    if name == "env" or name.startswith("__"):
      raise AttributeError(name)
    return getattr(self.env, name)

  def _reset(self, key, params):
    return self.env.reset(key, params)

  def _step(self, key, state, action, params):
    return self.env.step(key, state, action, params)


@dataclasses.dataclass(frozen=True)
class Physics(Wrapper):
  """An environment whose default parameters are other ones.

  Attributes:
    env: the environment.
    values: pairs of names and values of its parameters.
  """

  values: tuple[tuple[str, Any], ...] = ()

  def __post_init__(self):
    names = [f.name for f in dataclasses.fields(self.env.default_params)]
    for name, _ in self.values:
      _validate.choice("values", name, names)

  @property
  def default_params(self) -> PyTree:
    """The environment's parameters, with the other values."""
    return self.env.default_params.replace(**dict(self.values))


@dataclasses.dataclass(frozen=True)
class Shown(Wrapper):
  """Shows some of the numbers of an observation, with noise.

  Attributes:
    env: the environment; observations are vectors.
    indices: which numbers, in their order.
    noise_sigma: standard deviation of what is added to each.
  """

  indices: tuple[int, ...]
  noise_sigma: float = 0.0

  def __post_init__(self):
    space = spaces.convert(self.env.observation_space(self.env.default_params))
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
      raise _validate.error("env", space, "observations that are vectors")
    size = space.shape[0]
    if not self.indices or not all(0 <= i < size for i in self.indices):
      expected = f"one or more from 0 to {size - 1}"
      raise _validate.error("indices", self.indices, expected)
    _validate.number("noise_sigma", self.noise_sigma, 0)

  def _reset(self, key, params):
    key, key_noise = jax.random.split(key)
    observation, state = self.env.reset(key, params)
    return self._show(key_noise, observation), state

  def _step(self, key, state, action, params):
    key, key_noise = jax.random.split(key)
    observation, state, reward, terminated, truncated, info = self.env.step(
      key, state, action, params
    )
    # Where no episode ends, both observations are the same also in their noise.
    key_first, key_final = jax.random.split(key_noise)
    final = self._show(key_final, info["final_observation"])
    first = self._show(key_first, observation)
    shown = jnp.where(terminated | truncated, first, final)
    info = {**info, "final_observation": final}
    return shown, state, reward, terminated, truncated, info

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """All vectors of so many numbers."""
    return spaces.Box(-math.inf, math.inf, (len(self.indices),))

  def _show(self, key, observation):
    shown = observation[np.array(self.indices)]
    if self.noise_sigma:
      shown += self.noise_sigma * jax.random.normal(key, shown.shape)
    return shown


@dataclasses.dataclass(frozen=True)
class FlattenHistory(Wrapper):
  """Flat observations that tell the action before, and first steps.

  The observation is one float32 vector: the environment's observation, the
  previous action, and whether this is the first step of an episode. Discrete
  parts become one-hots; continuous actions stand as they were given, even
  beyond their bounds. A recurrent policy needs the first-step flag: a linear
  recurrence cannot tell from its state alone that it is fresh.

  POPGym gives this to every agent, by its wrappers PreviousAction and
  Antialias (Morad et al., arXiv:2303.01859). Its own encoding is
  `previous_action="first", first_step="one_hot"`.

  Attributes:
    env: the environment; discrete or continuous observations and actions, or
      tuples and dictionaries of these.
    previous_action: what stands for the previous action on a first step:
      "zeros", or "first", the flattened action whose numbers are all 0.
    first_step: "number" (1 on a first step, then 0) or "one_hot" ((0, 1) on a
      first step, then (1, 0)).
  """

  previous_action: Literal["zeros", "first"] = "zeros"
  first_step: Literal["number", "one_hot"] = "number"

  def __post_init__(self):
    _validate.literals(self)

  def _reset(self, key, params):
    observation, state = self.env.reset(key, params)
    nothing, first = self._no_action(params), jnp.bool_(True)
    return self._flatten(observation, nothing, first, params), state

  def _step(self, key, state, action, params):
    observation, state, reward, terminated, truncated, info = self.env.step(
      key, state, action, params
    )
    done = terminated | truncated
    action = spaces.flatten(self.env.action_space(params), action)
    before = jnp.where(done, self._no_action(params), action)
    last = info["final_observation"], action, jnp.bool_(False)
    info = {**info, "final_observation": self._flatten(*last, params)}
    flat = self._flatten(observation, before, done, params)
    return flat, state, reward, terminated, truncated, info

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """All vectors of the size of an observation."""
    size = spaces.flat_size(self.shown_space(params))
    size += self._history_size(self._or_default(params))
    return spaces.Box(-math.inf, math.inf, (size,))

  def shown_space(self, params: PyTree = None) -> spaces.Space:
    """The space of what an observation begins with: the environment's own."""
    return self.env.observation_space(self._or_default(params))

  def _no_action(self, params: PyTree) -> jax.Array:
    space = self.env.action_space(params)
    if self.previous_action == "zeros":
      return jnp.zeros((spaces.flat_size(space),), jnp.float32)
    return spaces.flatten(space, spaces.zeros(space))

  def _history_size(self, params: PyTree) -> int:
    """The number of entries behind the environment's own observation."""
    size = spaces.flat_size(self.env.action_space(params))
    return size + (2 if self.first_step == "one_hot" else 1)

  def _history(self, action: jax.Array, first: jax.Array) -> jax.Array:
    """The previous action and the flag of a first step."""
    flag = first.astype(jnp.float32)[None]
    if self.first_step == "one_hot":
      flag = jnp.concatenate([1 - flag, flag])
    return jnp.concatenate([action, flag])

  def _flatten(self, observation, action, first, params):
    """An observation with its history."""
    flat = spaces.flatten(self.env.observation_space(params), observation)
    return jnp.concatenate([flat, self._history(action, first)])


class ImageObservation(NamedTuple):
  """An image, and the action before.

  Attributes:
    image: (..., height, width, channels) uint8.
    history: (..., n) float32, the previous action and the first-step flag, as
      in `FlattenHistory`.
  """

  image: jax.Array
  history: jax.Array


@dataclasses.dataclass(frozen=True)
class ImageHistory(FlattenHistory):
  """Images beside the action before and the flag of a first step.

  Observations are `ImageObservation`s; all else is as in `FlattenHistory`.

  Attributes:
    env: the environment; its observations are images.
    previous_action: see `FlattenHistory`.
    first_step: see `FlattenHistory`.
  """

  def observation_space(self, params: PyTree = None) -> spaces.Dict:
    """The image, and a vector of the size of the history."""
    size = self._history_size(self._or_default(params))
    history = spaces.Box(-math.inf, math.inf, (size,))
    return spaces.Dict({"image": self.shown_space(params), "history": history})

  def _flatten(self, observation, action, first, params):
    """An image with its history."""
    return ImageObservation(observation, self._history(action, first))


@struct.dataclass
class FrameStackState:
  """State of `FrameStack`.

  Attributes:
    env_state: the environment's state.
    frames: (height, width, num_frames * channels) uint8, the observation.
  """

  env_state: PyTree
  frames: jax.Array


@dataclasses.dataclass(frozen=True)
class FrameStack(Wrapper):
  """Shows the last images together, oldest first, as channels of one.

  Where an episode begins, images of before are 0.

  Attributes:
    env: the environment; its observations are images.
    num_frames: how many images.
  """

  num_frames: int = 4

  def __post_init__(self):
    _validate.positive("num_frames", self.num_frames)

  def _reset(self, key, params):
    frame, env_state = self.env.reset(key, params)
    frames = self._begin(frame)
    return frames, FrameStackState(env_state, frames)

  def _step(self, key, state, action, params):
    frame, env_state, reward, terminated, truncated, info = self.env.step(
      key, state.env_state, action, params
    )
    older = state.frames[..., frame.shape[-1] :]
    final = jnp.concatenate([older, info["final_observation"]], axis=-1)
    frames = jnp.where(terminated | truncated, self._begin(frame), final)
    info = {**info, "final_observation": final}
    after = FrameStackState(env_state, frames)
    return frames, after, reward, terminated, truncated, info

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """Images with the channels of all frames."""
    space = spaces.convert(self.env.observation_space(params))
    shape = (*space.shape[:-1], space.shape[-1] * self.num_frames)
    return spaces.Box(0, 255, shape, space.dtype)

  def _begin(self, frame: jax.Array) -> jax.Array:
    """The observation of a first step."""
    channels = frame.shape[-1] * (self.num_frames - 1)
    blank = jnp.zeros((*frame.shape[:-1], channels), frame.dtype)
    return jnp.concatenate([blank, frame], axis=-1)


def flat(env: protocol.Env) -> protocol.Env:
  """Returns an environment whose observations are vectors with a history."""
  return env if getattr(env, "shows_history", False) else FlattenHistory(env)


def images(env: protocol.Env) -> protocol.Env:
  """Returns an environment that shows images, several if it asks for them.

  Args:
    env: the environment; `env.frame_stack` says how many images to show.

  Raises:
    ValueError: its observations are no images.
  """
  space = env.observation_space(env.default_params)
  if not spaces.is_image(space):
    expected = f"None: the observations are no images of bytes, but {space}"
    raise _validate.error("network.encoder", "one of images", expected)
  num_frames = getattr(env, "frame_stack", 1)
  if num_frames > 1:
    env = FrameStack(env, num_frames)
  return ImageHistory(env)


@struct.dataclass
class StatisticsState:
  """State of `EpisodeStatistics`, all () but the first.

  Attributes:
    env_state: the environment's state.
    episode_return: float32, rewards of the episode so far.
    episode_length: int32, steps of the episode so far.
    returned_episode_return: float32, return of the last finished episode.
    returned_episode_length: int32, length of the last finished episode.
  """

  env_state: PyTree
  episode_return: jax.Array
  episode_length: jax.Array
  returned_episode_return: jax.Array
  returned_episode_length: jax.Array


@dataclasses.dataclass(frozen=True)
class EpisodeStatistics(Wrapper):
  """Reports the return and length of every episode when it ends.

  `info` gains `returned_episode`, () bool, whether the episode ended with this
  step, and `returned_episode_return`, () float32, and
  `returned_episode_length`, () int32, of the episode that ended last: 0 until
  a first one has ended.

  Attributes:
    env: the environment.
  """

  def _reset(self, key, params):
    observation, env_state = self.env.reset(key, params)
    zeros = jnp.float32(0), jnp.int32(0)
    return observation, StatisticsState(env_state, *zeros, *zeros)

  def _step(self, key, state, action, params):
    observation, env_state, reward, terminated, truncated, info = self.env.step(
      key, state.env_state, action, params
    )
    done = terminated | truncated
    total = state.episode_return + jnp.asarray(reward, jnp.float32)
    length = state.episode_length + 1
    last = state.returned_episode_return, state.returned_episode_length
    last = select(done, (total, length), last)
    on = jnp.where(done, 0, total), jnp.where(done, 0, length)
    state = StatisticsState(env_state, *on, *last)
    info = {
      **info,
      "returned_episode": done,
      "returned_episode_return": last[0],
      "returned_episode_length": last[1],
    }
    return observation, state, reward, terminated, truncated, info
