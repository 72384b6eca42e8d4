"""Players and games, on the device or on the host.

A `Game` says what its images are like and makes players of it:

    on the device   `init` and `step` are pure functions of arrays, for one
                    player; they can be jitted, vmapped and scanned. They are
                    None where a game runs on the host alone.
    on the host     `play(seeds)` returns `Players`, one for each seed, which
                    take their steps side by side; `play_compiled(seeds)` those
                    whom compiled functions can call, where there are such.

Images are single frames; whoever wants several stacks them. A player whose game
is over goes on with the first frame of another one, in the same step.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import NamedTuple
from typing import Protocol

import jax
import numpy as np

Array = jax.Array | np.ndarray


class Step(NamedTuple):
  """What came of an action; with a leading axis for several players.

  Attributes:
    frame: uint8 of the game's frame_shape, after the action; of another game if
      this one is over.
    reward: () float32, as the game counts.
    done: () bool, whether the return ends here: a life was lost, or the game is
      over.
    over: () bool, whether the game is over, or was stopped by a time limit.
  """

  frame: Array
  reward: Array
  done: Array
  over: Array


class Players(Protocol):
  """Players of a game on the host, side by side."""

  def reset(self) -> np.ndarray:
    """Starts anew, from the seeds; returns the frames (players, ...)."""

  def step(self, action: np.ndarray) -> Step:
    """Takes an action (players,) of each; returns what came of them."""


class CompiledPlayers(Players, Protocol):
  """Players on the host whom compiled functions can call.

  Attributes:
    state: pytree of arrays, which stand for the players: what is played changes
      them wherever the arrays are. To be used once, in turn.
  """

  state: Any

  def advance(self, state: Any, action: jax.Array) -> tuple[Any, Step]:
    """Takes an action (players,) of each; can be traced, but not vmapped."""


@dataclasses.dataclass(frozen=True)
class Game:
  """A game that can be played.

  Attributes:
    name: of the game.
    frame_shape: (height, width), or (height, width, channels).
    stack: how many frames an observation should have.
    num_actions: number of actions.
    play: function from seeds (players,), integers from 0 to 2**31 - 1, to
      `Players`. Equal seeds and actions give equal games.
    init: function from a key to the state of a player and the first frame.
    step: function from state, action and key to the next state and a `Step`.
    encoder: fields of `encoders.Config` that suit such frames.
    play_compiled: as `play`, of `CompiledPlayers`; None where there are none.
  """

  name: str
  frame_shape: tuple[int, ...]
  stack: int
  num_actions: int
  play: Callable[[np.ndarray], Players]
  init: Callable[[jax.Array], tuple[Any, jax.Array]] | None = None
  step: Callable[[Any, jax.Array, jax.Array], tuple[Any, Step]] | None = None
  encoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  play_compiled: Callable[[np.ndarray], CompiledPlayers] | None = None

  @property
  def on_device(self) -> bool:
    """Whether the game can be played inside compiled functions."""
    return self.init is not None

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(height, width, stack * channels) of an observation."""
    channels = self.frame_shape[2] if len(self.frame_shape) == 3 else 1
    return (*self.frame_shape[:2], self.stack * channels)
