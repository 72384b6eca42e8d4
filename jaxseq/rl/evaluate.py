"""Evaluation of a trained policy: returns of whole episodes, and recordings."""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.rl import algorithms
from jaxseq.rl import mixtures
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.training.devices import device_mesh

Array = jax.Array


class _Progress(NamedTuple):
  """What is known of each episode so far."""

  world: rollout.World
  key: Array
  episode_return: Array
  episode_length: Array
  trial_returns: Array
  complete: Array
  time: Array


@functools.partial(
  jax.jit, static_argnums=0, static_argnames=("num_episodes", "greedy", "limit")
)
def evaluate(
  config: algorithms.Config,
  variables: PyTree,
  key: Array,
  *,
  num_episodes: int = 128,
  greedy: bool = False,
  limit: int | None = None,
) -> dict[str, Array]:
  """Plays one whole episode in each of `num_episodes` fresh environments.

  Only the first episode of each environment counts. Counting all episodes
  that end within a given number of steps would favour the short ones.

  Args:
    config: the configuration the policy was trained with.
    variables: the network's variables.
    key: random key.
    num_episodes: how many episodes.
    greedy: whether to take the most probable action instead of sampling.
    limit: steps after which to stop waiting; the environment's own time limit
      if None.

  Returns:
    `episode_return` float32, `episode_length` int32 and `complete` bool, all
    (num_episodes,), and the scalar `mean_return` over the complete episodes,
    NaN if there are none. The numbers of an incomplete episode are those up to
    the limit. If episodes consist of trials, also `trial_returns` float32
    (num_episodes, num_trials), and `mean_trial_returns` (num_trials,) over the
    complete episodes: how an agent gets better within an episode.
  """
  player = algorithms.of(config).player(config)
  if limit is None:
    limit = player.env_params.max_steps_in_episode
  key_start, key_play = jax.random.split(key)
  num_trials = getattr(player.env, "num_trials", 0)

  def step(loop_state: _Progress) -> _Progress:
    key_next, key_step = jax.random.split(loop_state.key)
    world, taken = rollout.step(
      player, variables, loop_state.world, key_step, greedy=greedy
    )
    counts = ~loop_state.complete
    trial_returns = loop_state.trial_returns
    if num_trials:
      played = taken.trial[:, None] == jnp.arange(num_trials)
      reward = (counts * taken.reward)[:, None]
      trial_returns = trial_returns + jnp.where(played, reward, 0)
    return _Progress(
      world=world,
      key=key_next,
      episode_return=loop_state.episode_return + counts * taken.reward,
      episode_length=loop_state.episode_length + counts,
      trial_returns=trial_returns,
      complete=loop_state.complete | taken.terminated | taken.truncated,
      time=loop_state.time + 1,
    )

  start = rollout.start(player, key_start, num_episodes)
  end = jax.lax.while_loop(
    lambda loop_state: (loop_state.time < limit) & ~loop_state.complete.all(),
    step,
    _Progress(
      world=device_mesh.spread_evenly(start),
      key=key_play,
      episode_return=jnp.zeros((num_episodes,), jnp.float32),
      episode_length=jnp.zeros((num_episodes,), jnp.int32),
      trial_returns=jnp.zeros((num_episodes, num_trials), jnp.float32),
      complete=jnp.zeros((num_episodes,), bool),
      time=jnp.zeros((), jnp.int32),
    ),
  )
  result = {
    "episode_return": end.episode_return,
    "episode_length": end.episode_length,
    "complete": end.complete,
    "mean_return": end.episode_return.mean(where=end.complete),
  }
  if num_trials:
    result["trial_returns"] = end.trial_returns
    counts = end.complete[:, None]
    result["mean_trial_returns"] = end.trial_returns.mean(axis=0, where=counts)
  return result


def members(config: algorithms.Config) -> tuple[rollout.Player, ...]:
  """Returns a player for each environment of a mixture, in its order.

  Args:
    config: the configuration. If its environment is no mixture, there is one
      player.
  """
  player = algorithms.of(config).player(config)
  if not isinstance(player.env, mixtures.Mixture):
    return (player,)
  env, env_params, network = player
  with jax.ensure_compile_time_eval():
    parts = [env.member(i, env_params) for i in range(len(env.envs))]
  return tuple(rollout.Player(*part, network) for part in parts)


@functools.partial(
  jax.jit, static_argnums=(0, 3), static_argnames=("greedy", "member")
)
def record(
  config: algorithms.Config,
  variables: PyTree,
  key: Array,
  num_steps: int,
  *,
  greedy: bool = False,
  member: int = 0,
) -> tuple[rollout.Transition, Any]:
  """Plays `num_steps` steps of one environment from its start.

  Args:
    config: the configuration the policy was trained with.
    variables: the network's variables.
    key: random key.
    num_steps: steps to play, over as many episodes as they hold.
    greedy: whether to take the most probable action instead of sampling.
    member: which environment of a mixture.

  Returns:
    The transitions, and, of which the agent sees only a part, the states before
    each step of the environment inside all wrappers; both have a leading axis
    (num_steps,).
  """
  player = members(config)[member]
  key_start, key_play = jax.random.split(key)

  def step(world, key):
    after, taken = rollout.step(player, variables, world, key, greedy=greedy)
    return after, (taken, wrappers.innermost_state(world.env_state))

  world = rollout.start(player, key_start, 1)
  keys = jax.random.split(key_play, num_steps)
  _, played = jax.lax.scan(step, world, keys)
  return jax.tree.map(lambda x: x[:, 0], played)
