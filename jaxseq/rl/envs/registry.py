"""Environments by name, ours and gymnax's."""

from collections.abc import Callable
import difflib
import functools
from typing import Any

from jaxseq.rl.envs import autoencode
from jaxseq.rl.envs import bandit
from jaxseq.rl.envs import battleship
from jaxseq.rl.envs import cartpole
from jaxseq.rl.envs import concentration
from jaxseq.rl.envs import count_recall
from jaxseq.rl.envs import decks
from jaxseq.rl.envs import higher_lower
from jaxseq.rl.envs import labyrinth
from jaxseq.rl.envs import minesweeper
from jaxseq.rl.envs import pendulum
from jaxseq.rl.envs import repeat_first
from jaxseq.rl.envs import repeat_previous

_DIFFICULTIES = ("Easy", "Medium", "Hard")

# For each game of POPGym: its class and its options at each difficulty.
_GAMES = {
  "RepeatPrevious": (
    repeat_previous.RepeatPrevious,
    {"num_decks": (1, 2, 3), "k": (4, 32, 64)},
  ),
  "RepeatFirst": (repeat_first.RepeatFirst, {"num_decks": (1, 8, 16)}),
  "Autoencode": (autoencode.Autoencode, {"num_decks": (1, 2, 3)}),
  "CountRecall": (
    count_recall.CountRecall,
    {
      "num_decks": (1, 2, 4),
      "card_types": (decks.COLORS, decks.SUITS, decks.RANKS),
    },
  ),
  "HigherLower": (higher_lower.HigherLower, {"num_decks": (1, 2, 3)}),
  "Concentration": (
    concentration.Concentration,
    {
      "num_decks": (1, 2, 1),
      "card_types": (decks.COLORS, decks.COLORS, decks.RANKS),
    },
  ),
  "Battleship": (battleship.Battleship, {"board_size": (8, 10, 12)}),
  "MineSweeper": (
    minesweeper.MineSweeper,
    {"height": (4, 6, 8), "width": (4, 6, 8), "num_mines": (2, 6, 10)},
  ),
  "MultiarmedBandit": (
    bandit.MultiarmedBandit,
    {"num_arms": (10, 20, 30), "max_steps": (200, 400, 600)},
  ),
  "LabyrinthEscape": (labyrinth.LabyrinthEscape, {"size": (5, 7, 9)}),
  "LabyrinthExplore": (labyrinth.LabyrinthExplore, {"size": (5, 7, 9)}),
  "PositionOnlyCartPole": (
    cartpole.PositionOnlyCartPole,
    {"max_steps": (200, 400, 600)},
  ),
  "VelocityOnlyCartPole": (
    cartpole.VelocityOnlyCartPole,
    {"max_steps": (200, 400, 600)},
  ),
  "NoisyPositionOnlyCartPole": (
    cartpole.NoisyPositionOnlyCartPole,
    {"noise_sigma": (0.1, 0.2, 0.3)},
  ),
  "PositionOnlyPendulum": (
    pendulum.PositionOnlyPendulum,
    {"max_steps": (200, 150, 100)},
  ),
  "NoisyPositionOnlyPendulum": (
    pendulum.NoisyPositionOnlyPendulum,
    {"noise_sigma": (0.1, 0.2, 0.3)},
  ),
}

_ALIASES = {"StatelessCartPole": "PositionOnlyCartPole"}


def _factories() -> dict[str, Callable[..., Any]]:
  factories = {}
  for game in (*_GAMES, *_ALIASES):
    make_game, options = _GAMES[_ALIASES.get(game, game)]
    for level, difficulty in enumerate(_DIFFICULTIES):
      factories[game + difficulty] = functools.partial(
        make_game, **{name: values[level] for name, values in options.items()}
      )
  return factories


_FACTORIES = _factories()
_NAMES = tuple(_FACTORIES)


@functools.cache
def _suites() -> dict[str, Callable[..., Any]]:
  """Environments that are made of those of this package, by id."""
  from jaxseq.rl import meta_suites
  from jaxseq.rl.envs import playground

  return {**meta_suites.FACTORIES, **playground.FACTORIES}


def names() -> tuple[str, ...]:
  """Returns the ids of the environments of this package."""
  return _NAMES


def register(env_id: str, factory: Callable[..., Any]) -> None:
  """Makes an environment known to `make`.

  Args:
    env_id: its id.
    factory: makes it from its options; it has the interface of gymnax 1.0. It
      takes the place of an earlier one of the same id.

  Raises:
    ValueError: if it is an id of this package.
  """
  if env_id in _NAMES or env_id in _suites():
    raise ValueError(f"env_id: got {env_id!r}, expected an id that is free.")
  _FACTORIES[env_id] = factory


def register_with_gymnax() -> None:
  """Makes all environments that `make` knows known to `gymnax.make`.

  An id that is taken already is left alone.
  """
  import gymnax

  for env_id, factory in {**_suites(), **_FACTORIES}.items():
    if env_id not in gymnax.registered_envs:
      gymnax.register(env_id, factory)


def make(env_id: str, **options: Any) -> tuple[Any, Any]:
  """Makes an environment.

  Args:
    env_id: one of `names()`, such as "RepeatPreviousEasy", one of
      `jaxseq.rl.meta_suites` and `jaxseq.rl.envs.playground`, one that
      `register` was told of, or any id that gymnax knows, such as
      "MemoryChain-bsuite".
    **options: passed on to the environment, in place of those of the id.

  Returns:
    The environment, with gymnax 1.0's interface, and its default parameters.

  Raises:
    ValueError: if the id or an option is unknown, or an option is out of
      range.
  """
  factory = _FACTORIES.get(env_id) or _suites().get(env_id)
  try:
    if factory is None:
      return _make_of_gymnax(env_id, options)
    env = factory(**options)
  except TypeError as error:
    raise ValueError(
      f"options: {env_id} does not take {sorted(options)}: {error}"
    ) from error
  return env, env.default_params


def _make_of_gymnax(env_id, options):
  # Here and not above: the import of gymnax puts arrays on a device.
  import gymnax

  if env_id not in gymnax.registered_envs:
    ours = [*_FACTORIES, *_suites()]
    known = list(dict.fromkeys([*ours, *gymnax.registered_envs]))
    close = difflib.get_close_matches(str(env_id), known, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ValueError(
      f"env_id: got {env_id!r}, {hint}expected one of {', '.join(known)}."
    )
  return gymnax.make(env_id, **options)
