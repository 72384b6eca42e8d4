"""Recurrent Q-learning from replayed sequences: init, update, train.

All of them can be jitted and vmapped over seeds, with the configuration
static, and are called as those of `ppo` are.

Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
Learning", ICLR 2019 (R2D2): sequences are replayed from the stored state of
the memory, after a burn-in; double Q-learning with n-step targets and a target
network. One learner plays all environments here, where the paper has many
actors with an epsilon each: epsilon falls along a line instead.
"""

import dataclasses
import functools
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq.rl import actions
from jaxseq.rl import batching
from jaxseq.rl import last_observation
from jaxseq.rl import networks
from jaxseq.rl import normalization
from jaxseq.rl import q_networks
from jaxseq.rl import rollout
from jaxseq.rl import shared
from jaxseq.rl.agents import r2d2_loss
from jaxseq.rl.agents import r2d2_rollout
from jaxseq.rl.replay import sequences

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that a training run depends on, except its key.

  Attributes:
    env_id: an id that `jaxseq.rl.envs.make` knows, of an environment with a
      `Discrete` action space.
    env_options: pairs of names and values passed on to it.
    env_params: pairs of names and values of the environment's parameters that
      are not the default ones.
    network: encoder, memory and widths of the heads.
    normalize_observation: whether the network sees the numbers of observations
      less their mean, in standard deviations; see `normalization`. The replay
      keeps them as they are.
    dueling: whether values and advantages have a head each.
    num_envs: environments played side by side.
    sequence_length: steps in each environment between updates: one sequence.
    burn_in: steps before a sequence that renew its stored memory: 0 or a
      divisor of its length.
    total_steps: environment steps of the whole run, over all environments;
      rounded down to whole updates. Where a time limit is bootstrapped, seeing
      the last observation of an episode counts as a step.
    replay_sequences: sequences that the replay holds.
    learning_starts: sequences that it has got before the first optimiser step.
    num_minibatches: optimiser steps in an update.
    batch_size: sequences in a minibatch.
    learning_rate: of Adam.
    learning_rate_schedule: "constant", or "linear" to 0 over the run.
    ssm_learning_rate_factor: multiplies the learning rate of the recurrence's
      own parameters (eigenvalues, input matrix, step sizes).
    max_grad_norm: gradients are scaled down to this global norm.
    adam_epsilon: of Adam.
    gamma: discount.
    reward_scale: multiplies the rewards that are learned from. POPGym's add up
      to 1 at most over an episode, which is little for a single step.
    targets: "n_step", or "lambda" for Peng's Q(lambda).
    num_steps: n of the n-step targets.
    q_lambda: of Peng's Q(lambda).
    target_period: optimiser steps between two copies to the target network.
    epsilon_start: probability of a random action at first.
    epsilon_end: and at last.
    exploration_fraction: share of the run over which epsilon falls.
    priority_exponent: how much more often sequences with great errors are
      replayed; 0 draws all alike.
    importance_exponent: how much of that bias the loss takes back.
    priority_max_share: weight of a sequence's greatest error against the mean.
    rescale_values: whether the network's values are on the scale of
      `losses.td.rescale`, which fits rewards of any size.
    bootstrap_truncated: whether an episode that a time limit cuts off is
      continued by its value. If not, a cut counts as an end.
  """

  env_id: str = "RepeatPreviousEasy"
  env_options: tuple[tuple[str, Any], ...] = ()
  env_params: tuple[tuple[str, Any], ...] = ()
  network: networks.Config = networks.Config()
  normalize_observation: bool = False
  dueling: bool = True
  num_envs: int = 64
  sequence_length: int = 80
  burn_in: int = 40
  total_steps: int = 15_000_000
  replay_sequences: int = 4096
  learning_starts: int = 512
  num_minibatches: int = 4
  batch_size: int = 64
  learning_rate: float = 1e-4
  learning_rate_schedule: Literal["constant", "linear"] = "constant"
  ssm_learning_rate_factor: float = 1.0
  max_grad_norm: float = 40.0
  adam_epsilon: float = 1e-3
  gamma: float = 0.997
  reward_scale: float = 1.0
  targets: Literal["n_step", "lambda"] = "n_step"
  num_steps: int = 5
  q_lambda: float = 0.8
  target_period: int = 400
  epsilon_start: float = 1.0
  epsilon_end: float = 0.05
  exploration_fraction: float = 0.2
  priority_exponent: float = 0.9
  importance_exponent: float = 0.6
  priority_max_share: float = 0.9
  rescale_values: bool = True
  bootstrap_truncated: bool = True

  def __post_init__(self):
    shared.check_fields(
      self,
      positive=(
        "num_envs",
        "sequence_length",
        "total_steps",
        "replay_sequences",
        "learning_starts",
        "num_minibatches",
        "batch_size",
        "reward_scale",
        "num_steps",
        "target_period",
      ),
      shares=(
        "gamma",
        "q_lambda",
        "epsilon_start",
        "epsilon_end",
        "exploration_fraction",
        "priority_max_share",
      ),
      not_negative=("burn_in", "priority_exponent", "importance_exponent"),
    )
    shared.check_optimizer(self)
    if self.targets not in ("n_step", "lambda"):
      raise ValueError(
        f"targets: got {self.targets!r}, expected 'n_step' or 'lambda'."
      )
    if self.burn_in and self.sequence_length % self.burn_in:
      raise ValueError(
        f"burn_in: got {self.burn_in}, expected 0 or a divisor of"
        f" sequence_length = {self.sequence_length}."
      )
    if not self.num_envs <= self.replay_sequences:
      raise ValueError(
        f"replay_sequences: got {self.replay_sequences}, expected at least"
        f" num_envs = {self.num_envs}: so many are added at once."
      )
    if self.learning_starts > self.replay_sequences:
      raise ValueError(
        f"learning_starts: got {self.learning_starts}, expected at most"
        f" replay_sequences = {self.replay_sequences}."
      )
    least = self.steps_per_update * (self.first_update + 1)
    if not least <= self.total_steps < 2**31:
      raise ValueError(
        f"total_steps: got {self.total_steps}, expected at least one update"
        f" that learns ({least}, by num_envs, sequence_length and"
        " learning_starts) and less than 2**31."
      )

  @property
  def steps_per_update(self) -> int:
    """Environment steps between updates."""
    return self.num_envs * self.sequence_length

  @property
  def num_updates(self) -> int:
    """Updates of the whole run."""
    return self.total_steps // self.steps_per_update

  @property
  def first_update(self) -> int:
    """Updates before the first one that learns."""
    return -(-self.learning_starts // self.num_envs) - 1

  @property
  def optimizer_steps(self) -> int:
    """Optimiser steps of the whole run."""
    return (self.num_updates - self.first_update) * self.num_minibatches


class RunnerState(NamedTuple):
  """All that changes during training: save it to go on later.

  Attributes:
    learned: parameters and optimiser.
    epsilon: () float32, of the last sequences played.
    world: environments, and the network's memory of them.
    tail: the last steps in them.
    replay: sequences to learn from, the bulk of all this.
    key: random key.
    num_updates: () int32, updates done.
    statistics: of observations, () if they are not normalised.
  """

  learned: r2d2_loss.Learned
  epsilon: Array
  world: rollout.World
  tail: r2d2_rollout.Tail
  replay: sequences.Replay
  key: Array
  num_updates: Array
  statistics: Any = ()

  @property
  def variables(self) -> dict[str, Any]:
    """The network's variables, with epsilon for a policy that is sampled."""
    return _variables(self.learned.params, self.epsilon, self.statistics)


