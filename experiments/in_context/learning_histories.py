"""Learning histories: recorded episodes of agents during their training.

Tabular Q-learning runs on many tasks in parallel, and every n-th of its
episodes is recorded, in training order:

  recorded = learning_histories.record(env, learner, key)

All histories follow each other in one `data.trajectories`, each with the same
number of episodes. A model that predicts the actions of whole histories learns
in context, see `distillation`.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.data import trajectories
from jaxseq.rl import meta
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Learner:
  """Tabular Q-learning with optimistic initial values for exploration.

  Attributes:
    histories: number of agents, each on a task that it draws.
    episodes: number of recorded episodes per agent.
    every: the first of each `every` episodes is recorded.
    rate: step size.
    gamma: discount.
    optimism: initial values of the table.
    epsilon: initial probability of a random action; it falls to 0 over the
      first half of the episodes.
  """

  histories: int = 512
  episodes: int = 20
  every: int = 2
  rate: float = 0.5
  gamma: float = 0.9
  optimism: float = 1.0
  epsilon: float = 0.1

  def __post_init__(self):
    validate.fields(
      self,
      positive=("histories", "episodes", "every"),
      shares=("rate", "gamma", "epsilon"),
    )
    validate.number("optimism", self.optimism)


class Histories(NamedTuple):
  """The steps of histories of equal length.

  Attributes:
    observations: (histories, steps, ...).
    actions: (histories, steps) int32.
    rewards: (histories, steps) float32.
    starts: (histories, steps) bool, the first step of each episode.
  """

  observations: Array
  actions: Array
  rewards: Array
  starts: Array


def record(
  env: protocol.Env, learner: Learner, key: Array
) -> trajectories.Trajectories:
  """Runs Q-learning on many tasks, and records every n-th episode.

  Args:
    env: draws its task in `reset`. Its observations and actions are discrete,
      and all its episodes last until its time limit.
    learner: the Q-learning options.
    key: random key.

  Returns:
    `learner.episodes` episodes for each of `learner.histories` agents, one
    history after the other, as host arrays.

  Raises:
    ValueError: if observations or actions are not discrete, or an episode ends
      before the time limit.
  """
  params = env.default_params
  space = spaces.convert(env.observation_space(params))
  actions = spaces.convert(env.action_space(params))
  for name, choices in ("observation", space), ("action", actions):
    few = spaces.Discrete, spaces.MultiDiscrete
    if not isinstance(choices, few if name == "observation" else few[0]):
      expected = "Discrete" if name == "action" else "Discrete or MultiDiscrete"
      raise validate.error(f"env: the {name} space", choices, expected)
  sizes = getattr(space, "sizes", None) or (space.n,)
  keys = jax.random.split(key, learner.histories)
  steps = int(params.max_steps_in_episode)
  played = jax.device_get(_learn(env, learner, sizes, actions.n, steps, keys))
  *recorded, ended = played
  if ended.any():
    expected = f"one whose episodes all have {steps} steps"
    raise validate.error("env", env, expected)
  # Histories, episodes and steps become one axis.
  count = learner.histories * learner.episodes * steps
  flat = [x.reshape(count, *x.shape[3:]) for x in recorded]
  dones = np.arange(1, count + 1) % steps == 0
  return trajectories.from_flat(*flat, dones)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _learn(env, learner, sizes, num_actions, steps, keys):
  """Returns recorded observations, actions, rewards and early ends."""
  params, total = env.default_params, learner.episodes * learner.every
  strides = np.append(np.cumprod(sizes[:0:-1])[::-1], 1).astype(np.int32)

  def row(observation):
    return jnp.atleast_1d(observation) @ jnp.asarray(strides)

  def run(key):
    key_task, key_learn = jax.random.split(key)
    start = env.reset(key_task, params)

    def step(carry, inputs):
      table, observation, state = carry
      key, epsilon = inputs
      keys = jax.random.split(key, 4)
      values, place = table[row(observation)], row(observation)
      # Ties are broken uniformly.
      best = jnp.where(values == values.max(), 0.0, -jnp.inf)
      explores = jax.random.uniform(keys[1]) < epsilon
      action = jnp.where(
        explores,
        jax.random.randint(keys[2], (), 0, num_actions),
        jax.random.categorical(keys[0], best),
      ).astype(jnp.int32)
      shown, state, reward, terminated, _, info = env.step(
        keys[3], state, action, params
      )
      after = table[row(info["final_observation"])].max()
      target = reward + learner.gamma * jnp.where(terminated, 0, after)
      change = learner.rate * (target - values[action])
      table = table.at[place, action].add(change)
      return (table, shown, state), (observation, action, reward, terminated)

    def episode(table, inputs):
      key, number = inputs
      epsilon = learner.epsilon * jnp.maximum(0, 1 - 2 * number / total)
      keys = jax.random.split(key, steps), jnp.full(steps, epsilon)
      (table, *_), played = jax.lax.scan(step, (table, *start), keys)
      return table, played

    def block(table, inputs):
      table, played = jax.lax.scan(episode, table, inputs)
      return table, jax.tree.map(lambda x: x[0], played)

    table = jnp.full((np.prod(sizes), num_actions), learner.optimism)
    keys = jax.random.split(key_learn, total)
    inputs = keys, jnp.arange(total)
    shape = learner.episodes, learner.every
    inputs = jax.tree.map(lambda x: x.reshape(shape + x.shape[1:]), inputs)
    return jax.lax.scan(block, table, inputs)[1]

  return jax.vmap(run)(keys)


def shuffled(
  recorded: trajectories.Trajectories, episodes: int, seed: int = 0
) -> trajectories.Trajectories:
  """Returns histories of `episodes` episodes each, in random episode order.

  They contain the same episodes, but not the course of the learning.
  """
  count = int(np.sum(recorded.dones))
  rng = np.random.default_rng(seed)
  order = np.arange(count).reshape(-1, episodes)
  return trajectories.take(recorded, rng.permuted(order, axis=1).ravel())


def split(recorded: trajectories.Trajectories, episodes: int) -> Histories:
  """Splits a recording into histories of `episodes` equally long episodes."""
  count = int(np.sum(recorded.dones)) // episodes

  def rows(array):
    return np.reshape(array, (count, -1, *array.shape[1:]))

  return Histories(
    rows(recorded.observations),
    rows(recorded.actions),
    rows(recorded.rewards),
    rows(recorded.timesteps == 0),
  )


def inputs(trials: meta.Trials, histories: Histories) -> Array:
  """Returns the observations of `trials` before each action of histories.

  Args:
    trials: trials of the recorded environment.
    histories: (batch, steps) of each field; their first step is the first of an
      episode. Can be traced.

  Returns:
    (batch, steps, d) float32: the observation, the previous step's action and
    reward, whether a trial has just ended, and whether this is the start. If
    trials do not keep the memory, each episode has its own start.
  """
  params = trials.default_params
  space, actions = trials.shown_space(params), trials.action_space(params)

  def flat(space, array):
    return jax.vmap(jax.vmap(lambda x: spaces.flatten(space, x)))(array)

  def before(array):
    pad = [(0, 0), (1, 0), *[(0, 0)] * (array.ndim - 2)]
    return jnp.pad(array, pad)[:, :-1]

  start = jnp.asarray(histories.starts)
  ended = start.at[:, 0].set(False)
  if trials.keep_memory:
    start = start & ~ended
  else:
    ended = jnp.zeros_like(start)
  seen = ~start[..., None]
  return jnp.concatenate(
    [
      flat(space, histories.observations),
      before(flat(actions, histories.actions)) * seen,
      before(jnp.asarray(histories.rewards)[..., None]) * seen,
      jnp.stack([ended, start], axis=-1).astype(jnp.float32),
    ],
    axis=-1,
  )
