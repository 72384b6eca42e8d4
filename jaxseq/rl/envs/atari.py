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

from jaxseq.rl.envs import _ale
from jaxseq.rl.envs import atari_xla
from jaxseq.rl.envs import players as environments

_MAX_FRAMES = 108_000
_NOOP_MAX = 30


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
  compiled = None
  if atari_xla.is_available(_ale.package()):
    compiled = functools.partial(play_compiled, name)
  return _ale.game(name, functools.partial(Players, name), compiled)


def play_compiled(
  name: str,
  seeds: np.ndarray,
  *,
  max_frames: int = _MAX_FRAMES,
  noop_max: int = _NOOP_MAX,
) -> atari_xla.Players:
  """Returns the same players, for compiled functions to call.

  Args:
    name: of the game.
    seeds: (players,) integers.
    max_frames: see `Players`.
    noop_max: see `Players`.
  """
  emulators = [
    _emulators(
      name, 1, max_frames, noop_max, num_threads=1, autoreset_mode="NextStep"
    )
    for _ in seeds
  ]
  return atari_xla.Players(emulators, seeds)


def _emulators(
  name: str, count: int, max_frames: int, noop_max: int, **options: Any
) -> Any:
  """Returns an `AtariVectorEnv` of ale-py."""
  return _ale.package().vector_env.AtariVectorEnv(
    name,
    count,
    frameskip=_ale.SKIP,
    img_height=_ale.SIZE,
    img_width=_ale.SIZE,
    # The agent stacks frames by itself, as the replay does.
    stack_num=1,
    max_num_frames_per_episode=max_frames,
    noop_max=noop_max,
    use_fire_reset=False,
    # Tells that a life was lost. "episodic_life" would begin another game.
    life_loss_info=True,
    reward_clipping=False,
    repeat_action_probability=0.0,
    **options,
  )


class Players:
  """Emulators side by side, see `environments.Players`.

  Args:
    name: of the game.
    seeds: (players,) integers.
    max_frames: of a game, which is stopped then.
    noop_max: a game begins with fewer frames of doing nothing.
  """

  def __init__(
    self,
    name: str,
    seeds: np.ndarray,
    *,
    max_frames: int = _MAX_FRAMES,
    noop_max: int = _NOOP_MAX,
  ):
    self._seeds = np.asarray(seeds, np.int64)
    self._frames = 0  # since the beginning of each game
    # Otherwise the step after the end of a game would be a reset, and the
    # players would not be in step any more.
    self._emulators = _emulators(
      name,
      len(self._seeds),
      max_frames,
      noop_max,
      autoreset_mode="SameStep",
    )

  def reset(self) -> np.ndarray:
    """Starts anew, from the seeds; returns the frames (players, 84, 84)."""
    images, info = self._emulators.reset(seed=self._seeds)
    self._frames = info["episode_frame_number"].copy()
    return images[:, -1].copy()

  def step(self, action: np.ndarray) -> environments.Step:
    """Takes an action (players,) of each; returns what came of them."""
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
