"""Atari's games, on the host, as the released code of SPR plays them.

For those who compare with that code to the pixel; later code plays as `atari`
does. One player is as fast as there, but several take their steps one after
another. The emulator, the actions and the 4 frames of a step are the same. What
differs is what that code does in training:

    images    are shrunk bilinearly, as OpenCV does it
    begin     2 to 31 frames of doing nothing
    life      where one is lost, a further frame of doing nothing is played. It
              alone is shown, and what it scores does not count. A life is lost
              where fewer are left than after the last loss: one that was won
              meanwhile makes up for it
    limit     the step after 27,000 others is the last of a game

Schwarzer et al., arXiv:2007.05929, and its code (github.com/mila-iqia/spr).
"""

from collections.abc import Callable
import functools
from typing import Any

import numpy as np

from jaxseq.rl.envs import _ale
from jaxseq.rl.envs import bilinear
from jaxseq.rl.envs import players as environments

_MAX_STEPS = 27_000
_MAX_NOOPS = 30
_NOOP = 0


def names() -> tuple[str, ...]:
  """Returns the names of the games that are installed.

  Raises:
    ValueError: the package ale-py is not installed.
  """
  return _ale.names()


def make(name: str) -> environments.Game:
  """Returns a game.

  Frames are (84, 84) uint8; an observation is four of them.

  Args:
    name: as "ms_pacman", see `names`.

  Raises:
    ValueError: there is no such game, or what plays it is not installed.
  """
  return _ale.game(name, functools.partial(_Players, name))


def noops(seed: int) -> Callable[[], int]:
  """Returns a function that draws a number from 1 to 30 for each game."""
  rng = np.random.default_rng(seed)
  return lambda: int(rng.integers(1, _MAX_NOOPS + 1))


class Player:
  """One player.

  Args:
    emulator: an `ale_py.ALEInterface` with a game in it, and no sticky actions.
    draw_noops: called when a game begins, with one frame of doing nothing;
      returns how many follow it.
    max_steps: the step after these is the last of a game.
  """

  def __init__(
    self,
    emulator: Any,
    draw_noops: Callable[[], int],
    max_steps: int = _MAX_STEPS,
  ):
    self._emulator = emulator
    self._draw_noops = draw_noops
    self._max_steps = max_steps
    self._actions = emulator.getMinimalActionSet()
    self._screens = np.zeros((2, *emulator.getScreenDims()), np.uint8)
    self._lives = 0
    self._steps = 0

  def reset(self) -> np.ndarray:
    """Begins a game; returns the frame (84, 84) uint8."""
    self._emulator.reset_game()
    self._begin_life()
    for _ in range(self._draw_noops()):
      self._emulator.act(_NOOP)
    self._steps = 0
    return _shrink(self._look(0))

  def step(self, action: int) -> environments.Step:
    """Takes an action; returns what came of it."""
    emulator, action = self._emulator, self._actions[action]
    reward = sum(emulator.act(action) for _ in range(_ale.SKIP - 1))
    before = self._look(0)
    reward += emulator.act(action)
    # At 0 the game is over, or has no lives.
    lost = 0 < emulator.lives() < self._lives
    if lost:
      self._begin_life()
    over = emulator.game_over() or self._steps >= self._max_steps
    self._steps += 1
    if over:
      frame = self.reset()
    elif lost:
      frame = _shrink(self._look(1))
    else:
      frame = _shrink(np.maximum(before, self._look(1)))
    return environments.Step(
      frame, np.float32(reward), np.bool_(lost or over), np.bool_(over)
    )

  def _begin_life(self):
    self._emulator.act(_NOOP)
    self._lives = self._emulator.lives()

  def _look(self, which: int) -> np.ndarray:
    """Writes what the emulator shows into one of the screens."""
    self._emulator.getScreenGrayscale(self._screens[which])
    return self._screens[which]


def _shrink(screen: np.ndarray) -> np.ndarray:
  return bilinear.resize(screen, (_ale.SIZE, _ale.SIZE))


class _Players:
  """Players side by side."""

  def __init__(self, name: str, seeds: np.ndarray):
    self._name = name
    self._seeds = [int(seed) for seed in seeds]
    self._players = []

  def reset(self) -> np.ndarray:
    self._players = [
      Player(_ale.emulator(self._name, seed), noops(seed))
      for seed in self._seeds
    ]
    return np.stack([player.reset() for player in self._players])

  def step(self, action: np.ndarray) -> environments.Step:
    steps = [
      player.step(one)
      for player, one in zip(self._players, action, strict=True)
    ]
    return environments.Step(*map(np.stack, zip(*steps, strict=True)))
