"""Recurrent Q-learning from replayed sequences: init, update, train.

All of them can be jitted and vmapped over seeds, with the configuration
static, and are called as those of `ppo` are.

Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
Learning", ICLR 2019 (R2D2): sequences are replayed from the stored state of
the memory, after a burn-in; double Q-learning with n-step targets and a target
network. One learner plays all environments here, where the paper has many
actors with an epsilon each: epsilon falls along a line instead.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl import _last_observation
from jaxseq.rl import mixtures
from jaxseq.rl import normalization
from jaxseq.rl import q_networks
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.agents import _r2d2_loss
from jaxseq.rl.agents import _r2d2_rollout
from jaxseq.rl.agents import common
from jaxseq.rl.replay import sequences
from jaxseq.training import _batching
from jaxseq.training import optimizers

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config(common.Config, common.Exploration):
  """Everything that a training run depends on, except its key.

  The environment must have a `Discrete` action space. Where a time limit is
  bootstrapped, seeing the last observation of an episode counts as a step.

  Attributes, beside those of `common.Config` and `common.Exploration`:
    dueling: whether values and advantages have a head each.
    sequence_length: steps in each environment between updates: one sequence.
    burn_in: steps before a sequence that renew its stored memory: 0 or a
      divisor of its length.
    replay_sequences: sequences that the replay holds.
    learning_starts: sequences that it has got before the first optimizer step.
    num_minibatches: optimizer steps in an update.
    batch_size: sequences in a minibatch.
    reward_scale: multiplies the rewards that are learned from. POPGym's add up
      to 1 at most over an episode, which is little for a single step.
    targets: "n_step", or "lambda" for Peng's Q(lambda).
    num_steps: n of the n-step targets.
    q_lambda: of Peng's Q(lambda).
    target_period: optimizer steps between two copies to the target network.
    priority_exponent: how much more often sequences with great errors are
      replayed; 0 draws all alike.
    importance_exponent: how much of that bias the loss takes back.
    priority_max_share: weight of a sequence's greatest error against the mean.
    rescale_values: whether the network's values are on the scale of
      `losses.td.rescale`, which fits rewards of any size.
  """

  dueling: bool = True
  sequence_length: int = 80
  burn_in: int = 40
  replay_sequences: int = 4096
  learning_starts: int = 512
  num_minibatches: int = 4
  batch_size: int = 64
  learning_rate: float = 1e-4
  max_grad_norm: float = 40.0
  adam_epsilon: float = 1e-3
  gamma: float = 0.997
  reward_scale: float = 1.0
  targets: Literal["n_step", "lambda"] = "n_step"
  num_steps: int = 5
  q_lambda: float = 0.8
  target_period: int = 400
  priority_exponent: float = 0.9
  importance_exponent: float = 0.6
  priority_max_share: float = 0.9
  rescale_values: bool = True

  def __post_init__(self):
    super().__post_init__()
    common.Exploration.__post_init__(self)
    _validate.fields(
      self,
      positive=(
        "sequence_length",
        "replay_sequences",
        "learning_starts",
        "num_minibatches",
        "batch_size",
        "num_steps",
        "target_period",
      ),
      above_zero=("reward_scale",),
      shares=(
        "q_lambda",
        "priority_max_share",
      ),
      not_negative=("burn_in", "priority_exponent", "importance_exponent"),
    )
    if self.burn_in and self.sequence_length % self.burn_in:
      expected = f"0 or a divisor of sequence_length = {self.sequence_length}"
      raise _validate.error("burn_in", self.burn_in, expected)
    held = self.replay_sequences
    if self.num_envs > held:
      added = f"{self.num_envs}: so many are added at once"
      expected = f"at least num_envs = {added}"
      raise _validate.error("replay_sequences", held, expected)
    if self.learning_starts > held:
      expected = f"at most replay_sequences = {held}"
      raise _validate.error("learning_starts", self.learning_starts, expected)
    least = self.steps_per_update * (self.first_update + 1)
    reason = f"({least}, by num_envs, sequence_length and learning_starts)"
    self._check_total_steps(least, f"that learns {reason}")

  @property
  def steps_per_update(self) -> int:
    """Environment steps between updates."""
    return self.num_envs * self.sequence_length

  @property
  def first_update(self) -> int:
    """Updates before the first one that learns."""
    return -(-self.learning_starts // self.num_envs) - 1

  @property
  def optimizer_steps(self) -> int:
    """Optimizer steps of the whole run."""
    return (self.num_updates - self.first_update) * self.num_minibatches


class RunnerState(NamedTuple):
  """All that changes during training: save it to go on later.

  Attributes:
    learned: parameters and optimizer.
    epsilon: () float32, of the last sequences played.
    world: environments, and the network's memory of them.
    tail: the last steps in them.
    replay: sequences to learn from, the bulk of all this.
    key: random key.
    num_updates: () int32, updates done.
    statistics: of observations, () if they are not normalized.
  """

  learned: _r2d2_loss.Learned
  epsilon: Array
  world: rollout.World
  tail: _r2d2_rollout.Tail
  replay: sequences.Replay[_r2d2_rollout.Sequence]
  key: Array
  num_updates: Array
  statistics: PyTree = ()

  @property
  def variables(self) -> dict[str, PyTree]:
    """The network's variables, with epsilon for a policy that is sampled."""
    return _variables(self.learned.params, self.epsilon, self.statistics)


