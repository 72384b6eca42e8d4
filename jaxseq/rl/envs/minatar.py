"""MinAtar's games, inside compiled functions.

Young and Tian, arXiv:1903.03176: five small versions of Atari games, images of
10x10 with a channel for each kind of thing, as gymnax has them: the smallest
set of actions, none of them sticky, and a time limit of 1,000 steps (freeway:
2,500). A game that the limit stops counts as over, as in SPR's code on Atari.
"""

from collections.abc import Mapping
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import players as environments
from jaxseq.rl.envs import registry

_IDS = types.MappingProxyType(
  {
    "asterix": "Asterix-MinAtar",
    "breakout": "Breakout-MinAtar",
    "freeway": "Freeway-MinAtar",
    "seaquest": "Seaquest-MinAtar",
    "space_invaders": "SpaceInvaders-MinAtar",
  }
)

# The encoder of the paper: one convolution.
ENCODER: Mapping[str, Any] = types.MappingProxyType(
  {"kind": "conv", "channels": (16,), "kernels": (3,), "strides": (1,)}
)


def names() -> tuple[str, ...]:
  """Returns the names of the games."""
  return tuple(_IDS)


def make(name: str) -> environments.Game:
  """Returns a game.

  Frames are (10, 10, channels) uint8, 255 where there is something of that
  kind. An observation is one frame: what moves leaves a trail in it.

  Args:
    name: one of `names()`.

  Raises:
    ValueError: there is no such game.
  """
  if name not in _IDS:
    raise ValueError(
      f"game must be one of MinAtar's, {', '.join(_IDS)}; got {name!r}."
    )
  env, params = registry.make(_IDS[name])
  init = functools.partial(_init, env, params)
  step = functools.partial(_step, env, params)
  return environments.Game(
    name=name,
    frame_shape=tuple(env.obs_shape),
    stack=1,
    num_actions=int(env.num_actions),
    play=functools.partial(_Players, init, step),
    init=init,
    step=step,
    encoder=ENCODER,
  )


def _init(env, params, key):
  observation, state = env.reset(key, params)
  return _strong(state), _frame(observation)


def _step(env, params, state, action, key):
  observation, state, reward, terminated, truncated, _ = env.step(
    key, state, action, params
  )
  over = terminated | truncated
  return _strong(state), environments.Step(
    _frame(observation), reward.astype(jnp.float32), over, over
  )


def _frame(observation):
  return jnp.where(observation > 0, 255, 0).astype(jnp.uint8)


def _strong(state):
  """Gives Python's numbers dtypes of their own: they would change in a loop."""
  return jax.tree.map(
    lambda leaf: jax.lax.convert_element_type(leaf, jnp.result_type(leaf)),
    state,
  )


class _Players:
  """Players side by side, called from the host."""

  def __init__(self, init, step, seeds: np.ndarray):
    def start(seed):
      key, first = jax.random.split(jax.random.key(seed))
      return (key, *init(first))

    def move(key, state, action):
      key, now = jax.random.split(key)
      return (key, *step(state, action, now))

    self._seeds = jnp.asarray(seeds)
    self._start = jax.jit(jax.vmap(start))
    self._move = jax.jit(jax.vmap(move))

  def reset(self) -> np.ndarray:
    self._key, self._state, frame = self._start(self._seeds)
    return np.asarray(frame)

  def step(self, action: np.ndarray) -> environments.Step:
    self._key, self._state, step = self._move(
      self._key, self._state, jnp.asarray(action)
    )
    return jax.device_get(step)
