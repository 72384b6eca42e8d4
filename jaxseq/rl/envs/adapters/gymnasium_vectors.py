"""Gymnasium's environments, such as "gymnasium/CartPole-v1", on the host.

All environments of a batch are one `gymnasium.vector.VectorEnv`, and each
step of compiled code is one call to it. Its state is on the host: the arrays
hold only a ticket for it. So copies of a state are not two games, states of a
batch stay together and in their order, and a run that resumes from a checkpoint
continues with fresh episodes.

Towers et al., "Gymnasium", arXiv:2407.17032.
"""

import collections
import dataclasses
import functools
import itertools
from typing import Any

from absl import logging
from flax import struct
import jax
from jax.experimental import io_callback
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import base
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

# Limit on open vectors; the least recently used one is closed.
_MOST = 16


@struct.dataclass
class Params(base.EnvParams):
  """Parameters of `Vector`, with the time limit.

  Attributes, beside those of `base.EnvParams`:
    waits: () bool, whether a step does not change the environment; its
      result is then meaningless.
  """

  waits: bool | jax.Array = False


@struct.dataclass
class State:
  """State of `Vector`.

  Attributes:
    ticket: () int32, index of the vector on the host.
  """

  ticket: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Vector(base.Jitted):
  """Environments of one id, as one vector on the host.

  Attributes:
    env_id: Gymnasium's id.
    options: pairs of names and values for the environment.
    observations: the space of observations.
    actions: the space of actions.
    time_limit: Gymnasium's, which it applies itself; 2**30 without a limit.
  """

  env_id: str
  options: tuple[tuple[str, Any], ...]
  observations: spaces.Space
  actions: spaces.Space
  time_limit: int

  @property
  def default_params(self) -> Params:
    """Parameters with the time limit."""
    return Params(max_steps_in_episode=self.time_limit)

  def check_params(self, params: PyTree) -> None:
    """Raises a ValueError if parameters have another time limit."""
    if not isinstance(params, Params):
      return  # Of a wrapper, which has its own limit.
    limit = params.max_steps_in_episode
    if limit != self.time_limit:
      option = "max_episode_steps among env_options sets another one"
      expected = f"{self.time_limit}, which Gymnasium keeps: {option}"
      raise validate.error("env_params: max_steps_in_episode", limit, expected)

  @property
  def name(self) -> str:
    """Gymnasium's id."""
    return self.env_id

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The space of observations."""
    return self.observations

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """The space of actions."""
    return self.actions

  def _reset(self, key, params):
    seed = jax.random.bits(key, (), jnp.uint32)
    observation, ticket = self._begin(seed)
    return observation, State(ticket)

  def _step(self, key, state, action, params):
    spaces.check("action", self.actions, action)
    waits = jnp.asarray(params.waits, bool)
    played = self._play(state.ticket, action, waits)
    observation, ticket, final, *outcome = played
    return base.outcome(observation, State(ticket), *outcome, final)

  @functools.cached_property
  def _begin(self):
    """Maps seeds (...) to first observations and tickets (...)."""
    hosted = self._hosted
    return _of_batches(
      lambda seed: io_callback(
        hosted.begin, (self._shown(seed.shape), _ints(seed.shape)), seed
      )
    )

  @functools.cached_property
  def _play(self):
    """Maps tickets, actions and waits (...) to the results of a step."""
    hosted = self._hosted

    def play(ticket, action, waits):
      shape = ticket.shape
      shown, flags = self._shown(shape), jax.ShapeDtypeStruct(shape, bool)
      reward = jax.ShapeDtypeStruct(shape, np.float32)
      # The ticket is also a result, so that one step waits for the other.
      results = shown, _ints(shape), shown, reward, flags, flags
      return io_callback(hosted.play, results, ticket, action, waits)

    return _of_batches(play)

  @functools.cached_property
  def _hosted(self):
    return _Hosted(self)

  def _shown(self, shape):
    """Returns shapes of observations, with leading axes."""
    one = jax.eval_shape(lambda: spaces.zeros(self.observations))
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((*shape, *x.shape), x.dtype), one
    )


class _Hosted:
  """The vectors of an environment on the host, by ticket."""

  def __init__(self, env: Vector):
    self._env = env
    self._tickets = itertools.count(1)
    self._vectors = collections.OrderedDict()

  def begin(self, seeds):
    """Opens a vector with one environment per seed."""
    seeds = np.asarray(seeds)
    ticket = next(self._tickets)
    shown = self._open(ticket, np.ravel(seeds).tolist())
    return self._arrays(shown, seeds.shape), np.full(
      seeds.shape, ticket, np.int32
    )

  def play(self, tickets, actions, waits):
    """Plays a step in all environments of a vector except waiting ones."""
    tickets, actions = np.asarray(tickets), np.asarray(actions)
    shape, count = tickets.shape, tickets.size
    ticket = int(tickets.flat[0])
    if not (tickets == ticket).all():
      raise ValueError(
        "state: got parts of several batches, expected one batch"
      )
    if ticket not in self._vectors:
      logging.warning(
        "%s: the environments of this state no longer exist; fresh ones "
        "replace them",
        self._env.env_id,
      )
      self._open(ticket, list(range(count)))
    self._vectors.move_to_end(ticket)
    vector = self._vectors[ticket]
    if vector.num_envs != count:
      raise ValueError(
        f"state: got {count} members of a batch of {vector.num_envs}, expected"
        " all of them"
      )
    # Several choices have one axis here, but may have more in Gymnasium.
    actions = actions.reshape(count, *vector.single_action_space.shape)
    for one, one_waits in zip(vector.envs, np.ravel(waits)):
      one.waits = bool(one_waits)
    shown, reward, terminated, truncated, info = vector.step(actions)
    # A copy: the vector may overwrite its own array.
    final = jax.tree.map(np.array, shown)
    for i in np.flatnonzero(terminated | truncated):
      _put(final, int(i), info["final_obs"][i])
    return (
      self._arrays(shown, shape),
      tickets,
      self._arrays(final, shape),
      np.asarray(reward, np.float32).reshape(shape),
      np.asarray(terminated).reshape(shape),
      np.asarray(truncated).reshape(shape),
    )

  def _open(self, ticket, seeds):
    """Makes a vector, and returns its first observations."""
    gymnasium = _gymnasium()
    while len(self._vectors) >= _MOST:
      self._vectors.popitem(last=False)[1].close()
    vector = gymnasium.make_vec(
      self._env.env_id,
      num_envs=len(seeds),
      vectorization_mode="sync",
      vector_kwargs={
        "autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP
      },
      wrappers=[_waiting()],
      **dict(self._env.options),
    )
    self._vectors[ticket] = vector
    # Many environments of Gymnasium only accept seeds below 2**31.
    return vector.reset(seed=[seed % 2**31 for seed in seeds])[0]

  def _arrays(self, shown, shape):
    """Converts observations to arrays of the space, with leading axes."""
    return jax.tree.map(
      lambda x, like: np.array(x, like.dtype).reshape(like.shape),
      shown,
      self._env._shown(shape),
    )


def _put(tree, i, one):
  """Writes one observation to row i of a batch of observations."""
  for many, part in zip(
    jax.tree.leaves(tree), jax.tree.leaves(one), strict=True
  ):
    many[i] = part


def _ints(shape):
  return jax.ShapeDtypeStruct(shape, np.int32)


def _of_batches(function):
  """Wraps a function of batched arguments; `vmap` adds a leading axis."""
  function = jax.custom_batching.custom_vmap(function)

  @function.def_vmap
  def of_more(size, batched, *arguments):
    whole = [
      argument
      if is_batched
      else jnp.broadcast_to(argument, (size, *jnp.shape(argument)))
      for argument, is_batched in zip(arguments, batched)
    ]
    results = function(*whole)
    return results, jax.tree.map(lambda _: True, results)

  return function


@functools.cache
def _waiting():
  """Returns the class of an environment that can skip a step."""

  class Waiting(_gymnasium().Wrapper):
    waits = False

    def reset(self, **options):
      self._seen, info = self.env.reset(**options)
      return self._seen, info

    def step(self, action):
      if self.waits:
        return self._seen, 0.0, False, False, {}
      self._seen, *played = self.env.step(action)
      return self._seen, *played

  return Waiting


def _gymnasium():
  return foreign.needs("Gymnasium", "gymnasium", "gymnasium")


@functools.cache
def make(name: str, **options: Any) -> protocol.Env:
  """Returns an environment of Gymnasium.

  Args:
    name: an id that `gymnasium.make` knows.
    **options: of the environment.

  Raises:
    ValueError: there is no such environment, or one of its spaces is not
      supported.
    ModuleNotFoundError: Gymnasium, or a dependency of the environment, is not
      installed.
  """
  gymnasium = _gymnasium()
  try:
    env = gymnasium.make(name, **options)
  except gymnasium.error.DependencyNotInstalled as error:
    raise ModuleNotFoundError(f"gymnasium/{name}: {error}") from error
  except gymnasium.error.Error as error:
    raise ValueError(f"env_id: got 'gymnasium/{name}': {error}") from error
  spec = env.spec
  limit = spec.max_episode_steps if spec is not None else None
  seen, decided = env.observation_space, env.action_space
  env.close()
  return Vector(
    name,
    tuple(options.items()),
    foreign.convert(seen),
    foreign.convert(decided),
    limit or 2**30,
  )
