"""Atari's emulator, of the package ale-py, and the players of its games."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
import weakref

import numpy as np

from jaxseq import _validate

# Frames of a step, and the height and width of an image.
SKIP = 4
SIZE = 84
NOOP = 0


class Step(NamedTuple):
  """Outcome of one action of a player.

  Attributes:
    frame: (84, 84) uint8, to act on next: of another game if this one is over.
    final_frame: (84, 84) uint8, that the action led to.
    reward: () float32, points of the game.
    life_lost: () bool, whether a life was lost and the game goes on.
    terminated: () bool, whether the game is over.
    truncated: () bool, whether it was stopped by the time limit.
  """

  frame: np.ndarray
  final_frame: np.ndarray
  reward: np.ndarray
  life_lost: np.ndarray
  terminated: np.ndarray
  truncated: np.ndarray


class Player:
  """One player at an emulator; subclasses have the rules.

  Attributes:
    emulator: an `Emulator` with a game in it, and no sticky actions.
    draw_noops: called when a game begins; returns for how many frames nothing
      is done.
    max_steps: steps after which a game is stopped.
    lives: number of lives against which a loss is told.
    steps: number of steps of the game so far.
    memory: what the emulator holds between two steps, for who plays several
      games on it; b"" if that is not known.
  """

  # Bounds of what `draw_noops` is to return, and the usual time limit.
  noops = (0, 29)
  limit = 27_000
  # Of `resizing`, how images get their size.
  resize: Callable[[np.ndarray, tuple[int, int]], np.ndarray]

  def __init__(
    self,
    emulator: Any,
    draw_noops: Callable[[], int],
    max_steps: int | None = None,
  ):
    self.emulator = emulator
    self.draw_noops = draw_noops
    self.max_steps = self.limit if max_steps is None else max_steps
    self.lives = 0
    self.steps = 0
    self.memory = b""
    self._actions = emulator.getMinimalActionSet()
    self._screens = np.zeros((2, *emulator.getScreenDims()), np.uint8)

  def reset(self) -> np.ndarray:
    """Begins a game; returns the frame (84, 84) uint8."""
    raise NotImplementedError

  def step(self, action: int) -> Step:
    """Takes an action, an index into the game's smallest set of actions."""
    raise NotImplementedError

  def _repeat(self, action: int) -> tuple[float, np.ndarray]:
    """Plays the frames of a step; returns the points and the last but one."""
    action = self._actions[action]
    reward = sum(self.emulator.act(action) for _ in range(SKIP - 1))
    before = self._look(0)
    return reward + self.emulator.act(action), before

  def _look(self, which: int) -> np.ndarray:
    """Writes what the emulator shows into one of the screens."""
    self.emulator.getScreenGrayscale(self._screens[which])
    return self._screens[which]

  def _shrink(self, screen: np.ndarray) -> np.ndarray:
    return self.resize(screen, (SIZE, SIZE))

  def _finish(
    self, frame: np.ndarray, reward: float, life_lost: bool, stopped: bool
  ) -> Step:
    """Ends a step, and begins the next game if this one is over."""
    terminated = self.emulator.game_over()
    truncated = stopped and not terminated
    over = terminated or truncated
    following = self.reset() if over else frame
    flags = map(np.bool_, (life_lost and not over, terminated, truncated))
    return Step(following, frame, np.float32(reward), *flags)


def package() -> Any:
  """Returns the module, or raises a ValueError that tells how to install it."""
  try:
    import ale_py
  except ImportError as error:
    raise ValueError(
      "Atari's games need the package ale-py, which brings them along: "
      f"`pip install 'jaxseq[atari]'` ({error})."
    ) from error
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  return ale_py


def names() -> tuple[str, ...]:
  """Returns the names of the games that are installed."""
  return tuple(sorted(package().roms.get_all_rom_ids()))


class Emulator:
  """An `ale_py.ALEInterface` whose random numbers begin anew with each game.

  Objects of ale-py that are alive when the interpreter ends are reported on the
  terminal as leaks: they are let go before.

  Args:
    ale: with a game in it.
  """

  def __init__(self, ale: Any):
    self._objects = [ale, ale.cloneState(include_rng=True)]
    weakref.finalize(self, self._objects.clear)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._objects[0], name)

  def getMinimalActionSet(self) -> list[int]:
    """Returns the numbers of the actions with which everything can be done."""
    return [action.value for action in self._objects[0].getMinimalActionSet()]

  def reset_game(self) -> None:
    """Begins a game."""
    ale, at_first = self._objects
    ale.restoreState(at_first)
    ale.reset_game()


def emulator(name: str, seed: int = 0) -> Emulator:
  """Returns a game's emulator without sticky actions; all games begin alike."""
  ale_py = package()
  _validate.choice("game", name, names())
  try:
    path = ale_py.roms.get_rom_path(name)
  except OSError as error:
    raise ValueError(
      f"the file of the game {name!r} is missing or damaged ({error}); "
      "`pip install --force-reinstall ale-py` brings it."
    ) from error

  ale = ale_py.ALEInterface()
  # Options hold from when the game is loaded.
  ale.setInt("random_seed", seed)
  ale.setFloat("repeat_action_probability", 0.0)
  ale.loadROM(path)
  return Emulator(ale)
