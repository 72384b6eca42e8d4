"""Observations with history: the previous action, earlier images."""

import dataclasses
import math
from typing import Any
from typing import Literal
from typing import NamedTuple

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces
from jaxseq.rl.wrappers import base
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class FlattenHistory(base.Wrapper):
  """Flat observations with the previous action and a first-step flag.

  The observation is one float32 vector: the environment's observation, the
  previous action, and whether this is the first step of an episode. Discrete
  parts become one-hots; continuous actions are included as given, even beyond
  their bounds, or scaled. A recurrent policy needs the first-step flag: a
  linear recurrence cannot tell from its state alone that it is fresh.

  POPGym gives this to every agent, by its wrappers PreviousAction and
  Antialias (Morad et al., arXiv:2303.01859). Its own encoding is
  `previous_action="first", first_step="one_hot"`.

  If observations come with a mask of actions, see `envs.action_masks`, so
  does the vector: the mask is not part of it.

  Attributes:
    env: the environment; discrete or continuous observations and actions, or
      tuples and dictionaries of these.
    previous_action: the previous action on a first step:
      "zeros", or "first", the flattened action whose numbers are all 0; or
      "none" to leave out the previous action at all steps.
    first_step: "number" (1 on a first step, then 0) or "one_hot" ((0, 1) on a
      first step, then (1, 0)).
    mask_in_observation: whether the vector also holds the mask, after the
      environment's observation.
    action_bounds: lower and upper bounds of the numbers of an action, which are
      then shown as -1 at the lower bound to 1 at the upper one.
  """

  previous_action: Literal["zeros", "first", "none"] = "zeros"
  first_step: Literal["number", "one_hot"] = "number"
  mask_in_observation: bool = False
  action_bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None

  def __post_init__(self):
    validate.literals(self)

  def _reset(self, key, params):
    observation, state = self.env.reset(key, params)
    nothing, first = self._no_action(params), jnp.bool_(True)
    return self._flatten(observation, nothing, first, params), state

  def _step(self, key, state, action, params):
    observation, state, reward, terminated, truncated, info = self.env.step(
      key, state, action, params
    )
    done = terminated | truncated
    action = self._flat_action(action, params)
    before = jnp.where(done, self._no_action(params), action)
    last = info["final_observation"], action, jnp.bool_(False)
    info = {**info, "final_observation": self._flatten(*last, params)}
    flat = self._flatten(observation, before, done, params)
    return flat, state, reward, terminated, truncated, info

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """All vectors of the observation's size, with the mask if there is one."""
    params = self._or_default(params)
    size = spaces.flat_size(self.shown_space(params))
    size += self._history_size(params)
    vectors = spaces.Box(-math.inf, math.inf, (size,))
    return action_masks.like(self.env.observation_space(params), vectors)

  def shown_space(self, params: PyTree = None) -> spaces.Space:
    """The space of the first part of an observation: the environment's own."""
    space = self.env.observation_space(self._or_default(params))
    return space if self.mask_in_observation else action_masks.shown(space)

  def _no_action(self, params: PyTree) -> jax.Array:
    space = self.env.action_space(params)
    if self.previous_action != "first":
      return jnp.zeros((spaces.flat_size(space),), jnp.float32)
    return spaces.flatten(space, spaces.zeros(space))

  def _flat_action(self, action: PyTree, params: PyTree) -> jax.Array:
    flat = spaces.flatten(self.env.action_space(params), action)
    if self.action_bounds is None:
      return flat
    low, high = np.array(self.action_bounds, np.float32)
    # A number that cannot change is 0.
    half = np.where(high > low, (high - low) / 2, 1)
    return (flat - (low + high) / 2) / half

  def _history_size(self, params: PyTree) -> int:
    """Returns the size of the history after the environment's observation."""
    size = spaces.flat_size(self.env.action_space(params))
    size = 0 if self.previous_action == "none" else size
    return size + (2 if self.first_step == "one_hot" else 1)

  def _history(self, action: jax.Array, first: jax.Array) -> jax.Array:
    """Returns the previous action and the first-step flag."""
    flag = first.astype(jnp.float32)[None]
    if self.first_step == "one_hot":
      flag = jnp.concatenate([1 - flag, flag])
    if self.previous_action == "none":
      return flag
    return jnp.concatenate([action, flag])

  def _flatten(self, observation, action, first, params):
    """Flattens an observation, with its history."""
    seen, mask = action_masks.split(observation)
    seen = observation if self.mask_in_observation else seen
    flat = spaces.flatten(self.shown_space(params), seen)
    flat = jnp.concatenate([flat, self._history(action, first)])
    return action_masks.join(flat, mask)


