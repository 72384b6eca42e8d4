"""The base of adapters for other libraries, with auto-reset."""

from collections.abc import Callable
import dataclasses
import importlib
import math
from typing import Any
from typing import NamedTuple

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces
from jaxseq.training import batching
from jaxseq.types import PyTree

# Above any number of keys that a key is split into.
_OF_STEPS = 2**32 - 1


@struct.dataclass
class State(base.EnvState):
  """State of `Foreign`.

  Attributes, beside those of `base.EnvState`:
    task_state: the library's state.
  """

  task_state: PyTree


class Played(NamedTuple):
  """The outcome of a step of the library.

  Attributes:
    observation: an element of the observation space.
    task_state: the library's state.
    reward: ().
    terminated: () bool, whether the episode has ended by itself.
  """

  observation: PyTree
  task_state: PyTree
  reward: jax.Array
  terminated: jax.Array


Begin = Callable[[jax.Array], tuple[PyTree, PyTree]]
Play = Callable[[jax.Array, PyTree, PyTree], Played]


@dataclasses.dataclass(frozen=True, eq=False)
class Foreign(base.Environment):
  """An environment of another library, from two functions and its spaces.

  It resets itself, and applies the time limit, which sets `truncated`. A
  reset is computed only at steps at which some member of the batch needs one.

  Attributes:
    title: the library's name of it.
    observations: the space of observations.
    actions: the space of actions.
    limit: the time limit.
    begin: maps a key to the first observation and the library's state.
    play: maps a key, a state and an action to the outcome of a step, without
      time limit and reset.
  """

  title: str
  observations: spaces.Space
  actions: spaces.Space
  limit: int
  begin: Begin
  play: Play

  @property
  def name(self) -> str:
    """The library's name of it."""
    return self.title

  @property
  def max_steps(self) -> int:
    """The time limit."""
    return self.limit

  def _step(self, key, state, action, params):
    # The reset uses the key itself: steps of many libraries need no key. The
    # other key differs from all keys that a reset may split it into.
    stepped = jax.random.fold_in(key, _OF_STEPS)
    *played, reward, terminated, _ = self.step_env(
      stepped, state, action, params
    )
    truncated = self.is_truncated(played[1], params)
    done = terminated | truncated
    after = jax.lax.cond(
      batching.any_of_batch(done),
      lambda: base.select(done, [*self._reset(key, params)], played),
      lambda: played,
    )
    return base.outcome(*after, reward, terminated, truncated, played[0])

  def step_env(
    self, key: jax.Array, state: State, action: PyTree, params: PyTree
  ) -> tuple[PyTree, State, jax.Array, jax.Array, dict[str, PyTree]]:
    """Plays one step without time limit and reset, under gymnax's name."""
    self._check_action(action, params)
    played = self.play(key, state.task_state, action)
    # As in gymnax, gradients do not flow through the dynamics.
    observation, after = jax.lax.stop_gradient(
      (played.observation, State(state.time + 1, played.task_state))
    )
    reward = jnp.asarray(played.reward, jnp.float32)
    return observation, after, reward, jnp.asarray(played.terminated, bool), {}

  def _reset(self, key, params):
    observation, task_state = self.begin(key)
    return observation, State(jnp.int32(0), task_state)


def of_gymnax(
  env: Any, params: PyTree, view: Callable[[Any], Any] = lambda x: x
) -> tuple[Begin, Play]:
  """Returns the functions of an environment with gymnax's interface.

  Args:
    env: with `reset_env` and `step_env`.
    params: its parameters.
    view: maps its observations to those of the space.
  """

  def begin(key):
    observation, task_state = env.reset_env(key, params)
    return view(observation), task_state

  def play(key, task_state, action):
    observation, *played, _ = env.step_env(key, task_state, action, params)
    return Played(view(observation), *played)

  return begin, play


def of_states(
  reset: Callable[[jax.Array], Any],
  step: Callable[[Any, PyTree], Any],
  view: Callable[[Any], PyTree],
  ended: Callable[[Any], jax.Array],
) -> tuple[Begin, Play]:
  """Returns the functions of a library whose states hold all results.

  Args:
    reset: maps a key to a state, which holds its own key and the `reward`.
    step: maps a state and an action to a state.
    view: maps a state to the observation.
    ended: maps a state to whether the episode has ended by itself.
  """

  def begin(key):
    first = reset(key)
    return view(first), first

  def play(key, task_state, action):
    del key  # The state holds its own.
    after = step(task_state, action)
    return Played(view(after), after, after.reward, ended(after))

  return begin, play


def needs(library: str, module: str, install: str | None = None) -> Any:
  """Imports a module of a library.

  Args:
    library: name of the library.
    module: its module.
    install: argument of pip; the extra with the library's name if None.

  Raises:
    ModuleNotFoundError: the library, or a dependency, is not installed.
  """
  install = install or f"'jaxseq[{library.lower()}]'"
  try:
    # The package first: one of its modules may be imported already.
    importlib.import_module(module.partition(".")[0])
    return importlib.import_module(module)
  except ImportError as error:
    raise ModuleNotFoundError(
      f"environments of {library} need the package {error.name!r}, which is "
      f"not installed or too old: pip install {install}.",
      name=error.name,
    ) from error


def convert(space: object) -> spaces.Space:
  """Converts a space of another library to one of `envs.spaces`.

  The libraries' classes have the names and the attributes of Gymnasium's.

  Raises:
    ValueError: if it is of an unknown kind, or has choices that do not start
      at 0.
  """
  if np.any(getattr(space, "start", 0)):
    raise validate.error("space", space, "choices that begin with 0")
  match type(space).__name__:
    case "Discrete":
      return spaces.Discrete(int(space.n))
    case "MultiDiscrete":
      sizes = getattr(space, "nvec", getattr(space, "num_categories", None))
      return choices(np.asarray(sizes))
    case "MultiBinary":
      return choices(np.full(space.shape, 2))
    case "Box":
      dtype = np.dtype(space.dtype)
      low, high = np.asarray(space.low), np.asarray(space.high)
      if dtype.kind == "f":
        # Gymnasium uses the largest float for a missing bound.
        low = np.where(low <= np.finfo(np.float32).min, -math.inf, low)
        high = np.where(high >= np.finfo(np.float32).max, math.inf, high)
        dtype, low, high = (
          np.dtype(np.float32),
          np.float32(low),
          np.float32(high),
        )
      elif dtype in (np.int64, np.uint64):
        dtype = np.dtype(np.int32)
      return spaces.Box(low, high, tuple(space.shape), dtype)
    case "Tuple":
      return spaces.Tuple(tuple(map(convert, space.spaces)))
    case "Dict":
      return spaces.Dict({k: convert(x) for k, x in space.spaces.items()})
  expected = "Discrete, MultiDiscrete, MultiBinary, Box, Tuple or Dict"
  raise validate.error("space", space, expected)


def choices(sizes: np.ndarray) -> spaces.MultiDiscrete:
  """Returns the space of choices of these sizes, in one axis."""
  return spaces.MultiDiscrete([int(size) for size in np.ravel(sizes)])
