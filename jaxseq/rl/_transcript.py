"""An episode as a table: observations, actions and rewards."""

from typing import Any

import numpy as np

from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import card_games
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs import teams

# Wrappers that do not change observations; others show other cards, or play
# several games per episode.
_TRANSPARENT = wrappers.EpisodeStatistics, wrappers.FlattenHistory


def columns(player: rollout.Player) -> list[str]:
  """Returns the headers of the table."""
  question = ["asked"] if _answers(player.env, np.zeros(1)) is not None else []
  return ["step", "observation", *question, "action", "reward", "value"]


def rows(player, episode, limit=None):
  """Returns one row per step of the first episode in a recording.

  In games that ask for a card the row also shows the correct card.
  """
  length = first_length(episode)
  length = min(length, limit or length)
  space = player.env.shown_space(player.env_params)
  seen = flat(episode.observation)[:length]
  answers = _answers(player.env, seen[:, : spaces.flat_size(space)])
  out = []
  for t in range(length):
    row = [t, describe(space, seen[t])]
    if answers is not None:
      row.append(answers[t])
    action = np.asarray(
      player.network.actions.to_environment(episode.action[t])
    )
    row.append(_number(action) if action.ndim == 0 else numbers(action))
    out.append([*row, f"{episode.reward[t]:+.3f}", f"{episode.value[t]:+.3f}"])
  return out


def first_length(recording: rollout.Transition) -> int:
  """Returns the number of steps of the first episode in a recording."""
  done = np.asarray(recording.terminated | recording.truncated)
  return int(done.argmax()) + 1 if done.any() else done.size


def flat(observation: Any) -> np.ndarray:
  """Returns observations as flat rows; only the images if they have images."""
  observation, _ = action_masks.split(observation)
  if isinstance(observation, wrappers.ImageObservation):
    observation = observation.image
  elif isinstance(observation, teams.Observation):
    observation = observation.own
  return np.asarray(observation).reshape(len(observation), -1)


def describe(space: spaces.Space, flat: np.ndarray) -> str:
  """Describes a flat observation in words; excess numbers are ignored.

  An image is described by its size.
  """
  space = spaces.convert(space)
  match space:
    case spaces.Discrete():
      choice = flat[: space.n]
      return str(int(choice.argmax())) if choice.any() else "-"
    case spaces.Box() if len(space.shape) == 3:
      return f"image {'x'.join(map(str, space.shape))}"
    case spaces.Box():
      return numbers(flat[: spaces.flat_size(space)])
  words, start = [], 0
  for place, part in space.parts:
    text = describe(part, flat[start:])
    words.append(f"{place}={text}" if isinstance(place, str) else text)
    start += spaces.flat_size(part)
  return " ".join(words)


def numbers(values: np.ndarray) -> str:
  """Formats the numbers of an array as a line of text."""
  return " ".join(_number(value) for value in np.ravel(values))


def _answers(env: Any, cards: np.ndarray) -> list[str] | None:
  """Returns the correct card at each step; None in other games."""
  game = env
  while isinstance(game, _TRANSPARENT):
    game = game.env
  shown = [str(card) for card in cards.reshape(len(cards), -1).argmax(-1)]
  if isinstance(game, card_games.RepeatFirst):
    return [shown[0]] * len(shown)
  if isinstance(game, card_games.RepeatPrevious):
    return (["-"] * (game.k - 1) + shown)[: len(shown)]
  return None


def _number(value: object) -> str:
  value = np.asarray(value).item()
  if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
    return str(int(value))
  return f"{value:.3g}" if isinstance(value, float) else str(value)
