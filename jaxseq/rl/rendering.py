"""Episodes of a policy as animated pictures."""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any

import jax
import numpy as np

from jaxseq.rl import _transcript
from jaxseq.rl import algorithms
from jaxseq.rl import evaluate
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.drawings import _scenes
from jaxseq.rl.envs import spaces
from jaxseq.training import figures
from jaxseq.types import PyTree

_COLORS = 64  # colors of a frame; few colors keep files small
# In seconds: of a whole animation, of one frame, and of the last one.
_WHOLE, _SHORTEST, _LONGEST, _LAST = 12.0, 0.05, 0.5, 1.5


@dataclasses.dataclass(frozen=True)
class Film:
  """One episode, or its beginning.

  Attributes:
    title: name of the environment.
    game: the environment inside all wrappers.
    space: space of the first part of an observation, see `shown_space`.
    states: of the game before each step: numpy arrays, leading axis time.
    taken: the transitions, with actions as the environment took them: numpy
      arrays, leading axis time.
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
    """True if the last step ends the episode."""
    return bool(self.taken.terminated[-1] | self.taken.truncated[-1])

  def seen(self, t: int) -> np.ndarray:
    """Returns the observation of step t, without the previous action."""
    seen = _transcript.flat(self.taken.observation)
    return seen[t][: spaces.flat_size(self.space)]

  def choices(self, t: int) -> list[int]:
    """Returns the observation of step t as integers, -1 for no choice at all.

    Only for spaces that are `Discrete` or composed of them.
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


def film(
  config: algorithms.Config,
  variables: PyTree,
  key: jax.Array,
  *,
  greedy: bool = False,
  limit: int = 4000,
) -> list[Film]:
  """Plays one episode to be drawn; in a mixture one of each environment.

  Args:
    config: the configuration the policy was trained with.
    variables: the network's variables.
    key: random key.
    greedy: whether to take the most probable action instead of sampling.
    limit: maximum number of steps.

  Returns:
    The episodes.
  """
  players, films = evaluate.members(config), []
  for index, (env, env_params, network) in enumerate(players):
    num_steps = min(limit, int(env_params.max_steps_in_episode))
    played = evaluate.record(
      config, variables, key, num_steps, greedy=greedy, member=index
    )
    taken, states = played
    act = jax.vmap(network.actions.to_environment)
    played = taken._replace(action=act(taken.action)), states
    taken, states = jax.device_get(played)
    length = _transcript.first_length(taken)
    taken, states = jax.tree.map(
      lambda leaf, length=length: leaf[:length], (taken, states)
    )
    game = wrappers.innermost(env)
    kind = f": {type(game).__name__}" if len(players) > 1 else ""
    space = env.shown_space(env_params)
    films.append(Film(config.env_id + kind, game, space, states, taken))
  return films


def frames(films: Sequence[Film], limit: int = 120) -> list[np.ndarray]:
  """Draws episodes, one after the other.

  Args:
    films: the episodes.
    limit: the most frames of each. In a longer episode every second step is
      drawn, or every third and so on, and always the last one.

  Returns:
    Pictures (height, width, 3) uint8.

  Raises:
    ModuleNotFoundError: matplotlib or pillow is not installed.
  """
  pictures = []
  for episode in films:
    last = episode.length - 1
    stride = -(-episode.length // limit)
    # Counted back from the last one, which is always drawn.
    steps = range(last % stride, episode.length, stride)
    pictures += [_scenes.frame(episode, t, stride) for t in steps]
  return pictures


def write_gif(
  path: str | os.PathLike, pictures: Sequence[np.ndarray]
) -> pathlib.Path:
  """Writes pictures as an animation that loops forever.

  It lasts some 12 seconds, less if there are few pictures. The last one is
  shown longer.

  Args:
    path: the GIF file to write, atomically.
    pictures: (height, width, 3) uint8, at least one.

  Returns:
    The path.

  Raises:
    ValueError: there is no picture.
    ModuleNotFoundError: pillow is not installed.
  """
  count = max(len(pictures), 1)
  each = float(np.clip(_WHOLE / count, _SHORTEST, _LONGEST))
  seconds = [each] * (count - 1) + [_LAST]
  return figures.write_gif(path, pictures, seconds, colors=_COLORS)
