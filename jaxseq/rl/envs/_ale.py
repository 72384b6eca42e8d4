"""Atari's emulator, from the package ale-py, and players of its games."""

from typing import Any
from typing import NamedTuple
import weakref

import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import _resizing

# Frames per step, and the height and width of an image.
SKIP = 4
SIZE = 84
NOOP = 0


class Step(NamedTuple):
  """Outcome of one action, with the frame for the next action."""

  frame: np.ndarray  # (84, 84) uint8, of the next game if this one is over
  final_frame: np.ndarray  # (84, 84) uint8, the last frame of this step
  reward: np.ndarray  # () float32, points of the game
  life_lost: np.ndarray  # () bool, and the game continues
  terminated: np.ndarray  # () bool, the game is over
  truncated: np.ndarray  # () bool, stopped by the time limit


class Player:
  """One player at an emulator, by the rules of ale-py's `AtariVectorEnv`.

  Attributes:
    emulator: an `Emulator` with a loaded game, and no sticky actions.
    draw_noops: called when a game starts; returns the number of frames without
      an action.
    max_steps: steps after which a game is stopped.
    lives: lives before the step, to detect the loss of one.
    steps: number of steps of the game so far.
    memory: the emulator's state between two steps, for callers with several
      games; b"" if unknown.
  """

  # Range of `draw_noops`, the usual time limit, and the number of steps of a
  # game after it.
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
    """Starts a game; returns the frame (84, 84) uint8."""
    self.emulator.reset_game()
    for _ in range(self.draw_noops()):
      self.emulator.act(NOOP)
    self.lives, self.steps = self.emulator.lives(), 0
    return self._shrink(self._look(0))

  def step(self, action: int) -> Step:
    """Takes an action, an index into the game's minimal action set."""
    reward, before = self._repeat(action)
    frame = self._shrink(np.maximum(before, self._look(1)))
    lost = self.emulator.lives() < self.lives
    self.lives = self.emulator.lives()
    self.steps += 1
    return self._finish(frame, reward, lost, self.steps >= self.max_steps)

  def _repeat(self, action: int) -> tuple[float, np.ndarray]:
    """Plays the frames of a step; returns points and the last frame but one."""
    action = self._actions[action]
    reward = sum(self.emulator.act(action) for _ in range(SKIP - 1))
    before = self._look(0)
    return reward + self.emulator.act(action), before

  def _look(self, index: int) -> np.ndarray:
    """Copies the emulator's screen into one of the buffers."""
    self.emulator.getScreenGrayscale(self._screens[index])
    return self._screens[index]

  def _shrink(self, screen: np.ndarray) -> np.ndarray:
    return self.resize(screen, (SIZE, SIZE))

  def _finish(
    self, frame: np.ndarray, reward: float, life_lost: bool, stopped: bool
  ) -> Step:
    """Ends a step, and starts the next game if this one is over."""
    terminated = self.emulator.game_over()
    truncated = stopped and not terminated
    over = terminated or truncated
    following = self.reset() if over else frame
    flags = map(np.bool_, (life_lost and not over, terminated, truncated))
    return Step(following, frame, np.float32(reward), *flags)


class Released(Player):
  """One player by the rules of the released code of SPR.

  For exact comparisons with that code. The emulator, the actions and the 4
  frames of a step are the same. These differ:

      images    are shrunk bilinearly, like OpenCV does it
      start     2 to 31 frames without an action, one more than `draw_noops`
      life      after a loss, one more frame without an action is played.
                Only it is shown, and its score does not count. A life is
                lost if fewer are left than after the last loss: one won in
                between compensates for it
      limit     the step after 27,000 others is the last of a game

  Schwarzer et al., arXiv:2007.05929, and its code (github.com/mila-iqia/spr).
  """

  noops = (1, 30)
  beyond = 1
  resize = staticmethod(_resizing.bilinear)

  def reset(self) -> np.ndarray:
    """Starts a game; returns the frame (84, 84) uint8."""
    self.emulator.reset_game()
    self._begin_life()
    for _ in range(self.draw_noops()):
      self.emulator.act(NOOP)
    self.steps = 0
    return self._shrink(self._look(0))

  def step(self, action: int) -> Step:
    """Takes an action, an index into the game's minimal action set."""
    reward, before = self._repeat(action)
    # With 0 lives the game is over, or does not count lives.
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
  """Imports ale-py, or raises a ValueError that says how to install it."""
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
  """Returns the names of the installed games."""
  return tuple(sorted(package().roms.get_all_rom_ids()))


class Emulator:
  """An `ale_py.ALEInterface` whose random numbers restart with each game.

  ale-py reports objects that are alive when the interpreter ends as leaks on
  the terminal: they are released before.

  Args:
    ale: with a loaded game.
  """

  def __init__(self, ale: Any):
    self._objects = [ale, ale.cloneState(include_rng=True)]
    weakref.finalize(self, self._objects.clear)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._objects[0], name)

  def getMinimalActionSet(self) -> list[int]:
    """Returns the numbers of the minimal set of actions."""
    return [action.value for action in self._objects[0].getMinimalActionSet()]

  def reset_game(self) -> None:
    """Starts a game."""
    ale, at_first = self._objects
    ale.restoreState(at_first)
    ale.reset_game()


def emulator(name: str, seed: int = 0) -> Emulator:
  """Returns a game's emulator without sticky actions; all games start alike."""
  ale_py = package()
  validate.choice("game", name, names())
  try:
    path = ale_py.roms.get_rom_path(name)
  except OSError as error:
    raise ValueError(
      f"the file of the game {name!r} is missing or damaged ({error}); "
      "`pip install --force-reinstall ale-py` brings it."
    ) from error

  ale = ale_py.ALEInterface()
  # Options take effect when the game is loaded.
  ale.setInt("random_seed", seed)
  ale.setFloat("repeat_action_probability", 0.0)
  ale.loadROM(path)
  return Emulator(ale)
