"""Algorithm distillation: prediction of the actions of agents during training.

A network reads a learning history, or successive episodes of one, and predicts
each action from the current observation and all earlier steps. To do so it has
to infer from earlier episodes which actions are rewarded; played on a new task,
with its memory kept across episodes, it improves as the recorded agents did.
Laskin et al., "In-context Reinforcement Learning with Algorithm
Distillation", arXiv:2210.14215.

The network is a recurrent policy in `meta.Trials`, like those that PPO trains,
and its files have the same format: `policies.load`.
"""

import jax
import jax.numpy as jnp

from experiments.in_context import context_arms
from experiments.in_context import learning_histories
from jaxseq.data import trajectories
from jaxseq.rl import evaluate
from jaxseq.rl import networks
from jaxseq.rl.agents import ppo
from jaxseq.tasks import base
from jaxseq.training import supervised
from jaxseq.types import PyTree

Array = jax.Array


def agent(
  config: context_arms.Config, arm: context_arms.ArmConfig
) -> ppo.Config:
  """Returns the configuration of an arm's policy on held-out tasks."""
  return ppo.Config(
    env_id="Trials",
    env_options=tuple(config.trials(arm.keep_memory, held_out=True).items()),
    network=networks.Config(
      arm.network.stack, encoder_widths=(), head_widths=arm.network.head_widths
    ),
    critic="shared",
  )


class Problem(context_arms.Problem):
  """Prediction of the actions of learning histories.

  The data are `learning_histories.Histories`, one row per task: windows do not
  mix tasks, and each starts with a fresh memory.

  Args:
    config: the comparison.
    arm: one of its arms.
    recorded: histories with as many episodes as the config's learner.
  """

  def __init__(
    self,
    config: context_arms.Config,
    arm: context_arms.ArmConfig,
    recorded: trajectories.Trajectories,
  ):
    super().__init__(config, arm)
    episodes = config.make_learner().episodes
    if arm.shuffled:
      recorded = learning_histories.shuffled(recorded, episodes, config.seed)
    self.data = learning_histories.split(recorded, episodes)
    self.agent = agent(config, arm)
    self.network = ppo.player(self.agent).network
    self.trials = context_arms.make_trials(config, arm)
    steps = self.data.actions.shape[1]
    self.window = steps // episodes * (config.window or episodes)
    self.places = episodes - (config.window or episodes) + 1

  def init(self, key: Array) -> PyTree:
    """Initializes the variables of the network."""
    shown = self.trials.observation_space().shape
    return self.network.init(key, jnp.zeros((1, 1, *shown)))

  def sample(
    self, key: Array, update: Array, data: learning_histories.Histories
  ) -> learning_histories.Histories:
    """Draws windows: successive episodes of one history each."""
    count, steps = data.actions.shape
    size = min(self.arm.batch_size, count)
    key_rows, key_first = jax.random.split(key)
    rows = supervised.draw(key_rows, update, count, size)
    key_first = jax.random.fold_in(key_first, update)
    first = jax.random.randint(key_first, rows.shape, 0, self.places)
    first = first * (steps // self.config.make_learner().episodes)

    def cut(array):
      def one(row, start):
        return jax.lax.dynamic_slice_in_dim(array[row], start, self.window)

      return jax.vmap(one)(rows, first)

    return jax.tree.map(lambda x: cut(jnp.asarray(x)), data)

  def loss(
    self,
    variables: PyTree,
    batch: learning_histories.Histories,
    carry: None,
    key: Array,
  ) -> tuple[Array, supervised.Loss]:
    """Returns the mean cross-entropy of the actions, in nats."""
    seen = learning_histories.inputs(self.trials, batch)
    fresh = batch.starts
    if self.arm.keep_memory:
      fresh = jnp.zeros_like(fresh).at[:, 0].set(True)
    (policy, *_), _, penalty = base.in_training(
      self.network, variables, key, seen, reset=fresh
    )
    loss, accuracy, _ = base.cross_entropy(policy.logits, batch.actions)
    metrics = {"train_accuracy": accuracy}
    return loss + penalty, supervised.Loss(metrics, {}, carry)

  def play(self, variables: PyTree, key: Array) -> Array:
    """Plays trials with sampled actions, kept memory and fixed weights."""
    count = self.config.evaluation_tasks
    played = evaluate.evaluate(self.agent, variables, key, num_episodes=count)
    return played["trial_returns"]