def player(config: Config) -> rollout.Player:
  """Returns the environment of a configuration and the network to play it.

  Raises:
    ValueError: if the environment or an option is unknown, or if its action is
      not one choice.
  """
  return common.q_player(config, config.dueling)


@functools.partial(jax.jit, static_argnums=0)
def init(config: Config, key: Array) -> RunnerState:
  """Returns the state before the first update; raises what `player` raises.

  Compiled on its own: jit it apart from `train`.
  """
  world, variables, key_run = common.start(config, _learner(config), key)
  params = variables["params"]
  statistics = variables.get(normalization.COLLECTION, ())
  epsilon = jnp.float32(config.epsilon_start)
  world, tail = _r2d2_rollout.start(world, config.burn_in)
  play = functools.partial(_play, config)
  first = _variables(params, epsilon, statistics), world, tail, key_run
  one = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
    jax.eval_shape(play, *first)[2],
  )
  return RunnerState(
    learned=_r2d2_loss.Learned(
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
  config: Config,
  runner: RunnerState,
  overrides: Mapping[str, Array] | None = None,
) -> tuple[RunnerState, dict[str, Array]]:
  """Plays one sequence in each environment, then learns from the replay.

  Args:
    config: the configuration.
    runner: the state before the update.
    overrides: numbers in place of those of the configuration, see
      `common.override`.

  Returns:
    The new state and a dict of scalars. `episode_return` and `episode_length`
    are means over the `episodes` episodes that ended, NaN if there were none;
    `loss`, `td_error` (mean size), `q_value` (of what was done, on the
    network's scale) and `grad_norm` (before clipping) are means over
    minibatches, NaN before the first optimizer step; `epsilon` is that of this
    update; `env_steps` counts all steps so far.
  """
  config = common.override(config, overrides)
  key, key_play, key_learn = jax.random.split(runner.key, 3)
  epsilon = common.exploration(config, runner.num_updates)
  variables = _variables(runner.learned.params, epsilon, runner.statistics)
  world, tail, sequence, transition = _play(
    config, variables, runner.world, runner.tail, key_play
  )
  replay = sequences.add(runner.replay, sequence)
  learned, tree, metrics = _learn_if_ready(config, runner, replay, key_learn)
  statistics = runner.statistics
  if config.normalize_observation:
    skipped = metrics.get(optimizers.SKIPPED)
    statistics = normalization.after_update(
      statistics, transition.observation, skipped
    )
  num_updates = runner.num_updates + 1
  metrics |= common.episode_metrics(transition)
  metrics["epsilon"] = epsilon
  metrics["env_steps"] = num_updates * config.steps_per_update
  runner = RunnerState(
    learned=learned,
    epsilon=epsilon,
    world=world,
    tail=tail,
    replay=replay._replace(priorities=tree),
    key=key,
    num_updates=num_updates,
    statistics=statistics,
  )
  return runner, metrics


train = common.make_train(update)


def _variables(params, epsilon, statistics):
  """Returns what the network is applied with."""
  variables = {"params": params, q_networks.EXPLORATION: {"epsilon": epsilon}}
  if statistics:
    variables[normalization.COLLECTION] = statistics
  return variables


def _optimizer(config):
  """Returns the optimizer of a whole run."""
  return common.make_optimizer(config, config.optimizer_steps)


def _learner(config):
  """The player that learns: it sees where an episode was cut off."""
  players = player(config)
  if not common.bootstraps(config, players):
    return players
  env = mixtures.wrap(players.env, _last_observation.LastObservation)
  return players._replace(env=env)


def _play(config, variables, world, tail, key):
  """Plays sequences in which a cut is either bootstrapped or an end."""
  learner = _learner(config)
  world, tail, sequence, transition = _r2d2_rollout.play(
    learner, variables, world, tail, key, config.sequence_length
  )
  if not common.bootstraps(config, learner):
    sequence = sequence._replace(
      terminated=sequence.terminated | sequence.cut,
      cut=jnp.zeros_like(sequence.cut),
    )
  return world, tail, sequence, transition


def _learn_if_ready(config, runner, replay, key):
  """Learns once the replay has enough; also returns the priorities."""
  network = player(config).network
  if config.normalize_observation:
    network = dataclasses.replace(network, statistics=runner.statistics)
  learned, ready = runner.learned, replay.count >= config.learning_starts
  num_steps = runner.num_updates - config.first_update
  num_steps *= config.num_minibatches

  def learn():
    return _r2d2_loss.learn(
      config, network, _optimizer(config), learned, replay, key, num_steps
    )

  def wait():
    # Of what counts there is none yet; no mean is known.
    empty = {optimizers.SKIPPED: 0}
    unknown = {
      name: jnp.full(x.shape, empty.get(name, jnp.nan), x.dtype)
      for name, x in jax.eval_shape(learn)[-1].items()
    }
    return learned, replay.priorities, unknown

  return jax.lax.cond(
    _batching.any_of_batch(ready),
    lambda: wrappers.select(ready, learn(), wait()),
    wait,
  )
