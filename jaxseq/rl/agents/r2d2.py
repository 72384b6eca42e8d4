"""Recurrent Q-learning from replayed sequences: init, update, train.

All of them can be jitted and vmapped over seeds, with the configuration
static; the calls are the same as in `ppo`.

Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
Learning", ICLR 2019 (R2D2): sequences are replayed from the stored state of
the memory, after a burn-in; double Q-learning with n-step targets and a target
network. Here one learner plays all environments with an epsilon that decays
linearly; the paper has many actors, each with its own epsilon.
"""

from collections.abc import Mapping
import dataclasses
import functools
import types
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.rl import normalization
from jaxseq.rl import q_networks
from jaxseq.rl import return_scale
from jaxseq.rl import rollout
from jaxseq.rl.agents import _r2d2_loss
from jaxseq.rl.agents import _sequence_rollout
from jaxseq.rl.agents import common
from jaxseq.rl.agents import off_policy
from jaxseq.rl.agents import value_losses
from jaxseq.rl.replay import sequences
from jaxseq.types import PyTree

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config(off_policy.Config, common.Exploration, value_losses.Options):
  """Configuration of a training run, except its random key.

  The environment must have a `Discrete` action space.

  Attributes, beside those of `off_policy.Config`, `common.Exploration` and
  `value_losses.Options`:
    dueling: whether values and advantages have separate heads.
    targets: "n_step", or "lambda" for Peng's Q(lambda).
    num_steps: n of the n-step targets.
    q_lambda: lambda of Peng's Q(lambda).
    target_period: optimizer steps between two copies to the target network.
    priority_exponent: exponent of the priorities by which sequences with large
      errors are replayed more often; 0 samples uniformly.
    importance_exponent: exponent of the loss weights that correct this bias.
    priority_max_share: weight of a sequence's largest error against the mean.
    rescale_values: whether the network's values are on the scale of
      `losses.td.rescale`, which fits rewards of any size; `value_range` is then
      on that scale, too.
  """

  published: ClassVar[Mapping[str, Any]] = types.MappingProxyType(
    {
      **off_policy.Config.published,
      "learning_rate": 1e-4,
      "max_grad_norm": 40.0,
      "adam_epsilon": 1e-3,
      "gamma": 0.997,
      "target_period": 400,
      "rescale_values": True,
    }
  )

  dueling: bool = True
  max_grad_norm: float = 10.0
  targets: Literal["n_step", "lambda"] = "n_step"
  num_steps: int = 5
  q_lambda: float = 0.8
  target_period: int = 200
  priority_exponent: float = 0.9
  importance_exponent: float = 0.6
  priority_max_share: float = 0.9
  rescale_values: bool = False

  def __post_init__(self):
    off_policy.Config.__post_init__(self)
    common.Exploration.__post_init__(self)
    value_losses.Options.__post_init__(self)
    if self.value_loss == "c51" and self.targets == "lambda":
      expected = "'squared' or 'hl_gauss' with targets='lambda'"
      raise validate.error("value_loss", self.value_loss, expected)
    validate.fields(
      self,
      positive=("num_steps", "target_period"),
      shares=("q_lambda", "priority_max_share"),
      not_negative=("priority_exponent", "importance_exponent"),
    )


class RunnerState(NamedTuple):
  """The whole training state: save it to resume later.

  Attributes:
    learned: parameters and optimizer.
    epsilon: () float32, of the last sequences played.
    world: environments, and the network's memory in them.
    tail: the last steps in them.
    replay: sequences to learn from, most of the state's size.
    key: random key.
    num_updates: () int32, updates done.
    statistics: of observations, () if they are not normalized.
    returns: statistics of returns, None if rewards are not normalized.
  """

  learned: off_policy.Learned
  epsilon: Array
  world: rollout.World
  tail: _sequence_rollout.Tail
  replay: sequences.Replay[_sequence_rollout.Sequence]
  key: Array
  num_updates: Array
  statistics: PyTree = ()
  returns: return_scale.Statistics | None = None

  @property
  def variables(self) -> dict[str, PyTree]:
    """The network's variables, with epsilon for sampling."""
    return _variables(self.learned.params, self.epsilon, self.statistics)


