"""The recurrent soft actor-critic (SAC): init, update, train.

Called as `ppo` is. Ni et al., "Recurrent Model-Free RL Can Be a Strong Baseline
for Many POMDPs", arXiv:2110.05038, with any memory: continuous actions are
sampled from a squashed Gaussian, discrete ones from a categorical policy, and
training replays sequences. R2D2's sequences, with stored memories and a
burn-in, are the default; `start="episode"`, a `burn_in` of 0 and a
`sequence_length` of a whole episode are the paper's.
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
import types
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.rl import actions
from jaxseq.rl import normalization
from jaxseq.rl import return_scale
from jaxseq.rl import rollout
from jaxseq.rl import soft_networks
from jaxseq.rl.agents import _sac_loss
from jaxseq.rl.agents import _sequence_rollout
from jaxseq.rl.agents import common
from jaxseq.rl.agents import off_policy
from jaxseq.rl.replay import sequences
from jaxseq.types import PyTree

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config(off_policy.Config):
  """Configuration of a training run, except its random key.

  The actions of the environment must be one choice, or numbers with bounds. The
  defaults are for normalized rewards: without normalization, `reward_scale`
  times a return should be about 30.

  Attributes, beside those of `off_policy.Config`:
    start: initial memory of a sequence: "stored", the state when the sequence
      was played; or "episode", a fresh one: every sequence then begins with an
      episode, and must be long enough for all of it.
    shared_encoder: whether the actor uses the encoder and the memory of the
      critic, which are trained by the critic's loss only. Otherwise it has its
      own, which the paper found much better.
    shortcut_width: width of the embedding of observation and action that
      bypasses the memory to the heads; 0 for no bypass.
    tau: rate at which the target network's parameters move to the parameters,
      at each optimizer step.
    initial_alpha: initial temperature.
    temperature: loss of the temperature, see `losses.soft.temperature_loss`:
      "alpha", the paper's, or "log_alpha"; "fixed" does not train it.
    target_entropy: entropy that the temperature steers to. If None, minus one
      for each number, or `entropy_share` of the greatest entropy over the
      actions that a mask allows.
    entropy_share: see `target_entropy`.
  """

  traced: ClassVar[tuple[str, ...]] = (*off_policy.Config.traced, "tau")

  published: ClassVar[Mapping[str, Any]] = types.MappingProxyType(
    {
      **off_policy.Config.published,
      "scale_actions": False,
      "learning_rate": 3e-4,
      "reward_scale": 1.0,
      "tau": 0.005,
      "initial_alpha": 1.0,
    }
  )

  scale_actions: bool = True
  reward_scale: float = 30.0
  max_grad_norm: float = 40.0
  adam_epsilon: float = 1e-8
  start: Literal["stored", "episode"] = "stored"
  shared_encoder: bool = False
  shortcut_width: int = 32
  tau: float = 0.01
  initial_alpha: float = 0.1
  temperature: Literal["alpha", "log_alpha", "fixed"] = "alpha"
  target_entropy: float | None = None
  entropy_share: float = 0.7

  def __post_init__(self):
    super().__post_init__()
    validate.fields(
      self,
      not_negative=("shortcut_width",),
      above_zero=("initial_alpha",),
      shares=("tau", "entropy_share"),
    )
    if self.target_entropy is not None:
      validate.number("target_entropy", self.target_entropy)
    self.network.stack.refuse(
      dropout="actor, critic and target would each be another network"
    )
    if self.start == "episode" and self.burn_in:
      expected = '0 with start="episode": there is nothing to renew'
      raise validate.error("burn_in", self.burn_in, expected)


class RunnerState(NamedTuple):
  """The whole training state: save it to resume later.

  Attributes:
    learned: parameters of actor, critic and temperature, see
      `_sac_loss.actor_params`; their averages (the critic's average is the
      target network); and the optimizer.
    world: environments, and the actor's memory in them.
    critic_memory: the critic's memory before the `tail`; () if not stored.
    tail: the last steps in the environments.
    replay: sequences to learn from, most of the state's size.
    key: random key.
    num_updates: () int32, updates done.
    statistics: of observations, None if they are not normalized.
    returns: statistics of returns, None if rewards are not normalized.
  """

  learned: off_policy.Learned
  world: rollout.World
  critic_memory: PyTree
  tail: _sequence_rollout.Tail
  replay: sequences.Replay[_sequence_rollout.Sequence]
  key: Array
  num_updates: Array
  statistics: PyTree = None
  returns: return_scale.Statistics | None = None

  @property
  def variables(self) -> dict[str, PyTree]:
    """The actor's variables."""
    variables = {"params": _sac_loss.actor_params(self.learned.params)}
    if self.statistics is not None:
      variables[normalization.COLLECTION] = self.statistics
    return variables


def player(config: Config) -> rollout.Player:
  """Returns the environment of a configuration and the actor that plays it.

  Raises:
    ValueError: if the environment or an option is unknown, or if its actions
      are neither one choice nor numbers with bounds.
  """

  def make(spec):
    width = config.shortcut_width
    return soft_networks.Actor(config.network, spec, shortcut_width=width)

  return common.player(config, make, actions.bounded_spec_of)


