"""Several environments side by side in one batch."""

from collections.abc import Callable
import dataclasses
import math

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import base
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


@struct.dataclass
class Params:
  """Parameters of a mixture.

  Attributes:
    envs: parameters of each environment.
    max_steps_in_episode: the greatest of their time limits. A lower one
      truncates the episodes of all.
  """

  envs: tuple[protocol.Env, ...]
  max_steps_in_episode: int


@dataclasses.dataclass(frozen=True)
class Mixture(base.Jitted):
  """A batch of several environments, each in its own block.

  `reset` and `step` work on a whole batch: they take (num_envs,) keys, and
  take and return the same arrays as `jax.vmap` of a single environment, leading
  axis num_envs; but the state is a tuple of the blocks' states, leading axis
  num_envs / len(envs), and `info` has the entries that all environments report
  in the same shape. They raise a ValueError if the batch cannot be cut into
  equal blocks.

  The batch is cut into as many equal blocks as there are environments, in their
  order, so that each step costs as much as its environment; under `vmap`,
  choosing the environment by an index would compute all of them for every
  member.

  Attributes:
    envs: the environments, with the interface of gymnax; their observations
      have one shape, and their actions one space.
  """

  envs: tuple[protocol.Env, ...]

  def __post_init__(self):
    if not self.envs:
      raise validate.error("envs", self.envs, "1 or more environments")
    for name in ("observation_space", "action_space"):
      listed = [getattr(env, name)(env.default_params) for env in self.envs]
      if len({spaces.signature(space) for space in listed}) > 1:
        raise validate.error(f"{name} of envs", listed, "one for all")

  @property
  def default_params(self) -> Params:
    """The parameters of the environments."""
    params = tuple(env.default_params for env in self.envs)
    longest = max(int(part.max_steps_in_episode) for part in params)
    return Params(envs=params, max_steps_in_episode=longest)

  @property
  def num_steps(self) -> float:
    """The maximum number of steps of an episode; infinity if unknown."""
    return max(getattr(env, "num_steps", math.inf) for env in self.envs)

  @property
  def num_trials(self) -> int:
    """Trials in an episode; 0 without trials, or if their numbers differ."""
    counts = {getattr(env, "num_trials", 0) for env in self.envs}
    return counts.pop() if len(counts) == 1 else 0

  def observation_space(self, params: Params | None = None) -> spaces.Space:
    """The first environment's observations, without the batch axis."""
    return self.envs[0].observation_space(self._or_default(params).envs[0])

  def shown_space(self, params: Params | None = None) -> spaces.Space:
    """The first environment's own observations, without the batch axis."""
    return self.envs[0].shown_space(self._or_default(params).envs[0])

  def action_space(self, params: Params | None = None) -> spaces.Space:
    """The first environment's actions, without the batch axis."""
    return self.envs[0].action_space(self._or_default(params).envs[0])

  def member(self, index: int, params: Params) -> tuple[PyTree, PyTree]:
    """Returns one of the environments, and its parameters.

    Args:
      index: index of the environment.
      params: parameters of the mixture.
    """
    env_params, limit = params.envs[index], params.max_steps_in_episode
    limit = jnp.minimum(env_params.max_steps_in_episode, limit)
    return self.envs[index], env_params.replace(max_steps_in_episode=limit)

  def members(self, num_envs: int) -> np.ndarray:
    """Returns the environment index of each member of a batch.

    Args:
      num_envs: members of the batch.

    Returns:
      (num_envs,) int, indices into `envs`.

    Raises:
      ValueError: if the batch cannot be cut into equal blocks.
    """
    count = len(self.envs)
    if num_envs < 1 or num_envs % count:
      why = "each environment of the mixture has a block of one size"
      expected = f"a multiple of {count}: {why}"
      raise validate.error("num_envs", num_envs, expected)
    return np.repeat(np.arange(count), num_envs // count)

  def _reset(self, keys, params):
    started = [
      jax.vmap(env.reset, in_axes=(0, None))(part, limited)
      for (env, limited), part in zip(self._each(params), self._cut(keys))
    ]
    observations, states = zip(*started)
    return _join(observations), states

  def _step(self, keys, state, action, params):
    stepped = [
      jax.vmap(env.step, in_axes=(0, 0, 0, None))(*current, limited)
      for (env, limited), *current in zip(
        self._each(params), self._cut(keys), state, self._cut(action)
      )
    ]
    observations, states, rewards, terminated, truncated, infos = zip(*stepped)
    if any("forget" in info for info in infos):
      # Environments that keep memories do not report it.
      kept = [{"forget": jnp.zeros_like(ended)} for ended in terminated]
      infos = [k | info for k, info in zip(kept, infos)]
    # The values of each environment, by name.
    reported = {name: [info.get(name) for info in infos] for name in infos[0]}
    return (
      _join(observations),
      states,
      *map(_join, (rewards, terminated, truncated)),
      {
        n: _join(each)
        for n, each in reported.items()
        if len(set(map(_shape, each))) == 1
      },
    )

  def _each(self, params):
    """Returns the environments and their parameters."""
    return [self.member(i, params) for i in range(len(self.envs))]

  def _cut(self, batch):
    """Splits a batch into blocks."""
    member = self.members(jax.tree.leaves(batch)[0].shape[0])
    size, count = member.size // len(self.envs), len(self.envs)
    return [
      jax.tree.map(lambda x, i=i: x[i * size : (i + 1) * size], batch)
      for i in range(count)
    ]


def wrap(
  env: protocol.Env, wrapper: Callable[[protocol.Env], protocol.Env]
) -> protocol.Env:
  """Wraps an environment, or each environment of a mixture."""
  if isinstance(env, Mixture):
    return Mixture(tuple(wrap(each, wrapper) for each in env.envs))
  return wrapper(env)


def batched(env: protocol.Env) -> tuple[Callable, Callable]:
  """Returns `reset` and `step` of a whole batch; a mixture has its own.

  For a game of several agents, see `envs.teams`, they take keys and states of
  games, and actions of agents: one row per agent, those of a game side by side.
  All other results have one row per agent, too.
  """
  if isinstance(env, Mixture):
    return env.reset, env.step
  reset = jax.vmap(env.reset, in_axes=(0, None))
  step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
  if not hasattr(env, "num_agents"):
    return reset, step
  return _of_agents(reset, step, env.num_agents)


def _of_agents(reset, step, num_agents):
  """Returns `reset` and `step` of games, with a row for each agent."""

  def cut(rows):
    return jax.tree.map(lambda x: x.reshape(-1, num_agents, *x.shape[1:]), rows)

  def join(agents):
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), agents)

  def repeat(games):
    return jax.tree.map(lambda x: jnp.repeat(x, num_agents, axis=0), games)

  def reset_rows(keys, params):
    observation, state = reset(keys, params)
    return join(observation), state

  def step_rows(keys, state, action, params):
    observation, state, _, terminated, truncated, info = step(
      keys, state, cut(action), params
    )
    final, reward = (
      join(info.pop(n)) for n in ("final_observation", "rewards")
    )
    return (
      join(observation),
      state,
      reward,
      *repeat((terminated, truncated)),
      {**repeat(info), "final_observation": final},
    )

  return reset_rows, step_rows


def _join(blocks):
  return jax.tree.map(lambda *parts: jnp.concatenate(parts), *blocks)


def _shape(tree):
  """Returns structure, dtypes and shapes without the batch axis, as a key."""
  leaves, structure = jax.tree.flatten(tree)
  return structure, tuple((x.shape[1:], x.dtype) for x in leaves)
