"""gymnax's own tests, those that fit once for every game of POPGym here.

A plugin of pytest for `make test-gymnax GYMNAX_TESTS=DIR`, where DIR is the
folder `tests` of gymnax's source, unpacked. The files that are listed below are
run on gymnax as it is; the others are about single environments of gymnax and
their pictures. The tests listed name one environment and hold for any: they are
run on each of our games in its place, too. Where a test runs on every
environment that gymnax knows, the games are among them.
"""

import os
import pathlib

import gymnax
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import spaces

_FILES = (
  "test_differentiability.py",
  "test_registration.py",
  "test_reproduction_matrix.py",
  "test_spaces.py",
  "test_terminal_states.py",
  # What archives of the repository have beside these.
  "misc/test_misc_env.py",
  "wrappers/test_brax.py",
  "wrappers/test_dm_env.py",
  "wrappers/test_evaluator.py",
  "wrappers/test_gym.py",
  "wrappers/test_purerl.py",
)

# What a test takes for granted of its environment, beside what all have:
# "box": observations in a box, for which games are made with "-Flat";
# "choice": one choice as action; "choice of three": with at least so many.
_FITTING = {
  # tests/test_terminal_states.py
  "test_time_limit_returns_distinct_terminal_flags": (),
  "test_terminal_metadata_has_stable_jit_and_vmap_structure": (),
  "test_legacy_wrapper_restores_five_value_step_api": (),
  # tests/test_differentiability.py
  "test_transition_gradient_capability_is_read_only": (),
  # tests/misc
  "test_step": (),
  "test_reset": (),
  # tests/wrappers
  "test_gym_wrapper": (),
  "test_gym_vector_wrapper": ("box", "choice"),
  "test_dmenv_wrapper": (),
  "test_log_wrapper_reset_and_step_share_jit_state_dtypes": (),
  "test_log_wrapper_batches_return_validity_with_vmap": ("choice",),
  "test_flatten_observation_wrapper_flattens_terminal_observation": ("box",),
  "test_sticky_action_wrapper_explicit_reset_reinitializes_last_action": (
    "choice of three",
  ),
  "test_sticky_action_wrapper_supports_jit_and_vmap": ("choice of three",),
}


def _folder() -> pathlib.Path:
  return pathlib.Path(os.environ.get("GYMNAX_TESTS", "")).resolve()


def pytest_ignore_collect(collection_path, config):
  del config
  inside = collection_path.is_relative_to(_folder())
  if not inside or not collection_path.match("test_*.py"):
    return None
  name = collection_path.relative_to(_folder()).as_posix()
  return name not in _FILES or None


def pytest_configure(config):
  del config
  folder = _folder()
  if not (folder / "test_terminal_states.py").is_file():
    raise pytest.UsageError(
      "GYMNAX_TESTS: expected the folder `tests` of gymnax's unpacked source"
    )
  envs.register_with_gymnax()
  # What is listed while tests are collected is what some of them run on.
  gymnax.registered_envs[:] = [*_built_in(), *envs.POPGYM]


def pytest_collection_finish(session):
  del session
  # A test is about the list as gymnax ships it.
  gymnax.registered_envs[:] = _built_in()


def pytest_generate_tests(metafunc):
  needs = _FITTING.get(metafunc.function.__name__)
  if needs is None:
    return
  flat = "-Flat" if "box" in needs else ""
  games = [game + flat for game in envs.POPGYM if _fits(game, needs)]
  metafunc.fixturenames.append("environment")
  metafunc.parametrize("environment", ["gymnax's", *games], indirect=True)


@pytest.fixture
def environment(request, monkeypatch):
  """Makes `gymnax.make` answer with a game, whatever it is asked for."""
  if request.param != "gymnax's":
    make = gymnax.make
    monkeypatch.setattr(gymnax, "make", lambda env_id: make(request.param))


def _built_in() -> list[str]:
  return list(gymnax.registration._BUILTIN_ENV_IDS)


def _fits(game: str, needs: tuple[str, ...]) -> bool:
  """Whether the actions of a game are what a test needs."""
  space = envs.make(game)[0].action_space()
  options = space.n if isinstance(space, spaces.Discrete) else 0
  least = {"choice": 1, "choice of three": 3}
  return options >= max(least.get(need, 0) for need in (*needs, ""))