@functools.partial(jax.jit, static_argnums=0)
def init(config: Config, key: Array) -> RunnerState:
  """Returns the state before the first update; raises what `player` raises.

  Compiled on its own: do not jit it together with `train`.

  Raises:
    ValueError: if `start` is "episode" and sequences are too short for one.
  """
  key, key_features, key_values = jax.random.split(key, 3)
  players = player(config)
  _check_length(config, players)
  learner = off_policy.learner(config, players)
  world, variables, key_run = common.start(config, learner, key)
  statistics = variables.get(normalization.COLLECTION)
  _, features, values = _networks(config, players, statistics)
  seen = jax.tree.map(lambda x: x[:, None], world.observation)
  critic = {"features": features.init(key_features, seen)["params"]}
  x, seen, _ = features.apply({"params": critic["features"]}, seen)
  spec = players.network.actions
  numbers = spec.kind == "gaussian"
  blank = jnp.zeros((*x.shape[:-1], spec.num_outputs)) if numbers else None
  critic["values"] = values.init(key_values, x, seen, blank)["params"]
  actor = variables["params"]
  if config.shared_encoder:
    names = soft_networks.SHARED
    actor = {name: x for name, x in actor.items() if name not in names}
  params = {
    "actor": actor,
    "critic": critic,
    "log_alpha": jnp.log(jnp.float32(config.initial_alpha)),
  }
  memory = ()
  if config.start == "stored" and not config.shared_encoder:
    memory = _sac_loss.fresh(features, critic["features"], (config.num_envs,))
  world, tail = _sequence_rollout.start(world, config.burn_in)
  runner = RunnerState(
    learned=off_policy.Learned(params, params, ()),
    world=world,
    critic_memory=memory,
    tail=tail,
    replay=(),
    key=key_run,
    num_updates=jnp.zeros((), jnp.int32),
    statistics=statistics,
    returns=common.return_statistics(config),
  )
  play = functools.partial(_play, config)
  _, sequence, _ = jax.eval_shape(play, runner, key_run)
  learned, replay = off_policy.begin(config, params, sequence)
  return runner._replace(learned=learned, replay=replay)


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
    `critic_loss`, `actor_loss`, `td_error` (mean absolute), `q_value` (of the
    actions taken), `entropy` of the policy, `alpha` and `grad_norm` (before
    clipping) are means over minibatches, NaN before the first optimizer step;
    `observation_size` is
    that of `normalization.largest`; `env_steps` counts all steps so far.
  """
  config = common.override(config, overrides)
  key, key_play, key_learn = jax.random.split(runner.key, 3)
  runner, sequence, transition = _play(config, runner, key_play)
  replay = sequences.add(runner.replay, sequence)
  config, returns, scaled = common.scale_rewards(
    config, runner.returns, transition
  )
  learned, _, metrics = _learn(config, runner, replay, key_learn)
  changed, metrics = off_policy.finish(
    config, player(config), runner, transition, metrics
  )
  runner = runner._replace(
    learned=learned, replay=replay, key=key, returns=returns, **changed
  )
  return runner, metrics | scaled


train = common.make_train(update)


def _check_length(config, players):
  """Checks that whole episodes fit into sequences."""
  if config.start != "episode":
    return
  cut = common.bootstraps(config, players)
  needed = players.env_params.max_steps_in_episode + cut
  if config.sequence_length < needed:
    last = " and the last observation of one that is cut off" if cut else ""
    expected = f'at least {needed}: start="episode" takes whole episodes{last}'
    raise validate.error("sequence_length", config.sequence_length, expected)


def _networks(config, players, statistics):
  """Returns the loss networks, with observation statistics if given."""
  actor, spec = players.network, players.network.actions
  features = soft_networks.Features(config.network, spec)
  if statistics is not None:
    features = normalization.normalized(
      features, players.env, players.env_params
    )
    actor, features = (
      dataclasses.replace(x, statistics=statistics) for x in (actor, features)
    )
  values = soft_networks.TwinValues(config.network, spec, config.shortcut_width)
  return _sac_loss.Networks(actor, features, values)


def _target_entropy(config, spec):
  """Returns the entropy that the temperature steers to."""
  if config.target_entropy is not None:
    return config.target_entropy
  if spec.kind == "categorical":
    return config.entropy_share * math.log(spec.num_outputs)
  return -spec.num_outputs


def _play(config, runner, key):
  """Plays a sequence per environment; returns state, sequences and steps."""
  players, variables = player(config), runner.variables
  world, tail, stored = runner.world, runner.tail, runner.critic_memory
  if config.start == "episode":
    key, key_begin = jax.random.split(key)
    learner = off_policy.learner(config, players)
    world = rollout.start(learner, key_begin, config.num_envs, variables)
    world, tail = _sequence_rollout.start(world, 0)
  world, tail, sequence, transition = off_policy.play(
    config, players, variables, world, tail, key
  )
  memory = ()
  if config.start == "stored":
    memory = {"actor": sequence.memory}
    if not config.shared_encoder:
      memory["critic"] = stored
      # Only the actor plays. One pass over its observations up to the next tail
      # updates the critic's memory.
      _, features, _ = _networks(config, players, runner.statistics)
      observation, reset = jax.tree.map(
        lambda x: x[:, : config.sequence_length],
        (sequence.observation, sequence.reset),
      )
      held = {"params": runner.learned.params["critic"]["features"]}
      stored = features.apply(held, observation, stored, reset)[2]
  runner = runner._replace(world=world, critic_memory=stored, tail=tail)
  return runner, sequence._replace(memory=memory), transition


def _learn(config, runner, replay, key):
  """Learns once the replay has enough; also returns the priorities."""
  players = player(config)
  networks = _networks(config, players, runner.statistics)
  target_entropy = _target_entropy(config, players.network.actions)
  loss = functools.partial(_sac_loss.loss, config, networks, target_entropy)

  def retarget(params, target, count):
    del count
    # All parameters; the targets of actor and temperature are not used.
    return optax.incremental_update(params, target, config.tau)

  return off_policy.learn_if_ready(
    config, runner.learned, replay, key, loss, retarget, runner.num_updates
  )
