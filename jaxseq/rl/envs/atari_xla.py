"""Atari's games inside compiled functions, by ale-py's calls for XLA.

The emulators stay on the host; a compiled function calls them, without a return
to Python in each step. ale-py has such calls for CPUs and for CUDA, none for
TPUs. Frames, rewards and ends are those of `atari`'s players with the same
seeds and actions.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import players as environments


def is_available(package: object) -> bool:
  """Returns whether the default platform can call the emulators.

  Args:
    package: ale_py.
  """
  platform = jax.default_backend()
  if platform == "cpu":
    return hasattr(package._ale_py, "VectorXLAStep")
  is_cuda = platform == "gpu" and "cuda" in _platform_version().lower()
  return is_cuda and hasattr(package._ale_py, "VectorXLAStepGPU")


def _platform_version() -> str:
  return jax.devices()[0].client.platform_version


class Players:
  """Emulators side by side, see `environments.CompiledPlayers`.

  Each has an interface of its own. After the end of a game ale-py's next step
  is a reset, which one player has to make while the others wait: players who
  share an interface could not.
  """

  def __init__(self, emulators: list[object], seeds: np.ndarray):
    """Takes the emulators.

    Args:
      emulators: an `AtariVectorEnv` of one game for each seed, which resets in
        the step after an end.
      seeds: (players,) integers.
    """
    self._emulators = emulators
    self._seeds = np.asarray(seeds, np.int64)
    calls = [emulator.xla() for emulator in emulators]
    self._steps = [step for _, _, step in calls]
    self.state = tuple(handle for handle, _, _ in calls)
    self._step = jax.jit(self.advance)

  def reset(self) -> np.ndarray:
    """Starts anew, from the seeds; returns the frames (players, 84, 84)."""
    frames = [
      emulator.reset(seed=self._seeds[i : i + 1])[0][:, -1]
      for i, emulator in enumerate(self._emulators)
    ]
    return np.concatenate(frames)

  def step(self, action: np.ndarray) -> environments.Step:
    """Takes an action (players,) of each, called from Python."""
    self.state, step = self._step(self.state, jnp.asarray(action))
    return jax.device_get(step)

  def advance(
    self, state: tuple[jax.Array, ...], action: jax.Array
  ) -> tuple[tuple[jax.Array, ...], environments.Step]:
    """Takes an action (players,) of each, called from a compiled function."""
    after = [
      _advance_one(step, handle, action[i : i + 1])
      for i, (step, handle) in enumerate(zip(self._steps, state))
    ]
    handles, steps = zip(*after)
    return handles, jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)


def _advance_one(step, handle, action):
  """Takes a step of one player, and the reset after a game that is over."""
  handle, (images, reward, lost, stopped, info) = step(handle, action)
  over = lost & (info["lives"] == 0) | stopped

  def restart(handle):
    handle, (images, *_) = step(handle, action)
    return handle, images

  handle, images = jax.lax.cond(
    over[0], restart, lambda handle: (handle, images), handle
  )
  return handle, environments.Step(
    images[0, -1],
    reward[0].astype(jnp.float32),
    (lost | stopped)[0],
    over[0],
  )
