"""A game to test with, on the device, on the host, and called from programs.

The frame shows the number of steps since the game began. Action 1 earns 2, any
other 0. A life is lost every 3 steps, and the game is over after `length`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import players as environments

SHAPE = (4, 4)


def make(length=7, on_device=False):
  step = functools.partial(_step, length)
  return environments.Game(
    name="counting",
    frame_shape=SHAPE,
    stack=2,
    num_actions=3,
    play=functools.partial(Players, length),
    init=_init if on_device else None,
    step=step if on_device else None,
    encoder={"channels": (2,), "kernels": (3,), "strides": (1,)},
    play_compiled=functools.partial(CompiledPlayers, length),
  )


def frame_of(count):
  return jnp.full(SHAPE, count, jnp.uint8)


def _init(key):
  del key
  return jnp.zeros((), jnp.int32), frame_of(0)


def _step(length, state, action, key):
  del key
  count = state + 1
  over = count == length
  reward = jnp.where(action == 1, 2.0, 0.0)
  done = over | (count % 3 == 0)
  count = jnp.where(over, 0, count)
  return count, environments.Step(frame_of(count), reward, done, over)


class Players:
  """The same on the host; the game of player i is i steps longer."""

  def __init__(self, length, seeds):
    self._length = length + np.arange(len(seeds))

  def _frames(self):
    return np.stack([np.full(SHAPE, c, np.uint8) for c in self._count])

  def reset(self):
    self._count = np.zeros(len(self._length), np.int32)
    return self._frames()

  def step(self, action):
    self._count = self._count + 1
    over = self._count == self._length
    done = over | (self._count % 3 == 0)
    reward = np.where(action == 1, 2.0, 0.0).astype(np.float32)
    self._count = np.where(over, 0, self._count)
    return environments.Step(self._frames(), reward, done, over)


class CompiledPlayers:
  """Those of the host, for compiled functions."""

  def __init__(self, length, seeds):
    self._length = length + np.arange(len(seeds))

  def reset(self):
    self.state = jnp.zeros(len(self._length), jnp.int32)
    return np.zeros((len(self._length), *SHAPE), np.uint8)

  def step(self, action):
    self.state, step = self.advance(self.state, action)
    return jax.device_get(step)

  def advance(self, state, action):
    return jax.vmap(_step, (0, 0, 0, None))(self._length, state, action, None)
