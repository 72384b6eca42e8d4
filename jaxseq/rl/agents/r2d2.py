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
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.rl import _batching
from jaxseq.rl import _last_observation
from jaxseq.rl import mixtures
from jaxseq.rl import normalization
from jaxseq.rl import q_networks
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.agents import _r2d2_config
from jaxseq.rl.agents import _r2d2_loss
from jaxseq.rl.agents import _r2d2_rollout
from jaxseq.rl.agents import common
from jaxseq.rl.replay import sequences
from jaxseq.training import optimizers

Array = jax.Array
Config = _r2d2_config.Config


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
    seen = normalization.merge(statistics, transition.observation)
    if config.skip_nonfinite:
      skipped = metrics[optimizers.SKIPPED]
      seen = normalization.unless_skipped(statistics, seen, skipped)
    statistics = seen
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
