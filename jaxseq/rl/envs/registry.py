"""Environments by name: those of this package, of users and of gymnax."""

from collections.abc import Callable
import difflib
import functools
import inspect
from typing import Any

import jax

from jaxseq import _registry
from jaxseq import validate
from jaxseq.rl.envs import _decks
from jaxseq.rl.envs import for_gymnax
from jaxseq.rl.envs import protocol
from jaxseq.types import PyTree

_DIFFICULTIES = ("Easy", "Medium", "Hard")

# For each game of POPGym: its module, and its options at each difficulty.
_POPGYM = {
  "RepeatPrevious": (
    "card_games",
    {"num_decks": (1, 2, 3), "k": (4, 32, 64)},
  ),
  "RepeatFirst": ("card_games", {"num_decks": (1, 8, 16)}),
  "Autoencode": ("card_games", {"num_decks": (1, 2, 3)}),
  "CountRecall": (
    "card_games",
    {
      "num_decks": (1, 2, 4),
      "card_types": (_decks.COLORS, _decks.SUITS, _decks.RANKS),
    },
  ),
  "HigherLower": ("card_games", {"num_decks": (1, 2, 3)}),
  "Concentration": (
    "concentration",
    {
      "num_decks": (1, 2, 1),
      "card_types": (_decks.COLORS, _decks.COLORS, _decks.RANKS),
    },
  ),
  "Battleship": ("battleship", {"board_size": (8, 10, 12)}),
  "MineSweeper": (
    "minesweeper",
    {"height": (4, 6, 8), "width": (4, 6, 8), "num_mines": (2, 6, 10)},
  ),
  "MultiarmedBandit": (
    "bandit",
    {"num_arms": (10, 20, 30), "max_steps": (200, 400, 600)},
  ),
  "LabyrinthEscape": ("labyrinth", {"size": (5, 7, 9)}),
  "LabyrinthExplore": ("labyrinth", {"size": (5, 7, 9)}),
  "PositionOnlyCartPole": ("cartpole", {"max_steps": (200, 400, 600)}),
  "VelocityOnlyCartPole": ("cartpole", {"max_steps": (200, 400, 600)}),
  "NoisyPositionOnlyCartPole": ("cartpole", {"noise_sigma": (0.1, 0.2, 0.3)}),
  "PositionOnlyPendulum": ("pendulum", {"max_steps": (200, 150, 100)}),
  "NoisyPositionOnlyPendulum": ("pendulum", {"noise_sigma": (0.1, 0.2, 0.3)}),
}
_ALIASES = {"StatelessCartPole": "PositionOnlyCartPole"}

# Paths of environments that are not from another suite.
_OWN = {
  "Blank": "jaxseq.rl.envs.blank:Blank",
  "DarkRoomCorner": "jaxseq.rl.envs.dark_room:DarkRoom",
  "DarkRoomMiddle": "jaxseq.rl.envs.dark_room:DarkRoom",
  "ProjectedCartPole": "jaxseq.rl.meta_suites:projected_cartpole",
  "ProjectedControl": "jaxseq.rl.meta_suites:projected_control",
  "Trials": "jaxseq.rl.meta_suites:trials",
}
_OWN_OPTIONS = {
  "DarkRoomMiddle": {"size": 9, "begin": "middle", "max_steps": 20},
}

_MINATAR = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")

# As ale-py names them.
_ATARI = """
  adventure air_raid alien amidar assault asterix asteroids atlantis atlantis2
  backgammon bank_heist basic_math battle_zone beam_rider berzerk blackjack
  bowling boxing breakout carnival casino centipede chopper_command combat
  crazy_climber crossbow darkchambers defender demon_attack donkey_kong
  double_dunk earthworld elevator_action enduro entombed et fishing_derby
  flag_capture freeway frogger frostbite galaxian gopher gravitar hangman
  haunted_house hero human_cannonball ice_hockey jamesbond journey_escape
  joust kaboom kangaroo keystone_kapers king_kong klax koolaid krull
  kung_fu_master laser_gates lost_luggage mario_bros maze_craze miniature_golf
  montezuma_revenge mr_do ms_pacman name_this_game othello pacman phoenix
  pitfall pitfall2 pong pooyan private_eye qbert riverraid road_runner
  robotank seaquest sir_lancelot skiing solaris space_invaders space_war
  star_gunner superman surround tennis tetris tic_tac_toe_3d time_pilot
  trondead turmoil tutankham up_n_down venture video_checkers video_chess
  video_cube video_pinball warlords wizard_of_wor word_zapper yars_revenge
  zaxxon
""".split()

