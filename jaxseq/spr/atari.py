"""Atari's games, on the host, with the settings of Atari-100k.

The emulator is that of the package ale-py, with its games. A step is 4 frames,
of whose last two the pixels' maxima are taken; images are grey, 84x84, shrunk
by area; the actions are the smallest set, none of them sticky; a game begins
with up to 29 frames of doing nothing, never by pressing fire, and is stopped
after 27,000 steps. The loss of a life ends an episode, and the game goes on.

Bellemare et al., arXiv:1207.4708; Schwarzer et al., arXiv:2007.05929, appendix.
"""

import functools
from typing import Any

import numpy as np

from jaxseq.spr import atari_xla
from jaxseq.spr import environments

_SKIP = 4
_SIZE = 84
_MAX_FRAMES = 108_000


def names() -> tuple[str, ...]:
  """Returns the names of the games that are installed.

  Raises:
    ValueError: the package ale-py is not installed.
  """
  return tuple(sorted(_package().roms.get_all_rom_ids()))


def make(name: str) -> environments.Game:
  """Returns a game.

  Frames are (84, 84) uint8; an observation is four of them.

  Args:
    name: as "ms_pacman", see `names`.

  Raises:
    ValueError: there is no such game, or what plays it is not installed.
  """
  package = _package()
  if name not in package.roms.get_all_rom_ids():
    raise ValueError(
      f"game must be one of Atari's in words joined by '_', as 'ms_pacman'; "
      f"got {name!r}."
    )
  try:
    path = package.roms.get_rom_path(name)
  except OSError as error:
    raise ValueError(
      f"the file of the game {name!r} is missing or damaged ({error}); "
      "`pip install --force-reinstall ale-py` brings it."
    ) from error
  emulator = package.ALEInterface()
  emulator.loadROM(path)
  return environments.Game(
    name=name,
    frame_shape=(_SIZE, _SIZE),
    stack=4,
    num_actions=len(emulator.getMinimalActionSet()),
    play=functools.partial(_Players, name),
    play_compiled=functools.partial(_play_compiled, name)
    if atari_xla.is_available(package)
    else None,
  )


def _package() -> Any:
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


def _emulators(name: str, count: int, **options: Any) -> Any:
  """Returns emulators of a game, `AtariVectorEnv`."""
  return _package().vector_env.AtariVectorEnv(
    name,
    count,
    frameskip=_SKIP,
    img_height=_SIZE,
    img_width=_SIZE,
    # The agent stacks frames by itself, as the replay does.
    stack_num=1,
    max_num_frames_per_episode=_MAX_FRAMES,
    noop_max=30,
    use_fire_reset=False,
    # Tells that a life was lost. "episodic_life" would begin another game.
    life_loss_info=True,
    reward_clipping=False,
    repeat_action_probability=0.0,
    **options,
  )


def _play_compiled(name: str, seeds: np.ndarray) -> atari_xla.Players:
  """Returns players whom compiled functions can call."""
  emulators = [
    _emulators(name, 1, num_threads=1, autoreset_mode="NextStep") for _ in seeds
  ]
  return atari_xla.Players(emulators, seeds)


class _Players:
  """Emulators side by side."""

  def __init__(self, name: str, seeds: np.ndarray):
    self._seeds = np.asarray(seeds, np.int64)
    self._frames = 0  # since the beginning of each game
    # Otherwise the step after the end of a game would be a reset, and the
    # players would not be in step any more.
    self._emulators = _emulators(
      name, len(self._seeds), autoreset_mode="SameStep"
    )

  def reset(self) -> np.ndarray:
    images, info = self._emulators.reset(seed=self._seeds)
    self._frames = info["episode_frame_number"].copy()
    return images[:, -1].copy()

  def step(self, action: np.ndarray) -> environments.Step:
    images, reward, terminated, truncated, info = self._emulators.step(
      np.asarray(action, np.int64)
    )
    done = terminated | truncated
    # Only the reset of a game that is over puts this number back.
    frames = info["episode_frame_number"].copy()
    over = done & (frames <= self._frames)
    self._frames = frames
    return environments.Step(
      images[:, -1].copy(), reward.astype(np.float32), done.copy(), over
    )
