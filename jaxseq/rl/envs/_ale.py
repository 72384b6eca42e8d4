"""Atari's emulator, of the package ale-py, and the players of its games."""

from typing import Any
from typing import NamedTuple
import weakref

import numpy as np

from jaxseq import _validate
from jaxseq.rl.envs import _resizing

# Frames of a step, and the height and width of an image.
SKIP = 4
SIZE = 84
NOOP = 0


class Step(NamedTuple):
  """Outcome of one action: the frame to act on next, and what it led to."""

  frame: np.ndarray  # (84, 84) uint8, of another game if this one is over
  final_frame: np.ndarray  # (84, 84) uint8, that the action led to
  reward: np.ndarray  # () float32, points of the game
  life_lost: np.ndarray  # () bool, and the game goes on
  terminated: np.ndarray  # () bool, the game is over
  truncated: np.ndarray  # () bool, stopped by the time limit


class Player:
  """One player at an emulator, by the rules of ale-py's `AtariVectorEnv`.

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

  # Bounds of what `draw_noops` is to return, the usual time limit, and how many
  # steps of a game come after it.
  noops = (0, 29)
  limit = 27_000
  beyond = 0
  resize = staticmethod(_resizing.area)

  def __init__(self, emulator, draw_noops, max_steps=None):
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
    self.emulator.reset_game()
    for _ in range(self.draw_noops()):
      self.emulator.act(NOOP)
    self.lives, self.steps = self.emulator.lives(), 0
    return self._shrink(self._look(0))

  def step(self, action: int) -> Step:
    """Takes an action, an index into the game's smallest set of actions."""
    reward, before = self._repeat(action)
    frame = self._shrink(np.maximum(before, self._look(1)))
    lost = self.emulator.lives() < self.lives
    self.lives = self.emulator.lives()
    self.steps += 1
    return self._finish(frame, reward, lost, self.steps >= self.max_steps)

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


class Released(Player):
  """One player by the rules of the released code of SPR.

  For those who compare with that code to the pixel. The emulator, the actions
  and the 4 frames of a step are the same. These differ:

      images    are shrunk bilinearly, as OpenCV does it
      begin     2 to 31 frames of doing nothing, one more than `draw_noops` says
      life      where one is lost, a further frame of doing nothing is played.
                It alone is shown, and what it scores does not count. A life is
                lost where fewer are left than after the last loss: one that was
                won meanwhile makes up for it
      limit     the step after 27,000 others is the last of a game

  Schwarzer et al., arXiv:2007.05929, and its code (github.com/mila-iqia/spr).
  """

  noops = (1, 30)
  beyond = 1
  resize = staticmethod(_resizing.bilinear)

  def reset(self) -> np.ndarray:
    """Begins a game; returns the frame (84, 84) uint8."""
    self.emulator.reset_game()
    self._begin_life()
    for _ in range(self.draw_noops()):
      self.emulator.act(NOOP)
    self.steps = 0
    return self._shrink(self._look(0))

  def step(self, action: int) -> Step:
    """Takes an action, an index into the game's smallest set of actions."""
    reward, before = self._repeat(action)
    # At 0 the game is over, or has no lives.
    lost = 0 < self.emulator.lives() < self.lives
    if lost:
      self._begin_life()
    shown = self._look(1) if lost else np.maximum(before, self._look(1))
    frame = self._shrink(shown)
    stopped = self.steps >= self.max_steps
    self.steps += 1
    return self._finish(frame, reward, lost, stopped)

  def _begin_life(self):
    self.emulator.act(NOOP)
    self.lives = self.emulator.lives()


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