def player(config: Config) -> rollout.Player:
  """Returns the environment of a configuration and the network to play it.

  Args:
    config: the configuration.

  Raises:
    ValueError: if the environment or an option is unknown, or if its action is
      not one choice.
  """
  env, env_params = rollout.environment(
    config.env_id,
    config.env_options,
    config.env_params,
    as_images=config.network.encoder is not None,
  )
  spec = actions.spec_of(env.action_space(env_params))
  if spec.kind != "categorical":
    raise ValueError(
      f"env_id: got {config.env_id}, whose actions are {spec.kind}, expected"
      " an environment with Discrete actions: a Q-network has one value for"
      " each."
    )
  network = q_networks.QNetwork(config.network, spec, config.dueling)
  if config.normalize_observation:
    network = normalization.normalized(network, env, env_params)
  return rollout.Player(env, env_params, network)


@functools.partial(jax.jit, static_argnums=0)
def init(config: Config, key: Array) -> RunnerState:
  """Returns the state before the first update.

  Compiled on its own: jit it apart from `train`.

  Args:
    config: the configuration.
    key: random key.

  Raises:
    ValueError: if the environment or an option is unknown.
  """
  key_network, key_world, key_run = jax.random.split(key, 3)
  learner = _learner(config)
  world = rollout.start(learner, key_world, config.num_envs)
  variables = learner.network.init(
    key_network, jax.tree.map(lambda x: x[:, None], world.observation)
  )
  params = variables["params"]
  statistics = variables.get(normalization.COLLECTION, ())
  epsilon = jnp.float32(config.epsilon_start)
  world, tail = r2d2_rollout.start(world, config.burn_in)
  played = jax.eval_shape(
    lambda *args: _play(config, *args),
    _variables(params, epsilon, statistics),
    world,
    tail,
    key_run,
  )
  one = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), played[2]
  )
  return RunnerState(
    learned=r2d2_loss.Learned(
      params=params,
      # Buffers of its own, so that the state can be donated.
      target=jax.tree.map(jnp.copy, params),
      opt_state=_optimizer(config).init(params),
    ),
    epsilon=epsilon,
    world=world,
    tail=tail,
    replay=sequences.init(one, config.replay_sequences),
    key=key_run,
    num_updates=jnp.zeros((), jnp.int32),
    statistics=statistics,
  )


