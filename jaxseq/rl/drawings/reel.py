"""An episode with everything that is needed to draw it, on the host."""

import dataclasses
from typing import Any

import numpy as np

from jaxseq._types import PyTree
from jaxseq.rl import rollout
from jaxseq.rl import transcript
from jaxseq.rl.envs import spaces


@dataclasses.dataclass(frozen=True)
class Film:
  """One episode, or its beginning.

  Attributes:
    title: what is played.
    game: the environment inside all wrappers.
    space: of what an observation begins with; see `shown_space` of wrappers.
    states: of the game before each step: numpy arrays, leading axis time.
    taken: the transitions: numpy arrays, leading axis time.
  """

  title: str
  game: Any
  space: spaces.Space
  states: PyTree
  taken: rollout.Transition

  @property
  def length(self) -> int:
    """Number of steps."""
    return len(self.taken.reward)

  @property
  def ended(self) -> bool:
    """True if the last step is that of the episode."""
    return bool(self.taken.terminated[-1] | self.taken.truncated[-1])

  def seen(self, t: int) -> np.ndarray:
    """Returns what step t is taken with, without the previous action."""
    seen = transcript.flat(self.taken.observation)
    return seen[t][: spaces.flat_size(self.space)]

  def choices(self, t: int) -> list[int]:
    """Returns what step t is taken with as integers, -1 for no choice at all.

    Only for spaces that are `Discrete` or made of such.
    """
    space = spaces.convert(self.space)
    parts = [space] if isinstance(space, spaces.Discrete) else space.spaces
    ends = np.cumsum([part.n for part in parts])[:-1]
    return [
      int(flat.argmax()) if flat.any() else -1
      for flat in np.split(self.seen(t), ends)
    ]

  def action(self, t: int) -> tuple[Any, ...]:
    """Returns the numbers of the action of step t."""
    return tuple(np.ravel(self.taken.action[t]).tolist())
