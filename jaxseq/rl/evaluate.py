"""Evaluation of a trained policy: returns of whole episodes, and recordings."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

from flax import errors
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import algorithms
from jaxseq.rl import mixtures
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.envs import teams
from jaxseq.training.devices import device_mesh
from jaxseq.types import PyTree

Array = jax.Array


class Episodes(NamedTuple):
  """The first episode of each environment, played so far.

  Attributes:
    state: state of the player and of the environments.
    key: random key.
    episode_return: (num_episodes,) float32, sums of rewards.
    episode_length: (num_episodes,) int32, steps.
    complete: (num_episodes,) bool, whether the episode is over.
    time: () int32, steps played in each environment.
  """

  state: PyTree
  key: Array
  episode_return: Array
  episode_length: Array
  complete: Array
  time: Array


def play(
  step: Callable[[Episodes, Array], tuple[PyTree, Array, Array]],
  state: PyTree,
  key: Array,
  num_episodes: int,
  limit: int | Array,
) -> Episodes:
  """Plays the first whole episode of each environment.

  Args:
    step: maps the episodes so far and a key to the state after a step in all
      environments, the rewards (num_episodes,), and whether episodes ended.
    state: before the first step.
    key: random key.
    num_episodes: number of environments.
    limit: maximum number of steps.

  Returns:
    The episodes; steps after their ends do not count.
  """

  def advance(played: Episodes) -> Episodes:
    key, key_step = jax.random.split(played.key)
    state, reward, ended = step(played, key_step)
    counts = ~played.complete
    return Episodes(
      state=state,
      key=key,
      episode_return=played.episode_return + jnp.where(counts, reward, 0),
      episode_length=played.episode_length + counts,
      complete=played.complete | ended,
      time=played.time + 1,
    )

  return jax.lax.while_loop(
    lambda played: (played.time < limit) & ~played.complete.all(),
    advance,
    Episodes(
      state=state,
      key=key,
      episode_return=jnp.zeros((num_episodes,), jnp.float32),
      episode_length=jnp.zeros((num_episodes,), jnp.int32),
      complete=jnp.zeros((num_episodes,), bool),
      time=jnp.zeros((), jnp.int32),
    ),
  )


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
  that end within a given number of steps would favor the short ones. The
  return of a game of several agents is the mean over its agents.

  Args:
    config: the configuration the policy was trained with.
    variables: the network's variables.
    key: random key.
    num_episodes: number of episodes.
    greedy: whether to take the most probable action instead of sampling.
    limit: maximum number of steps; the environment's own time limit
      if None.

  Returns:
    `episode_return` float32, `episode_length` int32 and `complete` bool, all
    (num_episodes,), and the scalar `mean_return` over the complete episodes,
    NaN if there are no complete ones. Incomplete episodes count up to the
    limit. If episodes consist of trials, also `trial_returns` float32
    (num_episodes, num_trials), and `mean_trial_returns` (num_trials,) over the
    complete episodes: how an agent improves within an episode.

  Raises:
    ValueError: the variables are not those of the configuration's network.
  """
  player = algorithms.of(config).player(config)
  if limit is None:
    limit = player.env_params.max_steps_in_episode
  key_start, key_play = jax.random.split(key)
  num_trials = getattr(player.env, "num_trials", 0)
  num_agents = getattr(player.env, "num_agents", 1)

  def step(played, key):
    world, trial_returns = played.state
    world, taken = rollout.step(player, variables, world, key, greedy=greedy)
    if num_trials:
      trial = taken.trial[:, None] == jnp.arange(num_trials)
      reward = jnp.where(played.complete, 0, taken.reward)[:, None]
      trial_returns = trial_returns + jnp.where(trial, reward, 0)
    reward = teams.team_mean(taken.reward, num_agents)
    ended = (taken.terminated | taken.truncated)[::num_agents]
    return (world, trial_returns), reward, ended

  world = device_mesh.spread_evenly(
    rollout.start(player, key_start, num_episodes, variables)
  )
  trial_returns = jnp.zeros((num_episodes, num_trials), jnp.float32)
  try:
    end = play(step, (world, trial_returns), key_play, num_episodes, limit)
  except errors.FlaxError as error:
    lacks = str(error).partition(". (http")[0]
    expected = f"those of the network, such as runner.variables: {lacks}"
    got = sorted(dict(variables))
    raise validate.error("variables", got, expected) from error
  result = {
    "episode_return": end.episode_return,
    "episode_length": end.episode_length,
    "complete": end.complete,
    "mean_return": end.episode_return.mean(where=end.complete),
  }
  if num_trials:
    _, result["trial_returns"] = end.state
    result["mean_trial_returns"] = result["trial_returns"].mean(
      axis=0, where=end.complete[:, None]
    )
  return result


def members(config: algorithms.Config) -> tuple[rollout.Player, ...]:
  """Returns a player for each environment of a mixture, in its order.

  Args:
    config: the configuration. If its environment is not a mixture, there is one
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
    num_steps: steps to play, over as many episodes as that takes.
    greedy: whether to take the most probable action instead of sampling.
    member: index of the environment in a mixture.

  Returns:
    The transitions, and the states before each step of the environment inside
    all wrappers, of which the agent sees only a part; both have a leading axis
    (num_steps,).
  """
  player = members(config)[member]
  key_start, key_play = jax.random.split(key)

  def step(world, key):
    after, taken = rollout.step(player, variables, world, key, greedy=greedy)
    return after, (taken, wrappers.innermost_state(world.env_state))

  world = rollout.start(player, key_start, 1, variables)
  keys = jax.random.split(key_play, num_steps)
  _, played = jax.lax.scan(step, world, keys)
  return jax.tree.map(lambda x: x[:, 0], played)
