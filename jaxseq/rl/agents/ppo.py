"""Recurrent PPO as pure functions: init, update, train.

All of them can be jitted and vmapped over seeds, with the configuration
static. A whole run is one program,

    runner = ppo.init(config, key)
    runner, metrics = ppo.train(config, runner, config.num_updates)

or chunks of updates with logging and checkpoints between them. Learning rates
and coefficients may differ between runs of a program, see `common.override`.

The loop is that of Lu et al., "Structured State Space Models for In-Context
Reinforcement Learning", arXiv:2303.03982, with one addition: an episode that
is cut off by a time limit is bootstrapped from the value of its last
observation. PPO is from Schulman et al., arXiv:1707.06347.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import ClassVar
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl import networks
from jaxseq.rl import normalization
from jaxseq.rl import rollout
from jaxseq.rl.agents import common
from jaxseq.rl.losses import advantages
from jaxseq.rl.losses import policy
from jaxseq.training import flat_parameters
from jaxseq.training import optimizers
from jaxseq.training.devices import device_mesh

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config(common.Config):
  """Everything that a training run depends on, except its key.

  Attributes, beside those of `common.Config`:
    rollout_length: steps in each environment between updates.
    num_epochs: passes over each rollout.
    num_minibatches: minibatches in a pass; each holds whole environments.
    gae_lambda: of the advantage estimates.
    clip: range of the probability ratio, and of the value if `clip_value`.
    clip_value: whether the value loss is clipped.
    normalize_advantage: whether advantages are normalized in each minibatch.
    value_coef: weight of the value loss.
    entropy_coef: weight of the entropy bonus.
    returns_per_trial: whether values and advantages take the end of a trial
      for that of an episode, as the memory does not. What later trials bring is
      then not credited to earlier ones: they are not played worse for the sake
      of finding something out, and a trial that is over is over, instead of
      being followed at once by the rewards of the next.
    segment_length: elements of a rollout that an update runs in parallel; the
      memory is carried from one segment to the next, and the gradient computes
      each of them again, so that its memory grows with a segment and not with
      the rollout. All of the rollout at once if None.
    truncate_gradient: whether the gradient stops at the borders of segments.
  """

  traced: ClassVar[tuple[str, ...]] = (
    *common.Config.traced,
    "gae_lambda",
    "clip",
    "value_coef",
    "entropy_coef",
  )

  rollout_length: int = 1024
  num_epochs: int = 30
  num_minibatches: int = 8
  gae_lambda: float = 1.0
  clip: float = 0.2
  clip_value: bool = True
  normalize_advantage: bool = True
  value_coef: float = 1.0
  entropy_coef: float = 0.0
  returns_per_trial: bool = False
  segment_length: int | None = None
  truncate_gradient: bool = False

  def __post_init__(self):
    super().__post_init__()
    _validate.fields(
      self,
      positive=("rollout_length", "num_epochs", "num_minibatches"),
      above_zero=("clip",),
      shares=("gae_lambda",),
      not_negative=("value_coef", "entropy_coef"),
    )
    self.network.stack.refuse(
      dropout="the network that learns must be the one that acted"
    )
    if self.num_envs % self.num_minibatches:
      whole = f"{self.num_envs}: a minibatch holds whole environments"
      expected = f"a divisor of num_envs = {whole}"
      raise _validate.error("num_minibatches", self.num_minibatches, expected)
    length = self.segment_length
    if length is None and self.truncate_gradient:
      expected = "False without a segment_length"
      raise _validate.error("truncate_gradient", True, expected)
    if length is not None and (length < 1 or self.rollout_length % length):
      expected = f"a divisor of rollout_length = {self.rollout_length}"
      raise _validate.error("segment_length", length, expected)
    least = self.steps_per_update
    self._check_total_steps(least, f"(num_envs * rollout_length = {least})")

  @property
  def steps_per_update(self) -> int:
    """Environment steps between updates."""
    return self.num_envs * self.rollout_length

  @property
  def minibatch_size(self) -> int:
    """Environments of a minibatch."""
    return self.num_envs // self.num_minibatches


class RunnerState(NamedTuple):
  """All that changes during training: save it to go on later.

  Attributes:
    variables: the network's.
    opt_state: the optimizer's.
    world: environments, and the network's memory of them.
    key: random key.
    num_updates: () int32, updates done.
  """

  variables: PyTree
  opt_state: PyTree
  world: rollout.World
  key: Array
  num_updates: Array


class _Batch(NamedTuple):
  """A rollout as the update uses it, axes (num_envs, time)."""

  memory: PyTree  # at the start of the rollout: no time axis
  transition: rollout.Transition
  advantages: Array
  returns: Array


def player(config: Config) -> rollout.Player:
  """Returns the environment of a configuration and the network to play it.

  Raises:
    ValueError: if the environment or an option is unknown, if the policy has
      no head for its action space, or if trials are asked for where episodes
      have none.
  """
  network = functools.partial(networks.ActorCritic, config.network)
  players = common.player(config, network)
  envs = getattr(players.env, "envs", (players.env,))
  have_trials = all(hasattr(env, "num_trials") for env in envs)
  if config.returns_per_trial and not have_trials:
    expected = f"False: the episodes of {config.env_id} have no trials"
    raise _validate.error("returns_per_trial", True, expected)
  return players


@functools.partial(jax.jit, static_argnums=0)
def init(config: Config, key: Array) -> RunnerState:
  """Returns the state before the first update; raises what `player` raises.

  Compiled on its own: jit it apart from `train`.
  """
  world, variables, key_run = common.start(config, player(config), key)
  opt_state = _optimizer(config).init(variables)
  return RunnerState(variables, opt_state, world, key_run, jnp.int32(0))


@functools.partial(jax.jit, static_argnums=0)
def update(
  config: Config,
  runner: RunnerState,
  overrides: Mapping[str, Array] | None = None,
) -> tuple[RunnerState, dict[str, Array]]:
  """Plays one rollout and learns from it.

  Args:
    config: the configuration.
    runner: the state before the update.
    overrides: numbers in place of those of the configuration, see
      `common.override`.

  Returns:
    The new state and a dict of scalars. `episode_return` and `episode_length`
    are means over the `episodes` episodes that ended in the rollout, NaN if
    there were none; losses and diagnostics are means over minibatches;
    `grad_norm` is that before clipping; `env_steps` counts all steps so far.

  Raises:
    UserError: (a ValueError) the devices of a mesh do not divide the number
      of the environments of a minibatch.
  """
  config = common.override(config, overrides)
  runner = runner._replace(world=device_mesh.spread_evenly(runner.world))
  key, key_rollout, key_learn = jax.random.split(runner.key, 3)
  players = player(config)
  bootstraps, length = common.bootstraps(config, players), config.rollout_length
  known = players, runner.variables, runner.world, key_rollout
  world, transition = rollout.collect(*known, length, final_values=bootstraps)
  # This step of the memory is not kept: the next rollout takes it again.
  last = world.observation, world.memory, world.reset
  _, bootstrap_value, _ = players.network.apply(
    runner.variables, *last, method="step"
  )
  transition = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), transition)
  over = transition.terminated
  if config.returns_per_trial:
    over |= transition.trial_ended
  advantage, returns = advantages.gae(
    transition.reward,
    transition.value,
    bootstrap_value,
    over,
    transition.truncated,
    transition.final_value,
    gamma=config.gamma,
    gae_lambda=config.gae_lambda,
  )
  batch = _Batch(runner.world.memory, transition, advantage, returns)
  variables, opt_state, metrics = _learn(
    config, players.network, runner, batch, key_learn
  )
  if config.normalize_observation:
    seen = normalization.observe(variables, transition.observation)
    if config.skip_nonfinite:
      skipped = metrics[optimizers.SKIPPED]
      seen = normalization.unless_skipped(variables, seen, skipped)
    variables = seen
  num_updates = runner.num_updates + 1
  metrics |= common.episode_metrics(transition)
  metrics["explained_variance"] = policy.explained_variance(
    transition.value, returns
  )
  metrics["env_steps"] = num_updates * config.steps_per_update
  world = device_mesh.spread_evenly(world)
  runner = RunnerState(variables, opt_state, world, key, num_updates)
  return runner, metrics


train = common.make_train(update)


def _optimizer(config: Config) -> optax.GradientTransformation:
  """Returns the optimizer of a whole run."""
  num_steps = config.num_updates * config.num_epochs * config.num_minibatches
  return common.make_optimizer(config, num_steps)


def _learn(config, network, runner, batch, key):
  """Runs all epochs over one batch: a single loop over its minibatches."""
  optimizer = _optimizer(config)
  keys = jax.random.split(key, config.num_epochs)
  order = functools.partial(jax.random.permutation, x=config.num_envs)
  orders = jax.vmap(order)(keys).reshape(-1, config.minibatch_size)
  # A minibatch has environments of all devices. A rollout is small beside what
  # the gradient keeps, so that each device gets all of it, once.
  batch = device_mesh.replicate(batch)
  form = flat_parameters.choose(optimizer, runner.variables, runner.opt_state)

  def step(carry, chosen):
    held, opt_state = carry
    minibatch = device_mesh.spread(
      jax.tree.map(lambda x: x[chosen], batch), "environments of a minibatch"
    )
    gradients, metrics = jax.grad(_loss, argnums=2, has_aux=True)(
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


def _loss(config, network, variables, batch):
  """The PPO loss of a minibatch, the network run in parallel over time."""
  taken = batch.transition
  total, metrics = policy.ppo(
    *_replay(config, network, variables, batch.memory, taken),
    old_log_prob=taken.log_prob,
    old_v=taken.value,
    advantages=batch.advantages,
    returns=batch.returns,
    clip=config.clip,
    value_coef=config.value_coef,
    entropy_coef=config.entropy_coef,
    clip_value=config.clip_value,
    normalize_advantage=config.normalize_advantage,
  )
  return total, metrics | {"loss": total}


def _replay(config, network, variables, memory, taken):
  """Log-probabilities, entropies and values, each (num_envs, time)."""

  def run(memory, segment):
    observation, reset, action = segment
    actor, value, memory = network.apply(variables, observation, memory, reset)
    return memory, (actor.log_prob(action), actor.entropy(), value)

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
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1)

  segments = jax.tree.map(cut, sequence)
  _, outputs = jax.lax.scan(jax.checkpoint(step), memory, segments)
  return jax.tree.map(join, outputs)