@functools.partial(jax.jit, static_argnums=0)
def update(
  config: Config, runner: RunnerState
) -> tuple[RunnerState, dict[str, Array]]:
  """Plays one sequence in each environment, then learns from the replay.

  Args:
    config: the configuration.
    runner: the state of the run.

  Returns:
    The new state and a dict of scalars. `episode_return` and `episode_length`
    are means over the `episodes` episodes that ended, NaN if there were none;
    `loss`, `td_error` (mean size), `q_value` (of what was done, on the
    network's scale) and `grad_norm` (before clipping) are means over
    minibatches, NaN before the first optimiser step; `epsilon` is that of this
    update; `env_steps` counts all steps so far.
  """
  key, key_play, key_learn = jax.random.split(runner.key, 3)
  epsilon = exploration(config, runner.num_updates)
  world, tail, sequence, transition = _play(
    config,
    _variables(runner.learned.params, epsilon, runner.statistics),
    runner.world,
    runner.tail,
    key_play,
  )
  replay = sequences.add(runner.replay, sequence)
  learned, priority, metrics = _learn_if_ready(
    config,
    runner.learned,
    runner.statistics,
    replay,
    runner.num_updates,
    key_learn,
  )
  statistics = runner.statistics
  if config.normalize_observation:
    statistics = normalization.merge(statistics, transition.observation)
  num_updates = runner.num_updates + 1
  metrics |= shared.episode_metrics(transition)
  metrics["epsilon"] = epsilon
  metrics["env_steps"] = num_updates * config.steps_per_update
  runner = RunnerState(
    learned=learned,
    epsilon=epsilon,
    world=world,
    tail=tail,
    replay=replay._replace(priority=priority),
    key=key,
    num_updates=num_updates,
    statistics=statistics,
  )
  return runner, metrics


@functools.partial(jax.jit, static_argnums=(0, 2))
def train(
  config: Config, runner: RunnerState, num_updates: int
) -> tuple[RunnerState, dict[str, Array]]:
  """Runs `num_updates` updates.

  A program that has no more use for the old state should give its buffers to
  the new one, or there are two replays:
  `jax.jit(r2d2.train, static_argnums=(0, 2), donate_argnums=1)`.

  Args:
    config: the configuration.
    runner: the state of the run.
    num_updates: how many updates.

  Returns:
    The new state, and the metrics of `update` stacked along a leading axis.
  """
  return jax.lax.scan(
    lambda runner, _: update(config, runner), runner, length=num_updates
  )


def exploration(config: Config, num_updates: Array) -> Array:
  """Returns epsilon after so many updates, of any shape, as float32."""
  span = max(1, round(config.exploration_fraction * config.num_updates))
  schedule = optax.linear_schedule(
    config.epsilon_start, config.epsilon_end, span
  )
  return schedule(num_updates.astype(jnp.float32))


def _variables(params, epsilon, statistics):
  variables = {"params": params, q_networks.EXPLORATION: {"epsilon": epsilon}}
  if statistics:
    variables[normalization.COLLECTION] = statistics
  return variables


def _optimizer(config):
  return shared.make_optimizer(config, config.optimizer_steps)


def _bootstraps(config, players):
  return config.bootstrap_truncated and shared.can_truncate(players)


def _learner(config):
  """The player that learns: it sees where an episode was cut off."""
  players = player(config)
  if _bootstraps(config, players):
    players = players._replace(env=last_observation.show_last(players.env))
  return players


def _play(config, variables, world, tail, key):
  """Plays sequences in which a cut is either bootstrapped or an end."""
  learner = _learner(config)
  world, tail, sequence, transition = r2d2_rollout.play(
    learner, variables, world, tail, key, config.sequence_length
  )
  if not _bootstraps(config, learner):
    sequence = sequence._replace(
      terminated=sequence.terminated | sequence.cut,
      cut=jnp.zeros_like(sequence.cut),
    )
  return world, tail, sequence, transition


def _learn_if_ready(config, learned, statistics, replay, num_updates, key):
  """Learns once the replay has enough; also returns the priorities."""
  network = player(config).network
  if config.normalize_observation:
    network = normalization.Bound(network, statistics)
  ready = replay.count >= config.learning_starts
  num_steps = (num_updates - config.first_update) * config.num_minibatches

  def learn():
    return r2d2_loss.learn(
      config,
      network,
      _optimizer(config),
      learned,
      replay,
      key,
      num_steps,
    )

  def wait():
    unknown = jax.tree.map(
      lambda x: jnp.full(x.shape, jnp.nan, x.dtype), jax.eval_shape(learn)[-1]
    )
    return learned, replay.priority, unknown

  def learn_where_ready():
    return jax.tree.map(
      lambda new, old: jnp.where(ready, new, old), learn(), wait()
    )

  return jax.lax.cond(batching.any_of_batch(ready), learn_where_ready, wait)