PLAYGROUND = """
  AcrobotSwingup AcrobotSwingupSparse BallInCup CartpoleBalance
  CartpoleBalanceSparse CartpoleSwingup CartpoleSwingupSparse CheetahRun
  FingerSpin FingerTurnEasy FingerTurnHard FishSwim HopperHop HopperStand
  HumanoidStand HumanoidWalk HumanoidRun PendulumSwingup PointMass ReacherEasy
  ReacherHard SwimmerSwimmer6 WalkerRun WalkerStand WalkerWalk
""".split()


# The environments of other libraries, by the prefix before the slash; the
# functions take the name after it. "outside" stands for any environment.
LIBRARIES = _registry.Registry(
  "library",
  {
    "gymnasium": "jaxseq.rl.envs.adapters.gymnasium_vectors:make",
    "outside": "jaxseq.rl.envs._outside:make",
    "view": "jaxseq.rl.envs._views:make",
  }
  | {
    library: f"jaxseq.rl.envs.adapters.libraries:{library}"
    for library in (
      *("brax", "craftax", "jaxmarl", "navix", "popgym_arcade", "xminigrid"),
    )
  },
)


# Prefix of the environment id of a policy that acts elsewhere.
OUTSIDE = "outside/"

# Entries that are not libraries: the part after the slash is not a name there.
_NO_LIBRARIES = ("outside", "view")


def atari_id(game: str) -> str:
  """Returns the id of a game of Atari: "MsPacman-Atari" of "ms_pacman"."""
  return "".join(map(str.capitalize, game.split("_"))) + "-Atari"


def _entries() -> dict[str, tuple[str, dict[str, Any]]]:
  """Returns the path of each environment, and its options."""
  package = "jaxseq.rl.envs"
  entries = {}
  for game in (*_POPGYM, *_ALIASES):
    name = _ALIASES.get(game, game)
    module, options = _POPGYM[name]
    for level, difficulty in enumerate(_DIFFICULTIES):
      entries[game + difficulty] = (
        f"{package}.{module}:{name}",
        {option: values[level] for option, values in options.items()},
      )
  entries |= {
    game: (path, _OWN_OPTIONS.get(game, {})) for game, path in _OWN.items()
  }
  for game in _MINATAR:
    entries[f"{game}-MinAtar"] = f"{package}.minatar:MinAtar", {"game": game}
  for task in PLAYGROUND:
    path = f"{package}.adapters.libraries:playground"
    entries[f"Playground-{task}"] = path, {"task": task}
  for game in _ATARI:
    entries[atari_id(game)] = f"{package}.atari:Atari", {"game": game}
  return entries


_OPTIONS = {env_id: options for env_id, (_, options) in _entries().items()}

# Suffix of the id of an environment with flat observations.
_FLAT = "-Flat"

ENVIRONMENTS = _registry.Registry(
  "env_id", {env_id: path for env_id, (path, _) in _entries().items()}
)

# How often an environment was replaced, see `replaced`.
_replaced = 0

POPGYM = tuple(
  game + difficulty
  for game in (*_POPGYM, *_ALIASES)
  for difficulty in _DIFFICULTIES
)


def names() -> tuple[str, ...]:
  """Returns the ids of all environments that are registered here.

  `POPGYM` holds only those of POPGym's games.
  """
  return ENVIRONMENTS.names()


def register(env_id: str, factory: str | Callable[..., protocol.Env]) -> None:
  """Registers an environment for `make`.

  Args:
    env_id: its id.
    factory: builds it from its options: a function or class, or its path, as
      "package.module:name". The environment has the interface of gymnax 1.0,
      see `base.Environment`. A function or class replaces an earlier one of the
      same id, and clears all compiled programs.

  Raises:
    ValueError: if it is an id of this package.
  """
  global _replaced
  replaces = env_id in ENVIRONMENTS and ENVIRONMENTS.path(env_id) != factory
  ENVIRONMENTS.register(env_id, factory)
  if replaces:
    _replaced += 1
    jax.clear_caches()


def replaced() -> int:
  """Returns how often an environment was replaced.

  Caches by id are valid as long as that number does not change.
  """
  return _replaced


def register_with_gymnax() -> None:
  """Registers all environments of `make` with `gymnax.make`.

  They are wrapped for gymnax's clients, see `for_gymnax`. For clients that only
  accept boxes, the id with the suffix "-Flat" has one flat vector as
  observation, which also holds the previous action and the first-step flag, see
  `wrappers.FlattenHistory`.

  Existing ids are not replaced.
  """
  import gymnax

  for env_id in names():
    if env_id not in gymnax.registered_envs:
      gymnax.register(env_id, functools.partial(_make_for_gymnax, env_id))
    flat_id = f"{env_id}{_FLAT}"
    if flat_id not in gymnax.registered_envs:
      gymnax.register(flat_id, functools.partial(_make_flat, env_id))


