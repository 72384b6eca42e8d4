"""The base of all environments here: gymnax's interface, cheap auto-reset."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import functools
import types
from typing import ClassVar

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


@struct.dataclass
class EnvState:
  """State of an environment.

  Attributes:
    time: () int32, number of steps played.
  """

  time: jax.Array


@struct.dataclass
class EnvParams:
  """Parameters of an environment.

  Attributes:
    max_steps_in_episode: steps after which an episode is truncated.
  """

  max_steps_in_episode: int | jax.Array = 1


def select(flag: jax.Array, new: PyTree, old: PyTree) -> PyTree:
  """Selects one of two trees of arrays of the same shapes, by a () bool."""
  return jax.tree.map(lambda n, o: jnp.where(flag, n, o), new, old)


def outcome(
  observation: PyTree,
  state: PyTree,
  reward: jax.Array,
  terminated: jax.Array,
  truncated: jax.Array,
  final_observation: PyTree,
  info: Mapping[str, PyTree] = types.MappingProxyType({}),
) -> protocol.Step:
  """Builds the result of `Jitted.step`; `info` holds further entries."""
  reported = {
    **info,
    "terminated": terminated,
    "truncated": truncated,
    "final_observation": final_observation,
  }
  return observation, state, reward, terminated, truncated, reported


class Jitted:
  """`reset` and `step` of gymnax 1.0, compiled.

  A subclass is hashable and has `default_params` and the functions `_reset` and
  `_step`, which take the same arguments and always receive parameters.
  """

  @functools.partial(jax.jit, static_argnames=("self",))
  def reset(
    self, key: jax.Array, params: EnvParams | None = None
  ) -> tuple[PyTree, PyTree]:
    """Starts an episode.

    Args:
      key: random key.
      params: the environment's parameters; the default ones if None.

    Returns:
      The first observation and the state.
    """
    return self._reset(key, self._or_default(params))

  @functools.partial(jax.jit, static_argnames=("self",))
  def step(
    self,
    key: jax.Array,
    state: PyTree,
    action: jax.Array,
    params: EnvParams | None = None,
  ) -> protocol.Step:
    """Plays one step, and starts the next episode if this one has ended.

    Args:
      key: random key.
      state: the state before the step.
      action: an element of the action space.
      params: the environment's parameters; the default ones if None.

    Returns:
      The observation and the state (of the next episode if this one has
      ended), the () float32 reward, whether the episode has terminated and
      whether the time limit has truncated it (() bool; both may hold), and a
      dictionary with `terminated`, `truncated` and `final_observation`, the
      observation after the step, before any reset, and further entries
      of the environment.

    Raises:
      ValueError: if the action has the wrong shape or kind of number.
    """
    return self._step(key, state, action, self._or_default(params))

  def state_space(self, params: EnvParams | None = None) -> spaces.Dict:
    """The space of states: any numbers of the shapes and dtypes of its arrays.

    Each array has a box, by its path.
    """
    params = self._or_default(params)
    key = jax.eval_shape(lambda: jax.random.key(0))
    _, state = jax.eval_shape(self._reset, key, params)
    pairs = jax.tree_util.tree_leaves_with_path(state)
    keystr = jax.tree_util.keystr
    return spaces.Dict(
      {
        keystr(path, simple=True, separator="/"): spaces.unbounded(leaf)
        for path, leaf in pairs
      }
    )

  def _or_default(self, params):
    return self.default_params if params is None else params


class Environment(Jitted):
  """An environment with the interface of gymnax 1.0.

  It draws random words once per step.

  gymnax's own `step` splits its key and computes a whole reset at every step,
  so that every step pays for the generator several times and for an expensive
  reset. Here `step` makes a single call to the generator, for the words of
  the step and of a possible reset together, and environments are written so
  that a reset is as cheap as a step. Callers see no difference.

  A subclass is a frozen dataclass, hence hashable by value and static under
  `jit`: two equal environments share one compilation. It defines
  `start`, `advance`, `observe`, `max_steps` or `default_params`,
  `is_terminated` if an episode can end by itself, and the spaces, as two
  attributes or two methods; its state has a field `time`, the () int32 number
  of steps played.

  `randomness` turns random words into numbers: `randomness.uniform(words[0])`.

  Attributes:
    actions: the space of actions.
    observations: the space of observations.
    step_words: uint32 random words that `advance` consumes. For an index beyond
      them JAX reads the last word, without an error.
    reset_words: uint32 random words that `start` consumes; indices beyond them
      are no errors either.
    max_steps: the time limit of `default_params`.
  """

  actions: ClassVar[spaces.Space]
  observations: ClassVar[spaces.Space]
  step_words: ClassVar[int] = 0
  reset_words: ClassVar[int] = 0
  max_steps: ClassVar[int] = 1

  @property
  def default_params(self) -> PyTree:
    """The default parameters of `step` and `reset`."""
    return EnvParams(max_steps_in_episode=self.max_steps)

  @property
  def name(self) -> str:
    """The name of the environment."""
    return type(self).__name__

  def observation_space(self, params: EnvParams | None = None) -> spaces.Space:
    """The space of observations."""
    return self.observations

  def action_space(self, params: EnvParams | None = None) -> spaces.Space:
    """The space of actions."""
    return self.actions

  def is_terminated(self, state: PyTree, params: EnvParams) -> jax.Array:
    """Returns whether the episode has ended by itself, () bool; False here."""
    return jnp.zeros_like(state.time, bool)

  def is_truncated(self, state: PyTree, params: EnvParams) -> jax.Array:
    """Returns whether the time limit truncates the episode, () bool."""
    return state.time >= params.max_steps_in_episode

  def start(self, words: jax.Array, params: EnvParams) -> PyTree:
    """Returns the first state of an episode, from (reset_words,) uint32."""
    raise NotImplementedError

  def restart(
    self, words: jax.Array, state: PyTree, params: EnvParams
  ) -> PyTree:
    """Returns the first state of the episode after that of `state`."""
    return self.start(words, params)

  def advance(
    self, words: jax.Array, state: PyTree, action: jax.Array, params: EnvParams
  ) -> tuple[PyTree, jax.Array]:
    """Plays one step, without time limit and reset.

    Args:
      words: (step_words,) uint32.
      state: the state before the step.
      action: an element of the action space.
      params: the environment's parameters.

    Returns:
      The state after the step and the () float32 reward.
    """
    raise NotImplementedError

  def observe(self, state: PyTree, params: EnvParams) -> PyTree:
    """Returns the observation of a state, an element of its space."""
    raise NotImplementedError

  def _reset(self, key, params):
    with self._needs("reset_words"):
      state = self.start(_words(key, self.reset_words), params)
    return self.observe(state, params), state

  def _step(self, key, state, action, params):
    words = _words(key, self.step_words + self.reset_words)
    drawn, reset_words = words[: self.step_words], words[self.step_words :]
    with self._needs("step_words"):
      final, stepped, reward = self._advance(drawn, state, action, params)
    terminated = self.is_terminated(stepped, params)
    dtype = jnp.result_type(terminated)
    if dtype != np.dtype(bool):
      name = f"is_terminated of {self.name}"
      raise validate.error(name, f"dtype {dtype}", "bool")
    truncated = self.is_truncated(stepped, params)
    done = terminated | truncated
    with self._needs("reset_words"):
      fresh = self.restart(reset_words, stepped, params)
    restarted, played = (self.observe(fresh, params), fresh), (final, stepped)
    after = select(done, restarted, played)
    return outcome(*after, reward, terminated, truncated, final)

  def step_env(
    self, key: jax.Array, state: PyTree, action: jax.Array, params: EnvParams
  ) -> tuple[PyTree, PyTree, jax.Array, jax.Array, dict[str, PyTree]]:
    """Plays one step without time limit and reset, under gymnax's name."""
    words = _words(key, self.step_words)
    with self._needs("step_words"):
      observation, state, reward = self._advance(words, state, action, params)
    return observation, state, reward, self.is_terminated(state, params), {}

  def reset_env(
    self, key: jax.Array, params: EnvParams
  ) -> tuple[PyTree, PyTree]:
    """Starts an episode, under gymnax's name."""
    return self._reset(key, params)

  @contextlib.contextmanager
  def _needs(self, name: str) -> Iterator[None]:
    """Names the attribute that is 0 if a random word is read nevertheless."""
    try:
      yield
    except IndexError as error:
      if getattr(self, name) or "size 0" not in str(error):
        raise
      expected = "the number of random words that are read"
      text = f"{validate.error(f'{name} of {self.name}', 0, expected)}"
      raise ValueError(f"{text} Set {name} = 1, or more ({error}).") from error

  @property
  def num_actions(self) -> int:
    """Number of actions of an environment with a `Discrete` action space.

    Raises:
      ValueError: the action space is not Discrete.
    """
    space = self.action_space()
    if not isinstance(space, spaces.Discrete):
      raise validate.error(
        f"num_actions of {self.name}", space, "a Discrete action space"
      )
    return space.n

  def _check_action(self, action, params):
    """Checks the shape of an action, or of the actions of all agents."""
    space, count = self.action_space(params), getattr(self, "num_agents", None)
    if count is None:
      return spaces.check("action", space, action)
    if jnp.shape(action)[:1] != (count,):
      expected = f"an action of each of {count} agents"
      raise validate.error("action", f"shape {jnp.shape(action)}", expected)
    return spaces.check("action of an agent", space, action[0])

  def _advance(self, words, state, action, params):
    self._check_action(action, params)
    state, reward = self.advance(words, state, action, params)
    # As in gymnax, gradients do not flow through the dynamics.
    state = jax.lax.stop_gradient(state)
    return self.observe(state, params), state, reward


def _words(key: jax.Array, count: int) -> jax.Array:
  if not count:
    return jnp.zeros((0,), jnp.uint32)
  return jax.random.bits(key, (count,), jnp.uint32)