def player(config: Config) -> rollout.Player:
  """Returns the environment of a configuration and the network to play it.

  Raises:
    ValueError: if the environment or an option is unknown, or if its action is
      not one choice.
  """
  network = functools.partial(common.q_network, config)
  return common.player(config, network)


@functools.partial(jax.jit, static_argnums=0)
def init(config: Config, key: Array) -> RunnerState:
  """Returns the state before the first update; raises what `player` raises.

  Compiled on its own: do not jit it together with `train`.
  """
  world, variables, key_run = common.start(
    config, off_policy.learner(config, player(config)), key
  )
  params = variables["params"]
  statistics = variables.get(normalization.COLLECTION, ())
  epsilon = jnp.float32(config.epsilon_start)
  world, tail = _sequence_rollout.start(world, config.burn_in)
  play = functools.partial(off_policy.play, config, player(config))
  first = _variables(params, epsilon, statistics), world, tail, key_run
  _, _, sequence, _ = jax.eval_shape(play, *first)
  learned, replay = off_policy.begin(config, params, sequence)
  return RunnerState(
    learned=learned,
    epsilon=epsilon,
    world=world,
    tail=tail,
    replay=replay,
    key=key_run,
    num_updates=jnp.zeros((), jnp.int32),
    statistics=statistics,
    returns=common.return_statistics(config),
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
    overrides: replacements for numbers of the configuration, see
      `common.override`.

  Returns:
    The new state and a dict of scalars. `episode_return` and `episode_length`
    are means over the `episodes` episodes that ended, NaN if no episode did;
    `loss`, `td_error` (mean absolute), `q_value` (of the actions taken, on the
    network's scale), `grad_norm` (before clipping) and `value_clipped` (of
    `value_losses.Options`) are means over minibatches, NaN before the first
    optimizer step; `epsilon` is that of this update; `observation_size` is
    that of `normalization.largest`; `env_steps` counts all steps so far.
  """
  config = common.override(config, overrides)
  key, key_play, key_learn = jax.random.split(runner.key, 3)
  epsilon = common.exploration(config, runner.num_updates)
  variables = _variables(runner.learned.params, epsilon, runner.statistics)
  world, tail, sequence, transition = off_policy.play(
    config, player(config), variables, runner.world, runner.tail, key_play
  )
  replay = sequences.add(runner.replay, sequence)
  config, returns, scaled = common.scale_rewards(
    config, runner.returns, transition
  )
  learned, tree, metrics = _learn(config, runner, replay, key_learn)
  changed, metrics = off_policy.finish(
    config, player(config), runner, transition, metrics
  )
  metrics |= {"epsilon": epsilon, **scaled}
  runner = RunnerState(
    learned=learned,
    epsilon=epsilon,
    world=world,
    tail=tail,
    replay=replay._replace(priorities=tree),
    key=key,
    returns=returns,
    **changed,
  )
  return runner, metrics


train = common.make_train(update)


def _variables(params, epsilon, statistics):
  """Returns the network's variables with epsilon and statistics."""
  variables = {"params": params, q_networks.EXPLORATION: {"epsilon": epsilon}}
  if statistics:
    variables[normalization.COLLECTION] = statistics
  return variables


def _learn(config, runner, replay, key):
  """Learns once the replay has enough; also returns the priorities."""
  network = player(config).network
  if config.normalize_observation:
    network = dataclasses.replace(network, statistics=runner.statistics)

  def loss(params, target, batch, weight, key_dropout):
    if not any(x.dropout for x in config.network.stack.every_layer):
      key_dropout = None
    return _r2d2_loss.loss(
      config, network, params, target, batch, weight, key_dropout
    )

  def retarget(params, target, count):
    return optax.periodic_update(params, target, count, config.target_period)

  return off_policy.learn_if_ready(
    config,
    runner.learned,
    replay,
    key,
    loss,
    retarget,
    runner.num_updates,
    (config.priority_exponent, config.importance_exponent),
  )
