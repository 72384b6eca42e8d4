"""Atari's games with the interface of gymnax 1.0: pure functions of arrays.

The emulator and its games come from the package ale-py. It runs on the host,
and compiled functions call it; but its whole memory is an array in the
environment's state, some 8 kB. So `step` can be jitted, vmapped and scanned,
seeds and checkpoints work as with any other environment, and a run resumed
from its state plays the same game. Writing and reading that memory costs a
tenth of a millisecond in a step of half a millisecond; environments in a batch
are stepped one after another.

The settings are those of Atari-100k. A step is 4 frames, and the pixelwise
maximum of the last two is shown; images are grayscale, 84x84, shrunk by area;
the action set is minimal, without sticky actions; a game starts with up to 29
frames without an action, never by pressing fire, and is stopped after 27,000
steps.

Bellemare et al., arXiv:1207.4708; Schwarzer et al., arXiv:2007.05929, appendix.
"""

import dataclasses
import functools
import queue
from typing import Literal

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import _ale
from jaxseq.rl.envs import _host
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

_PLAYERS = {"ale": _ale.Player, "released": _ale.Released}


@struct.dataclass
class EnvState(base.EnvState):
  """State of a game.

  Attributes, beside those of `base.EnvState`:
    lives: () int32, lives before the step, to detect the loss of one.
    emulator: (n,) uint8, the emulator's memory.
  """

  lives: jax.Array
  emulator: jax.Array


@dataclasses.dataclass(frozen=True)
class Atari(base.Environment):
  """A game of Atari.

  An observation is one frame, (84, 84, 1) uint8. `info` of a step has
  "life_lost", () bool: a life was lost, and the game continues.

  Attributes:
    game: name of the game, such as "ms_pacman"; see `names`.
    rules: "ale", those above, or "released", those of SPR's released code: it
      shrinks images bilinearly, starts with 2 to 31 frames without an action,
      and shows only one more such frame after the loss of a life, which does
      not count. The step after 27,000 others is the last of a game.
    frame_stack: number of frames that agents should see at once.
  """

  game: str = "pong"
  rules: Literal["ale", "released"] = "ale"
  frame_stack: int = 4

  def __post_init__(self):
    validate.literals(self)
    validate.positive("frame_stack", self.frame_stack)
    self._host  # noqa: B018, refuses a game that nobody can play

  @property
  def max_steps(self) -> int:
    """The time limit: the number of steps of the longest games."""
    player = _PLAYERS[self.rules]
    return player.limit + player.beyond

  @property
  def name(self) -> str:
    """The name of the game."""
    return self.game

  def _step(self, key, state, action, params):
    spaces.check("action", self.action_space(params), action)
    frame, final_frame, reward, life_lost, terminated, truncated, state = (
      self._call(
        self._host.step,
        _ale.Step(
          *(_array(np.uint8, _ale.SIZE, _ale.SIZE, 1),) * 2,
          _array(np.float32),
          *(_array(np.bool_),) * 3,
        ),
        state,
        action,
        self._noops(key),
        params.max_steps_in_episode,
      )
    )
    info = {"life_lost": life_lost}
    return base.outcome(
      frame, state, reward, terminated, truncated, final_frame, info
    )

  def _reset(self, key, params):
    frame = _array(np.uint8, _ale.SIZE, _ale.SIZE, 1)
    return self._call(self._host.reset, (frame,), self._noops(key))

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """Grayscale images."""
    return spaces.Box(0, 255, (_ale.SIZE, _ale.SIZE, 1), np.dtype(np.uint8))

  def action_space(self, params: PyTree = None) -> spaces.Discrete:
    """The minimal set of actions of the game."""
    return spaces.Discrete(self._host.num_actions)

  @property
  def _host(self) -> "_Host":
    return _hosted(self.game, self.rules)

  def _noops(self, key):
    low, high = _PLAYERS[self.rules].noops
    return jax.random.randint(key, (), low, high + 1, jnp.int32)

  def _call(self, function, shapes, *arguments):
    """Calls a host function, whose last result is a state."""
    number, memory = _array(np.int32), _array(np.uint8, self._host.num_bytes)
    state = EnvState(time=number, lives=number, emulator=memory)
    return _host.call(function, (*shapes, state), *arguments)


class _Host:
  """Players of one game, whose memory is exchanged as bytes."""

  def __init__(self, game: str, rules: str):
    self._game, self._player = game, _PLAYERS[rules]
    # Each caller, in any thread, takes a player and puts it back.
    self._players: queue.LifoQueue = queue.LifoQueue()
    player = self._take()
    self.num_actions = len(player.emulator.getMinimalActionSet())
    self.num_bytes = len(player.emulator.cloneState().serialize())
    self._players.put(player)

  def reset(self, noops: int) -> tuple:
    player = self._take(noops)
    return player.reset()[..., None], self._put(player)

  def step(self, state: EnvState, action: int, noops: int, limit: int) -> tuple:
    player = self._take(noops)
    memory = state.emulator.tobytes()
    if memory != player.memory:
      player.emulator.restoreState(_ale.package().ALEState(memory))
    player.lives, player.steps = int(state.lives), int(state.time)
    player.max_steps = int(limit) - player.beyond
    step = player.step(int(action))
    frames = [frame[..., None] for frame in step[:2]]
    return *frames, *step[2:], self._put(player)

  def _take(self, noops: int = 0) -> _ale.Player:
    try:
      player = self._players.get_nowait()
    except queue.Empty:
      player = self._player(_ale.emulator(self._game), int)
    player.draw_noops = lambda: int(noops)
    return player

  def _put(self, player: _ale.Player) -> EnvState:
    """Puts a player back; returns its state."""
    player.memory = player.emulator.cloneState().serialize()
    numbers = np.int32(player.steps), np.int32(player.lives)
    memory = np.frombuffer(player.memory, np.uint8)
    self._players.put(player)
    return EnvState(*numbers, memory)


_hosted = functools.cache(_Host)


names = _ale.names


def _array(dtype, *shape):
  return jax.ShapeDtypeStruct(shape, dtype)
