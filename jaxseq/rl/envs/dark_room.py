"""DarkRoom: find the goal cell, which only its reward reveals."""

import dataclasses
import functools
from typing import ClassVar
from typing import Literal

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

# Two columns: right, left, up, down, stay.
MOVES = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)], np.int32)
_STAY = len(MOVES) - 1
_TRAINING = 0.8


@struct.dataclass
class EnvState(base.EnvState):
  """State of DarkRoom.

  Attributes, beside those of `base.EnvState`:
    position: (2,) int32, column and row of the agent.
    goal: (2,) int32, the goal cell.
  """

  position: jax.Array
  goal: jax.Array


@functools.cache
def cells(
  size: int, goals: Literal["all", "training", "held_out"]
) -> np.ndarray:
  """Returns the cells (n, 2) int32 of a room that may be goals.

  Four fifths of them, in a fixed random order, are for training.
  """
  places = np.stack(np.divmod(np.arange(size * size), size)[::-1], axis=1)
  places = places.astype(np.int32)
  if goals == "all":
    return places
  order = np.random.default_rng(0).permutation(len(places))
  count = round(_TRAINING * len(places))
  picked = order[:count] if goals == "training" else order[count:]
  return places[np.sort(picked)]


def expert(position: jax.Array, goal: jax.Array) -> jax.Array:
  """Returns the action of a shortest path, first along the row: () int32."""
  across, along = goal - position
  sideways = jnp.where(across > 0, 0, 1)
  upwards = jnp.where(along > 0, 2, jnp.where(along < 0, 3, _STAY))
  return jnp.where(across != 0, sideways, upwards).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class DarkRoom(base.Environment):
  """Walks through a square room; each step onto the goal earns 1.

  Staying on it earns 1, too. The goal is drawn in each episode; with
  `meta.Trials` and `same_start` it lasts for several. The agent sees only its
  column and row. It moves right, left, up or down, or stays; a move into a wall
  does nothing. Only the time limit ends an episode.

  Two forms have ids: "DarkRoomCorner" is that of Lee et al., arXiv:2306.14892,
  "DarkRoomMiddle", of 9 x 9 cells, 20 steps and a start in the middle, that of
  Laskin et al., arXiv:2210.14215.

  Attributes:
    size: cells along each wall.
    begin: start of episodes: cell (0, 0) or the middle one.
    max_steps: the time limit.
    goals: the cells that may be goals: all, or one of two disjoint subsets.
  """

  size: int = 10
  begin: Literal["corner", "middle"] = "corner"
  max_steps: int = 100
  goals: Literal["all", "training", "held_out"] = "all"

  actions = spaces.Discrete(len(MOVES))
  reset_words: ClassVar[int] = 1

  def __post_init__(self):
    validate.literals(self)
    validate.fields(self, positive=("max_steps",))
    validate.integer("size", self.size, 2, 255)

  @property
  def first_cell(self) -> tuple[int, int]:
    """Column and row of the initial cell."""
    return (self.size // 2,) * 2 if self.begin == "middle" else (0, 0)

  @property
  def observations(self) -> spaces.MultiDiscrete:
    """Column and row."""
    return spaces.MultiDiscrete((self.size, self.size))

  def start(self, words: jax.Array, params: PyTree) -> EnvState:
    """Draws the goal."""
    goals = cells(self.size, self.goals)
    goal = jnp.asarray(goals)[randomness.below(words[0], len(goals))]
    position = jnp.array(self.first_cell, jnp.int32)
    return EnvState(time=jnp.int32(0), position=position, goal=goal)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    moved = state.position + jnp.asarray(MOVES)[action]
    moved = jnp.clip(moved, 0, self.size - 1)
    reward = jnp.all(moved == state.goal).astype(jnp.float32)
    return state.replace(time=state.time + 1, position=moved), reward

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns column and row, (2,) int32."""
    return state.position