class ImageObservation(NamedTuple):
  """An image, and the previous action.

  Attributes:
    image: (..., height, width, channels) uint8.
    history: (..., n) float32, the previous action and the first-step flag, as
      in `FlattenHistory`.
  """

  image: jax.Array
  history: jax.Array


@dataclasses.dataclass(frozen=True)
class ImageHistory(FlattenHistory):
  """Images, with the previous action and a first-step flag.

  Observations are `ImageObservation`s; all else is as in `FlattenHistory`.

  Attributes:
    env: the environment; its observations are images.
    previous_action: see `FlattenHistory`.
    first_step: see `FlattenHistory`.
    mask_in_observation: False, as an image cannot hold a mask.
    action_bounds: see `FlattenHistory`.
  """

  def __post_init__(self):
    super().__post_init__()
    if self.mask_in_observation:
      raise validate.error("mask_in_observation", True, "False with images")

  def observation_space(self, params: PyTree = None) -> spaces.Dict:
    """The space of the image and of the history vector."""
    params = self._or_default(params)
    history = spaces.Box(-math.inf, math.inf, (self._history_size(params),))
    seen = spaces.Dict({"image": self.shown_space(params), "history": history})
    return action_masks.like(self.env.observation_space(params), seen)

  def _flatten(self, observation, action, first, params):
    """Returns an image with its history."""
    image, mask = action_masks.split(observation)
    seen = ImageObservation(image, self._history(action, first))
    return action_masks.join(seen, mask)


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
class FrameStack(base.Wrapper):
  """Stacks the last images, oldest first, as channels of one image.

  At the start of an episode, earlier images are 0.

  Attributes:
    env: the environment; its observations are images.
    num_frames: number of images.
  """

  num_frames: int = 4

  def __post_init__(self):
    validate.positive("num_frames", self.num_frames)

  def _reset(self, key, params):
    frame, env_state = self.env.reset(key, params)
    frame, mask = action_masks.split(frame)
    frames = self._begin(frame)
    shown = action_masks.join(frames, mask)
    return shown, FrameStackState(env_state, frames)

  def _step(self, key, state, action, params):
    frame, env_state, reward, terminated, truncated, info = self.env.step(
      key, state.env_state, action, params
    )
    frame, mask = action_masks.split(frame)
    last, last_mask = action_masks.split(info["final_observation"])
    older = state.frames[..., frame.shape[-1] :]
    final = jnp.concatenate([older, last], axis=-1)
    frames = jnp.where(terminated | truncated, self._begin(frame), final)
    final = action_masks.join(final, last_mask)
    info = {**info, "final_observation": final}
    after = FrameStackState(env_state, frames)
    shown = action_masks.join(frames, mask)
    return shown, after, reward, terminated, truncated, info

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """Images with the channels of all frames."""
    space = self.env.observation_space(params)
    image = action_masks.shown(space)
    shape = (*image.shape[:-1], image.shape[-1] * self.num_frames)
    frames = spaces.Box(0, 255, shape, image.dtype)
    return action_masks.like(space, frames)

  def _begin(self, frame: jax.Array) -> jax.Array:
    """Returns the observation of a first step."""
    channels = frame.shape[-1] * (self.num_frames - 1)
    blank = jnp.zeros((*frame.shape[:-1], channels), frame.dtype)
    return jnp.concatenate([blank, frame], axis=-1)


def flat(env: protocol.Env, **options: Any) -> protocol.Env:
  """Returns an environment whose observations are vectors with a history.

  Args:
    env: the environment; returned unchanged if it shows its own history.
    **options: of `FlattenHistory`.
  """
  if getattr(env, "shows_history", False):
    return env
  return FlattenHistory(env, **options)


def images(env: protocol.Env, **options: Any) -> protocol.Env:
  """Returns an environment that shows images, stacked if it requests several.

  Args:
    env: the environment; `env.frame_stack` is the number of stacked images.
    **options: of `ImageHistory`.

  Raises:
    ValueError: its observations are not images.
  """
  space = action_masks.shown(env.observation_space(env.default_params))
  if not spaces.is_image(space):
    expected = f"None: the observations are no images of bytes, but {space}"
    raise validate.error("network.encoder", "one of images", expected)
  num_frames = getattr(env, "frame_stack", 1)
  if num_frames > 1:
    env = FrameStack(env, num_frames)
  return ImageHistory(env, **options)
