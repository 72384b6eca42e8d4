"""Decision-pretrained networks: predicting an expert's action in context.

A network reads a state of a task, the query, and then transitions of the task
with uniformly sampled states and actions. After each transition it predicts the
expert's action in the query. At a new task its context is its own steps: it
samples actions from its predictions, which approximates posterior sampling over
tasks. Lee et al., "Supervised Pretraining Can Learn In-Context Reinforcement
Learning", arXiv:2306.14892.

Each query needs its own memory, since it comes first: in play every state of a
small environment has a memory, and each memory reads every step. Here a step
joins the context at once; in the paper's code, when its episode ends.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.in_context import context_arms
from jaxseq import nn
from jaxseq import validate
from jaxseq.rl.envs import bandit
from jaxseq.rl.envs import base as env_base
from jaxseq.rl.envs import dark_room
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces
from jaxseq.tasks import base
from jaxseq.training import supervised
from jaxseq.types import PyTree

Array = jax.Array


class Family(NamedTuple):
  """A family of tasks with few states, and their expert.

  Attributes:
    env: the environment; its state holds the task.
    num_states: number of states of a task.
    at: (state, index) -> the state with that index, of the same task.
    index: state -> () int32.
    expert: state -> () int32, the best action.
  """

  env: protocol.Env
  num_states: int
  at: Callable[[Any, Array], Any]
  index: Callable[[Any], Array]
  expert: Callable[[Any], Array]


def family(env: protocol.Env) -> Family:
  """Returns the tasks of a dark room, or of a bandit, which has one state.

  Raises:
    ValueError: if the environment is neither.
  """
  match env:
    case dark_room.DarkRoom():
      size = env.size
      return Family(
        env,
        size * size,
        lambda state, i: state.replace(
          position=jnp.stack([i % size, i // size]).astype(jnp.int32)
        ),
        lambda state: state.position[0] + size * state.position[1],
        lambda state: dark_room.expert(state.position, state.goal),
      )
    case bandit.MultiarmedBandit():
      return Family(
        env,
        1,
        lambda state, i: state.replace(won=jnp.int32(0)),
        lambda state: jnp.int32(0),
        lambda state: jnp.argmax(state.payouts).astype(jnp.int32),
      )
  expected = "a DarkRoom or a MultiarmedBandit"
  raise validate.error("env", type(env).__name__, expected)


def token_size(tasks: Family) -> int:
  """Returns the width of query and transition tokens."""
  env = tasks.env
  shown = spaces.flat_size(env.observation_space(env.default_params))
  return 2 * shown + spaces.flat_size(env.action_space()) + 2


def query(tasks: Family, state: PyTree) -> Array:
  """Returns the token (d,) of a query."""
  space = tasks.env.observation_space(tasks.env.default_params)
  flat = spaces.flatten(space, _shown(tasks, state))
  rest = token_size(tasks) - 1 - flat.size
  return jnp.concatenate([jnp.ones(1), flat, jnp.zeros(rest)])


def transition(
  tasks: Family, shown: PyTree, action: Array, reward: Array, after: PyTree
) -> Array:
  """Returns the token (d,) of a step: observations, action and reward.

  A bandit pays a share of the episode's reward per step, which is scaled back.
  """
  env = tasks.env
  space = env.observation_space(env.default_params)
  if tasks.num_states == 1:
    reward = reward * env.default_params.max_steps_in_episode
  return jnp.concatenate(
    [
      jnp.zeros(1),
      spaces.flatten(space, shown),
      spaces.flatten(env.action_space(), action),
      spaces.flatten(space, after),
      jnp.asarray(reward, jnp.float32)[None],
    ]
  )


def _shown(tasks, state):
  """Observes a state independently of the step that led to it."""
  place = tasks.at(state, tasks.index(state))
  return tasks.env.observe(place, tasks.env.default_params)


class Batch(NamedTuple):
  """Training contexts with their labels.

  Attributes:
    tokens: (batch, 1 + context, d) float32, the query first.
    labels: (batch,) int32, the expert's action in the query.
  """

  tokens: Array
  labels: Array


def draw(tasks: Family, key: Array, context: int) -> Batch:
  """Samples a task, a query, and `context` transitions.

  Returns:
    A `Batch` without the axis of examples. Can be traced.
  """
  env, params = tasks.env, tasks.env.default_params
  key_task, key_query, key_context = jax.random.split(key, 3)
  _, state = env.reset(key_task, params)

  def place(key):
    return tasks.at(state, jax.random.randint(key, (), 0, tasks.num_states))

  def step(key):
    key_state, key_action, key_step = jax.random.split(key, 3)
    before = place(key_state)
    action = env.action_space(params).sample(key_action)
    after, _, reward, *_ = env.step_env(key_step, before, action, params)
    shown = env.observe(before, params)
    return transition(tasks, shown, action, reward, after)

  query_place = place(key_query)
  steps = jax.vmap(step)(jax.random.split(key_context, context))
  tokens = jnp.concatenate([query(tasks, query_place)[None], steps])
  return Batch(tokens, tasks.expert(query_place))


class Problem(context_arms.Problem):
  """Prediction of an expert's actions from transitions of its task.

  Args:
    config: the comparison.
    arm: one of its arms.
  """

  data: PyTree = {}

  def __init__(self, config: context_arms.Config, arm: context_arms.ArmConfig):
    super().__init__(config, arm)
    self.tasks = family(config.make_env())
    self.held_out = family(config.make_env(held_out=True))
    actions = self.tasks.env.action_space()
    self.network = nn.SequenceNetwork(arm.network, num_outputs=actions.n)

  def init(self, key: Array) -> PyTree:
    """Returns the variables of the network."""
    return self.network.init(key, jnp.zeros((1, 1, token_size(self.tasks))))

  def sample(self, key: Array, update: Array, data: PyTree) -> Batch:
    """Samples tasks with their contexts."""
    del data
    keys = jax.random.fold_in(key, update)
    keys = jax.random.split(keys, self.arm.batch_size)
    context = self.config.context
    return jax.vmap(lambda key: draw(self.tasks, key, context))(keys)

  def loss(
    self, variables: PyTree, batch: Batch, carry: None, key: Array
  ) -> tuple[Array, supervised.Loss]:
    """Returns the cross-entropy of the label after each prefix, in nats."""
    (logits, _), _, penalty = base.in_training(
      self.network, variables, key, batch.tokens
    )
    labels = jnp.broadcast_to(batch.labels[:, None], logits.shape[:-1])
    loss, accuracy, _ = base.cross_entropy(logits, labels)
    metrics = {"train_accuracy": accuracy}
    return loss + penalty, supervised.Loss(metrics, {}, carry)

  def play(self, variables: PyTree, key: Array) -> Array:
    """Plays trials, whose steps become the context."""
    return play(
      self.network,
      variables,
      self.held_out,
      key,
      self.config.evaluation_tasks,
      self.config.num_trials,
    )


def play(
  network: nn.SequenceNetwork,
  variables: PyTree,
  tasks: Family,
  key: Array,
  num_tasks: int,
  num_trials: int,
) -> Array:
  """Plays several trials at each of some tasks.

  Args:
    network: maps tokens to logits of actions.
    variables: variables of the network.
    tasks: the family that tasks are drawn from.
    key: random key.
    num_tasks: number of tasks.
    num_trials: episodes per task.

  Returns:
    (num_tasks, num_trials) float32 returns.
  """
  env, params = tasks.env, tasks.env.default_params
  key_reset, key_play = jax.random.split(key)
  _, first = jax.vmap(lambda key: env.reset(key, params))(
    jax.random.split(key_reset, num_tasks)
  )
  shape = num_tasks, tasks.num_states

  def ask(i):
    return jax.vmap(lambda s: query(tasks, tasks.at(s, i)))(first)

  queries = jax.vmap(ask, out_axes=1)(jnp.arange(tasks.num_states))
  memory = network.initial_state(shape)
  logits, memory = network.apply(variables, queries, memory, method="step")

  def one(key, logits, state, first):
    key_action, key_step = jax.random.split(key)
    action = jax.random.categorical(key_action, logits[tasks.index(state)])
    _, after, reward, ended, cut, info = env.step(
      key_step, state, action.astype(jnp.int32), params
    )
    seen = _shown(tasks, state), action, reward, info["final_observation"]
    # The next trial is at the same task.
    after = env_base.select(ended | cut, first, after)
    return after, transition(tasks, *seen), reward

  def step(carry, key):
    state, logits, memory = carry
    keys = jax.random.split(key, num_tasks)
    state, token, reward = jax.vmap(one)(keys, logits, state, first)
    token = jnp.broadcast_to(token[:, None], (*shape, token.shape[-1]))
    logits, memory = network.apply(variables, token, memory, method="step")
    return (state, logits, memory), reward

  steps = num_trials * int(params.max_steps_in_episode)
  keys = jax.random.split(key_play, steps)
  _, rewards = jax.lax.scan(step, (first, logits, memory), keys)
  return rewards.reshape(num_trials, -1, num_tasks).sum(axis=1).T
