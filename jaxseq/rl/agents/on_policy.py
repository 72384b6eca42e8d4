"""The base of on-policy agents.

An update plays a rollout, computes its advantages and returns, and trains on it
in epochs of minibatches, each of whole environments. An algorithm adds its
network and the loss of a minibatch: `on_policy_agent` builds its functions.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
import types
from typing import Any
from typing import ClassVar
from typing import NamedTuple
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.rl import normalization
from jaxseq.rl import popart
from jaxseq.rl import return_scale
from jaxseq.rl import rollout
from jaxseq.rl.agents import common
from jaxseq.rl.losses import advantages
from jaxseq.rl.losses import policy
from jaxseq.training import flat_parameters
from jaxseq.training import optimizers
from jaxseq.training.devices import device_mesh
from jaxseq.types import CausalNetwork
from jaxseq.types import PyTree

Array = jax.Array
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Config(common.Config):
  """Configuration fields of all on-policy agents.

  Attributes, beside those of `common.Config`:
    rollout_length: steps in each environment between updates.
    num_epochs: passes over each rollout.
    num_minibatches: minibatches in a pass; each holds whole environments.
    gae_lambda: lambda of the advantage estimates, and so of the returns.
    returns_per_trial: whether values and advantages treat the end of a trial
      as that of an episode; the memory is kept. Rewards of later trials are
      then not credited to earlier ones: no trial is played worse for the sake
      of exploration, and the rewards of the next trial do not follow the end of
      the last.
    segment_length: steps of a rollout that an update processes in parallel; the
      memory is carried from one segment to the next, and the gradient
      recomputes each segment, so that its memory grows with a segment and not
      with the rollout. The whole rollout if None.
    truncate_gradient: whether the gradient stops at segment boundaries.
  """

  takes_mesh: ClassVar[bool] = True
  traced: ClassVar[tuple[str, ...]] = (*common.Config.traced, "gae_lambda")

  rollout_length: int = 1024
  num_epochs: int = 30
  num_minibatches: int = 8
  gae_lambda: float = 1.0
  returns_per_trial: bool = False
  segment_length: int | None = None
  truncate_gradient: bool = False

  def __post_init__(self):
    super().__post_init__()
    validate.fields(
      self,
      positive=("rollout_length", "num_epochs", "num_minibatches"),
      shares=("gae_lambda",),
    )
    self.network.stack.refuse(
      dropout="the network that learns must be the one that acted"
    )
    if self.num_envs % self.num_minibatches:
      whole = f"{self.num_envs}: a minibatch holds whole environments"
      expected = f"a divisor of num_envs = {whole}"
      raise validate.error("num_minibatches", self.num_minibatches, expected)
    length = self.segment_length
    if length is None and self.truncate_gradient:
      expected = "False without a segment_length"
      raise validate.error("truncate_gradient", True, expected)
    if length is not None and (length < 1 or self.rollout_length % length):
      expected = f"a divisor of rollout_length = {self.rollout_length}"
      raise validate.error("segment_length", length, expected)
    self._check_total_steps("rollout_length")

  @property
  def agents(self) -> rollout.Agents:
    """The view of games of several agents: each sees its own part."""
    return "apart"

  @property
  def steps_per_update(self) -> int:
    """Environment steps between updates."""
    return self.num_envs * self.rollout_length

  @property
  def minibatch_size(self) -> int:
    """Environments of a minibatch."""
    return self.num_envs // self.num_minibatches


class RunnerState(NamedTuple):
  """The whole training state: save it to resume later.

  Attributes:
    variables: the network's.
    opt_state: the optimizer's.
    world: environments, and the network's memory in them.
    key: random key.
    num_updates: () int32, updates done.
    returns: statistics of returns, None if rewards are not normalized.
  """

  variables: PyTree
  opt_state: PyTree
  world: rollout.World
  key: Array
  num_updates: Array
  returns: return_scale.Statistics | None = None


class Batch(NamedTuple):
  """A rollout as a loss uses it, axes (num_envs, time).

  Values, advantages and returns are in units of `popart` if that is on.

  Attributes:
    memory: of the network at the start of the rollout, without an axis of time.
    transition: the steps played.
    advantages: of the actions.
    returns: value targets: TD(lambda) returns with `gae_lambda`.
  """

  memory: PyTree
  transition: rollout.Transition
  advantages: Array
  returns: Array


# From a configuration, network, its variables and a minibatch to the loss and a
# dict of scalars.
Loss = Callable[[Any, Any, PyTree, Batch], tuple[Array, dict[str, Array]]]


def check_trials(config: Config, player: rollout.Player) -> rollout.Player:
  """Returns the player.

  Raises:
    ValueError: if `returns_per_trial` is set but episodes have no trials.
  """
  envs = getattr(player.env, "envs", (player.env,))
  have_trials = all(hasattr(env, "num_trials") for env in envs)
  if config.returns_per_trial and not have_trials:
    expected = f"False: the episodes of {config.env_id} have no trials"
    raise validate.error("returns_per_trial", True, expected)
  return player


def init(
  config: Config,
  player: rollout.Player,
  key: Array,
  beside: Mapping[str, PyTree] = types.MappingProxyType({}),
) -> RunnerState:
  """Returns the state before the first update.

  Args:
    config: the configuration.
    player: the environment and the network that plays it.
    key: random key.
    beside: further variables, by collection. The optimizer trains variables
      that the loss depends on, such as a constraint's multiplier, together with
      the network: under one learning rate and one gradient norm. Others do not
      change.
  """
  player = common.training_player(config, player)
  world, variables, key_run = common.start(config, player, key, beside)
  opt_state = _optimizer(config).init(variables)
  num_agents = getattr(player.env, "num_agents", 1)
  returns = common.return_statistics(config, num_agents)
  return RunnerState(
    variables, opt_state, world, key_run, jnp.int32(0), returns
  )


def update(
  config: Config, player: rollout.Player, runner: RunnerState, loss: Loss
) -> tuple[RunnerState, dict[str, Array]]:
  """Plays one rollout and learns from it.

  Args:
    config: the configuration.
    player: the environment and the network that plays it.
    runner: the state before the update.
    loss: of a minibatch.

  Returns:
    The new state and a dict of scalars. `episode_return` and `episode_length`
    are means over the `episodes` episodes that ended in the rollout, NaN if no
    episode did; the loss metrics are means over minibatches; `grad_norm` is
    before clipping; `explained_variance` is the share of the returns' variance
    that the values explain; `target_rms` and `value_rms` are the root mean
    squares of returns and values;
    `reward_scale` is the factor of normalized rewards, and `target_mean` and
    `target_scale` are the statistics of `popart`; `observation_size` is that
    of `normalization.largest`; `env_steps` counts all steps so far.

  Raises:
    UserError: (a ValueError) the devices of a mesh do not divide the number
      of the environments of a minibatch.
  """
  player = common.training_player(config, player)
  runner = runner._replace(world=device_mesh.spread_evenly(runner.world))
  key, key_rollout, key_learn = jax.random.split(runner.key, 3)
  world, batch, returns, scaled = _play(config, player, runner, key_rollout)
  if popart.COLLECTION in runner.variables:
    runner, batch, scaled = _in_units_of_targets(runner, batch)
  taken = batch.transition
  variables, opt_state, metrics = _learn(
    config, player.network, runner, batch, loss, key_learn
  )
  if config.normalize_observation:
    name, skipped = normalization.COLLECTION, metrics.get(optimizers.SKIPPED)
    seen = normalization.after_update(
      variables[name], taken.observation, skipped
    )
    variables = {**variables, name: seen}
  num_updates = runner.num_updates + 1
  metrics |= common.episode_metrics(taken) | scaled
  metrics |= common.observation_metrics(player, taken.observation)
  # All agents of a game end an episode together.
  metrics["episodes"] //= getattr(player.env, "num_agents", 1)
  metrics["explained_variance"] = policy.explained_variance(
    taken.value, batch.returns
  )
  metrics["value_rms"] = jnp.sqrt(jnp.square(taken.value).mean())
  metrics["target_rms"] = jnp.sqrt(jnp.square(batch.returns).mean())
  metrics["env_steps"] = num_updates * config.steps_per_update
  world = device_mesh.spread_evenly(world)
  runner = RunnerState(variables, opt_state, world, key, num_updates, returns)
  return runner, metrics


def _play(config, player, runner, key):
  """Plays a rollout; returns world, batch, return statistics and metrics."""
  bootstraps = common.bootstraps(config, player)
  world, taken = rollout.collect(
    player,
    runner.variables,
    runner.world,
    key,
    config.rollout_length,
    final_values=bootstraps,
  )
  # The memory after this step is dropped: the next rollout repeats the step.
  last = world.observation, world.memory, world.reset
  _, bootstrap_value, _ = player.network.apply(
    runner.variables, *last, method="step"
  )
  taken = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), taken)
  config, returns, scaled = common.scale_rewards(config, runner.returns, taken)
  over = taken.terminated
  if config.returns_per_trial:
    over |= taken.trial_ended
  advantage, target = advantages.gae(
    config.reward_scale * taken.reward,
    taken.value,
    bootstrap_value,
    over,
    taken.truncated,
    taken.final_value,
    gamma=config.gamma,
    gae_lambda=config.gae_lambda,
  )
  batch = Batch(runner.world.memory, taken, advantage, target)
  return world, batch, returns, scaled


def _in_units_of_targets(runner, batch):
  """Returns the state with new PopArt statistics, the scaled batch, metrics."""
  variables = popart.update(runner.variables, batch.returns)
  known = variables[popart.COLLECTION]
  value, target = popart.normalize(
    variables, (batch.transition.value, batch.returns)
  )
  batch = batch._replace(
    transition=batch.transition._replace(value=value),
    advantages=batch.advantages / popart.unit(known),
    returns=target,
  )
  metrics = {f"target_{name}": known[name] for name in ("mean", "scale")}
  return runner._replace(variables=variables), batch, metrics


def _optimizer(config: Config) -> optax.GradientTransformation:
  """Returns the optimizer of a whole run."""
  num_steps = config.num_updates * config.num_epochs * config.num_minibatches
  return common.make_optimizer(config, num_steps)


def _learn(config, network, runner, batch, loss, key):
  """Runs all epochs over one batch: a single loop over its minibatches."""
  optimizer = _optimizer(config)
  keys = jax.random.split(key, config.num_epochs)
  rows = runner.world.reset.shape[0]
  order = functools.partial(jax.random.permutation, x=rows)
  orders = jax.vmap(order)(keys).reshape(-1, rows // config.num_minibatches)
  # A minibatch has environments of all devices. A rollout is small compared to
  # the gradient's memory, so it is copied once to every device.
  batch = device_mesh.replicate(batch)
  form = flat_parameters.choose(optimizer, runner.variables, runner.opt_state)

  def step(carry, chosen):
    held, opt_state = carry
    minibatch = device_mesh.spread(
      jax.tree.map(lambda x: x[chosen], batch), "environments of a minibatch"
    )
    gradients, metrics = jax.grad(loss, argnums=2, has_aux=True)(
      config, network, form.unpack(held), minibatch
    )
    gradients = form.pack(gradients)
    metrics["grad_norm"] = optax.tree.norm(gradients)
    held, opt_state, skipped = optimizers.step(
      optimizer,
      gradients,
      opt_state,
      held,
      skip_nonfinite=config.skip_nonfinite,
    )
    return (held, opt_state), metrics | skipped

  held = form.pack(runner.variables), form.pack_state(runner.opt_state)
  (held, opt_state), metrics = jax.lax.scan(step, held, orders)
  variables, opt_state = form.unpack(held), form.unpack_state(opt_state)
  return variables, opt_state, optimizers.over_steps(metrics)


def replay(
  config: Config,
  network: CausalNetwork,
  variables: PyTree,
  batch: Batch,
  read: Callable[[Any, Array, Array], T],
) -> T:
  """Runs a network over its rollout, in parallel over time.

  Args:
    config: the configuration, with the segment length.
    network: of the player.
    variables: of the network.
    batch: minibatch of whole environments.
    read: from the policy, its values and the actions taken, all with the axes
      (num_envs, time), to a tree of arrays with these axes first.

  Returns:
    What `read` returns, axes (num_envs, time, ...).
  """

  def run(memory, segment):
    observation, reset, action = segment
    actor, value, memory = network.apply(variables, observation, memory, reset)
    return memory, read(actor, value, action)

  taken, memory = batch.transition, batch.memory
  sequence = taken.observation, taken.reset, taken.action
  length = config.segment_length
  if length is None:
    return run(memory, sequence)[1]

  def step(memory, segment):
    if config.truncate_gradient:
      memory = jax.lax.stop_gradient(memory)
    return run(memory, segment)

  def cut(x):
    return jnp.moveaxis(x.reshape(len(x), -1, length, *x.shape[2:]), 1, 0)

  def join(x):
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])

  segments = jax.tree.map(cut, sequence)
  _, outputs = jax.lax.scan(jax.checkpoint(step), memory, segments)
  return jax.tree.map(join, outputs)