def make(env_id: str = "", /, **options: Any) -> tuple[protocol.Env, PyTree]:
  """Makes an environment.

  Args:
    env_id: one of `names()`, such as "RepeatPreviousEasy", "Breakout-MinAtar"
      or "MsPacman-Atari", or any id of gymnax, such as
      "MemoryChain-bsuite"; or that of another library after its name, such as
      "gymnasium/CartPole-v1", see `envs.adapters`.
    **options: passed on to the environment; they override those of the id.

  Returns:
    The environment, with gymnax 1.0's interface, and its default parameters.

  Raises:
    ValueError: if the id or an option is unknown, or an option is out of
      range.
  """
  # Positional, so that an option of that name is reported as unknown.
  env_id = env_id or options.pop("env_id", "")
  if not isinstance(env_id, str):
    expected = "a name, under which envs.register makes it known"
    raise validate.error("env_id", env_id, expected)
  library, slash, name = env_id.partition("/")
  factory = None
  try:
    if env_id in ENVIRONMENTS:
      factory = ENVIRONMENTS[env_id]
      env = _make(env_id, **options)
    elif slash:
      if library not in LIBRARIES:
        listed = [name for name in LIBRARIES if name not in _NO_LIBRARIES]
        validate.choice("env_id: library", library, listed)
      env = LIBRARIES[library](name, **options)
    else:
      return _make_of_gymnax(env_id, options)
  except TypeError as error:
    raise ValueError(_not_taken(env_id, factory, options, error)) from error
  if not hasattr(env, "default_params"):
    expected = (
      "an environment with the interface of gymnax 1.0; gymnasium.register"
      f" makes one of Gymnasium known, as 'gymnasium/{env_id}-v0'"
    )
    raise validate.error(env_id, type(env).__name__, expected)
  return env, env.default_params


def _not_taken(env_id, factory, options, error):
  """Returns the error message for options that an environment rejects."""
  listed = inspect.signature(factory).parameters if factory else {}
  takes, unknown = set(listed), sorted(set(options) - set(listed))
  is_open = any(
    x.kind in (x.VAR_POSITIONAL, x.VAR_KEYWORD) for x in listed.values()
  )
  if not factory or is_open or not unknown:
    return f"options: {env_id} does not take {sorted(options)}: {error}"
  if "game" in takes and {"env", "env_id"} & {*unknown}:
    takes = {"game"}
  return (
    f"options: {env_id} does not take {unknown}, but {sorted(takes) or 'none'}."
  )


def _make_for_gymnax(env_id: str, **options: Any) -> for_gymnax.ForGymnax:
  """Makes an environment of the registry for gymnax's clients."""
  return for_gymnax.ForGymnax(_make(env_id, **options))


def _make_flat(env_id: str, **options: Any) -> for_gymnax.ForGymnax:
  """Makes a flat environment of the registry for gymnax's clients."""
  # Not at the top: wrappers import environments.
  from jaxseq.rl import wrappers

  return for_gymnax.ForGymnax(wrappers.FlattenHistory(_make(env_id, **options)))


def _make(env_id: str, **options: Any) -> protocol.Env:
  """Makes an environment of the registry."""
  return ENVIRONMENTS[env_id](**{**_OPTIONS.get(env_id, {}), **options})


def _make_of_gymnax(env_id, options):
  """Makes an environment that only gymnax knows."""
  # Not at the top: the import of gymnax puts arrays on a device.
  import gymnax

  if env_id not in gymnax.registered_envs:
    ids = list(dict.fromkeys([*names(), *gymnax.registered_envs]))
    close = difflib.get_close_matches(str(env_id), ids, n=1)
    if close:
      raise ValueError(
        f"env_id: got {env_id!r}, did you mean {close[0]}? envs.names() and"
        " gymnax.registered_envs are all ids."
      )
    listed = [name for name in ids if not name.endswith("-Atari")]
    raise ValueError(
      f"env_id: got {env_id!r}, expected one of {', '.join(listed)} or a"
      " game of Atari, such as Pong-Atari."
    )
  try:
    return gymnax.make(env_id, **options)
  except TypeError as error:
    factory = type(gymnax.make(env_id)[0])
    raise ValueError(_not_taken(env_id, factory, options, error)) from error
