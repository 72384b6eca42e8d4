"""The package ale-py: Atari's emulator, and its games."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxseq.rl.envs import players as environments

# Frames of a step, and the height and width of an image.
SKIP = 4
SIZE = 84


def package() -> Any:
  """Returns the module.

  Raises:
    ValueError: it is not installed.
  """
  try:
    import ale_py
    from ale_py import vector_env  # noqa: F401
  except ImportError as error:
    raise ValueError(
      "Atari's games need the package ale-py, which brings them along: "
      f"`pip install 'jaxseq[atari]'` ({error})."
    ) from error
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  return ale_py


def names() -> tuple[str, ...]:
  """Returns the names of the games that are installed.

  Raises:
    ValueError: the package is not installed.
  """
  return tuple(sorted(package().roms.get_all_rom_ids()))


def emulator(name: str, seed: int = 0) -> Any:
  """Returns an `ALEInterface` with a game in it, without sticky actions.

  Args:
    name: as "ms_pacman", see `names`.
    seed: of the emulator's random numbers.

  Raises:
    ValueError: there is no such game, or what plays it is not installed.
  """
  ale_py = package()
  if name not in ale_py.roms.get_all_rom_ids():
    raise ValueError(
      f"game must be one of Atari's in words joined by '_', as 'ms_pacman'; "
      f"got {name!r}."
    )
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
  return ale


def game(
  name: str,
  play: Callable[[np.ndarray], environments.Players],
  play_compiled: Callable[[np.ndarray], environments.CompiledPlayers]
  | None = None,
) -> environments.Game:
  """Returns a game of (84, 84) uint8, four of which are an observation.

  Args:
    name: as in `emulator`.
    play: from seeds to players.
    play_compiled: from seeds to players for compiled functions, if there are.

  Raises:
    ValueError: as `emulator` does.
  """
  return environments.Game(
    name=name,
    frame_shape=(SIZE, SIZE),
    stack=4,
    num_actions=len(emulator(name).getMinimalActionSet()),
    play=play,
    play_compiled=play_compiled,
  )
