"""Options, optimizer and reports that all agents have in common."""

from collections.abc import Callable
from collections.abc import Mapping
import copy
import dataclasses
import functools
import math
import types
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.rl import actions
from jaxseq.rl import mixtures
from jaxseq.rl import networks
from jaxseq.rl import normalization
from jaxseq.rl import q_networks
from jaxseq.rl import return_scale
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.training import optimizers
from jaxseq.training import recipes
from jaxseq.types import PyTree

Array = jax.Array
C = TypeVar("C", bound="Config")


@dataclasses.dataclass(frozen=True)
class Config:
  """Configuration fields of all agents; each agent adds its own.

  Attributes:
    env_id: an id that `jaxseq.rl.envs.make` knows.
    env_options: pairs of names and values passed on to it; a mapping becomes
      pairs, sorted by name.
    env_params: pairs of names and values, or a mapping, of the environment's
      parameters that are not the defaults.
    network: encoder, layers with a memory, and widths of the heads.
    normalize_observation: whether the network sees observations with their mean
      subtracted, in standard deviations; see `normalization`. A replay stores
      them unnormalized.
    drop_observation: probability that an observation is hidden from the network
      in training, see `wrappers.Dropped`; an evaluation shows all of them.
      Statistics of observations count hidden numbers as 0.
    shows_action: whether the network sees the previous action beside each
      observation. Environments that show it by themselves still do.
    scale_actions: whether actions that are numbers with bounds are scaled, so
      that -1 stands for the lower bound and 1 for the upper one: in the policy,
      whose actions are clipped to the bounds, and as the previous action that
      the network sees. SAC always scales the policy's.
    num_envs: environments played in parallel; games, if several agents play.
    total_steps: environment steps of the whole run, over all environments;
      rounded down to whole updates.
    learning_rate: of Adam.
    learning_rate_schedule: "constant", or "linear" to 0 over the run.
    ssm_learning_rate_factor: multiplies the learning rate of the recurrence's
      own parameters (eigenvalues, input matrix, step sizes).
    max_grad_norm: gradients are clipped to this global norm.
    adam_epsilon: of Adam.
    gamma: discount.
    reward_normalization: "returns" divides the training rewards by the root
      mean square of the discounted returns so far, see `return_scale`: learning
      is then independent of the size of rewards. "none" does not change them.
      Episode metrics are of raw rewards.
    reward_scale: multiplies the rewards after normalization.
    bootstrap_truncated: whether an episode that a time limit truncates is
      bootstrapped from its value. If not, truncation counts as termination.
    skip_nonfinite: whether an optimizer step that would produce a non-finite
      number is skipped, see `optimizers.step`.
    traced: names of the fields that may be traced arrays, see `override`.
    takes_mesh: whether an update spreads its training data over the devices of
      a mesh.
  """

  takes_mesh: ClassVar[bool] = False
  traced: ClassVar[tuple[str, ...]] = (
    "learning_rate",
    "max_grad_norm",
    "adam_epsilon",
    "gamma",
    "reward_scale",
  )

  env_id: str = "RepeatPreviousEasy"
  env_options: tuple[tuple[str, Any], ...] = ()
  env_params: tuple[tuple[str, Any], ...] = ()
  network: networks.Config = networks.Config()
  normalize_observation: bool = False
  drop_observation: float = 0.0
  shows_action: bool = True
  scale_actions: bool = False
  num_envs: int = 64
  total_steps: int = 15_000_000
  learning_rate: float = 5e-5
  learning_rate_schedule: Literal["constant", "linear"] = "constant"
  ssm_learning_rate_factor: float = 1.0
  max_grad_norm: float = 0.5
  adam_epsilon: float = 1e-5
  gamma: float = 0.99
  reward_normalization: Literal["none", "returns"] = "none"
  reward_scale: float = 1.0
  bootstrap_truncated: bool = True
  skip_nonfinite: bool = False

  def __post_init__(self):
    for name in ("env_options", "env_params"):
      object.__setattr__(self, name, _pairs(name, getattr(self, name)))
    expected = "a networks.Config, such as networks.Config(nn.StackConfig())"
    validate.instance("network", self.network, networks.Config, expected)
    rates = "learning_rate", "ssm_learning_rate_factor"
    validate.fields(
      self,
      positive=("num_envs", "total_steps"),
      above_zero=(*rates, "max_grad_norm", "adam_epsilon", "reward_scale"),
      shares=("gamma", "drop_observation"),
    )
    validate.literals(self)
    factor, stack = self.ssm_learning_rate_factor, self.network.stack
    if factor != 1 and not stack.ssm_parameters:
      lacks = "names no parameters for a group of their own"
      expected = f"1: the mixer {stack.mixer!r} {lacks}"
      raise validate.error("ssm_learning_rate_factor", factor, expected)

  def _check_total_steps(self, length: str, starts: str = "") -> None:
    """Checks that a run learns at least once and has fewer than 2**31 steps."""
    # Arguments are field names: steps per update in each environment, and
    # sequences before the first learning update; "" if every update learns.
    total, envs, steps = self.total_steps, self.num_envs, getattr(self, length)
    waits = -(-getattr(self, starts) // envs) if starts else 1
    least = envs * steps * waits
    if total >= 2**31:
      raise validate.error("total_steps", total, "less than 2**31")
    if total >= least:
      return
    too = ""
    if total >= envs * steps:
      name, most = starts, total // (envs * steps) * envs
    elif total >= steps:
      name, most = "num_envs", total // steps
      too = f" and {starts}" if starts and getattr(self, starts) > most else ""
    else:
      name, most = length, max(total // (envs * waits), 1)
    fields = f"num_envs = {envs}, {length} = {steps}"
    if starts:
      fields += f", {starts} = {getattr(self, starts)}"
    raise ValueError(
      f"total_steps: got {total}, expected at least {least}, one update that"
      f" learns ({fields}). Lower {name}{too} to {most}, or raise total_steps."
    )

  @property
  def agents(self) -> rollout.Agents:
    """The view of games of several agents, see `rollout.environment`."""
    return "refused"

  @property
  def steps_per_update(self) -> int:
    """Environment steps between updates."""
    raise NotImplementedError

  @property
  def num_updates(self) -> int:
    """Updates of the whole run."""
    return self.total_steps // self.steps_per_update


def _pairs(name: str, value: object) -> tuple[tuple[str, Any], ...]:
  """Returns hashable pairs of names and values, from pairs or a mapping."""
  pairs = sorted(value.items()) if isinstance(value, Mapping) else value
  expected = "pairs such as (('k', 2),), of values that can be hashed"
  if not isinstance(pairs, list | tuple) or not all(
    isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
  ):
    raise validate.error(name, value, expected)
  pairs = tuple(map(tuple, pairs))
  try:
    hash(pairs)
  except TypeError as error:
    raise validate.error(name, value, expected) from error
  return pairs


@dataclasses.dataclass(frozen=True)
class Exploration:
  """Fields of agents that take a random action with probability epsilon.

  Attributes:
    epsilon_start: initial probability of a random action.
    epsilon_end: final probability.
    exploration_fraction: fraction of the run over which epsilon falls.
  """

  epsilon_start: float = 1.0
  epsilon_end: float = 0.05
  exploration_fraction: float = 0.2

  def __post_init__(self):
    names = "epsilon_start", "epsilon_end", "exploration_fraction"
    validate.fields(self, shares=names)


def exploration(config: Any, num_updates: Array) -> Array:
  """Returns epsilon after `num_updates`, of any shape, as float32."""
  span = max(1, round(config.exploration_fraction * config.num_updates))
  bounds = config.epsilon_start, config.epsilon_end
  return optax.linear_schedule(*bounds, span)(num_updates.astype(jnp.float32))


def exploring(config: Any, num_updates: Array) -> dict[str, PyTree]:
  """Returns the exploration variables of a network after `num_updates`.

  The dict is empty if the configuration has no fields of `Exploration`.
  """
  if not isinstance(config, Exploration):
    return {}
  epsilon = exploration(config, num_updates)
  return {q_networks.EXPLORATION: {"epsilon": epsilon}}


def player(
  config: Config,
  make: Callable[[actions.Spec], networks.Policy],
  spec_of: Callable[[Any], actions.Spec] | None = None,
) -> rollout.Player:
  """Returns the environment of a configuration and a network to play it.

  `make` builds the network from the action spec, which `spec_of` reads from the
  environment's action space; by default that of `actions`.

  Raises:
    ValueError: if the environment or an option is unknown.
  """
  env, env_params = rollout.environment(
    config.env_id,
    config.env_options,
    config.env_params,
    as_images=config.network.encoder is not None,
    previous_action="zeros" if config.shows_action else "none",
    scale_actions=config.scale_actions,
    agents=config.agents,
  )
  if spec_of is None:
    scaled = config.scale_actions
    spec_of = actions.scaled_spec_of if scaled else actions.spec_of
  # Bounds are numbers here, even if they are made by jax.numpy.
  with jax.ensure_compile_time_eval():
    spec = spec_of(env.action_space(env_params))
  network = make(spec)
  if config.normalize_observation:
    network = normalization.normalized(network, env, env_params)
  return rollout.Player(env, env_params, network)


def training_player(config: Config, player: rollout.Player) -> rollout.Player:
  """Returns the training player of an evaluation player.

  `on_policy` and `off_policy` play with it in training. Its spaces, and so its
  network, are those of the evaluation player.
  """
  chance = config.drop_observation
  if not chance:
    return player
  env = mixtures.wrap(player.env, lambda env: wrappers.Dropped(env, chance))
  return player._replace(env=env)


def q_network(config: Any, spec: actions.Spec) -> q_networks.QNetwork:
  """Returns a Q-network to play the environment of a configuration.

  The configuration has the fields of `value_losses.Options`, and `dueling`.

  Raises:
    ValueError: if the action is not one choice.
  """
  if spec.kind != "categorical":
    why = f"not {spec.kind} ones: a Q-network has one value for each"
    expected = f"an environment with Discrete actions, {why}"
    raise validate.error("env_id", config.env_id, expected)
  return q_networks.QNetwork(
    config.network, spec, config.dueling, config.support
  )


def start(
  config: Config,
  players: rollout.Player,
  key: Array,
  beside: Mapping[str, PyTree] = types.MappingProxyType({}),
) -> tuple[rollout.World, PyTree, Array]:
  """Returns environments, the network's variables, and the key of the run.

  The variables include the collections of `beside`.
  """
  key_network, key_world, key_run = jax.random.split(key, 3)
  world = rollout.begin(players, key_world, config.num_envs)
  observation = jax.tree.map(lambda x: x[:, None], world.observation)
  variables = {**players.network.init(key_network, observation), **beside}
  memory = players.network.initial_state(world.reset.shape, variables=variables)
  return world._replace(memory=memory), variables, key_run


def override(config: C, overrides: Mapping[str, Any] | None) -> C:
  """Returns a configuration with traced arrays in place of some numbers.

  A configuration is static: each value compiles another program. One program
  for many values, in sequence or in parallel by `jax.vmap`, takes them as
  arguments:

      train = lambda runner, rate: ppo.train(
        config, runner, config.num_updates, {"learning_rate": rate}
      )
      runners, metrics = jax.vmap(train)(runners, rates)

  Args:
    config: an agent's.
    overrides: by name, () float values of some of the fields in
      `config.traced`, which are not validated; or None.

  Returns:
    The configuration for use within a program; it is not hashable.

  Raises:
    ValueError: a field is unknown, cannot be traced, or is not a scalar.
  """
  if not overrides:
    return config
  changed = copy.copy(config)
  for name, value in overrides.items():
    validate.choice("overrides", name, config.traced)
    value = jnp.asarray(value, jnp.float32)
    if value.shape:
      received = f"an array of shape {value.shape}"
      raise validate.error(
        f"overrides: {name}", received, "a scalar: use jax.vmap"
      )
    object.__setattr__(changed, name, value)
  return changed


def return_statistics(
  config: Config, num_agents: int = 1
) -> return_scale.Statistics | None:
  """Returns the statistics of returns before the first update, or None."""
  if config.reward_normalization != "returns":
    return None
  return return_scale.initial(config.num_envs * num_agents)


def scale_rewards(
  config: C,
  statistics: return_scale.Statistics | None,
  transition: rollout.Transition,
) -> tuple[C, return_scale.Statistics | None, dict[str, Array]]:
  """Returns a configuration with the `reward_scale` of this update.

  Args:
    config: the configuration.
    statistics: of the returns before this update; None without normalization.
    transition: the steps played, (num_envs, time).

  Returns:
    The configuration for use within the update; the statistics including these
    steps; and the metric `reward_scale`.
  """
  if statistics is None:
    return config, None, {}
  ended = transition.terminated | transition.truncated
  statistics = return_scale.merge(
    statistics, transition.reward, ended, config.gamma
  )
  factor = config.reward_scale * return_scale.scale(statistics)
  changed = override(config, {"reward_scale": factor})
  return changed, statistics, {"reward_scale": factor}


def observation_metrics(
  player: rollout.Player, observation: PyTree
) -> dict[str, Array]:
  """Returns the metric `observation_size`, see `normalization.largest`."""
  size = normalization.largest(player, observation)
  return {} if size is None else {"observation_size": size}


def make_train(
  update: Callable[..., tuple[Any, dict[str, Array]]],
) -> Callable[..., tuple[Any, dict[str, Array]]]:
  """Returns `train(config, runner, num_updates, overrides=None)`."""

  @functools.partial(jax.jit, static_argnums=(0, 2))
  def train(config, runner, num_updates, overrides=None):
    """Runs `num_updates` updates of an agent.

    Returns the new run state, and the metrics of `update` stacked along a
    leading axis. `overrides` replace numbers of the configuration, see
    `common.override`. A program that no longer needs the old state should
    donate its buffers, or there are two replays in memory:
    `jax.jit(r2d2.train, static_argnums=(0, 2), donate_argnums=1)`.
    """
    return jax.lax.scan(
      lambda runner, _: update(config, runner, overrides),
      runner,
      length=num_updates,
    )

  return train


def make_optimizer(
  config: Config, num_steps: int
) -> optax.GradientTransformation:
  """Returns Adam with clipped global norm and a group for the recurrence.

  A whole run has `num_steps` optimizer steps.
  """
  options = {
    "learning_rate": config.learning_rate,
    "schedule": config.learning_rate_schedule,
    "total_steps": num_steps,
    "eps": config.adam_epsilon,
    "max_grad_norm": config.max_grad_norm,
  }
  factor = config.ssm_learning_rate_factor
  if factor == 1:
    return optimizers.make_optimizer(optimizers.Config(**options))
  names = config.network.stack.ssm_parameters
  return optimizers.make_optimizer(recipes.slow_ssm(names, factor, **options))


def bootstraps(config: Config, player: rollout.Player) -> bool:
  """Returns whether a time limit may truncate episodes and is bootstrapped."""
  natural = getattr(player.env, "num_steps", math.inf)
  limit = player.env_params.max_steps_in_episode
  return config.bootstrap_truncated and natural >= limit


def episode_metrics(transition: rollout.Transition) -> dict[str, Array]:
  """Returns means over the episodes that ended, NaN if no episode did.

  From transitions with any leading axes to scalars: the number of `episodes`,
  `episode_return` and `episode_length`.
  """
  ended = transition.terminated | transition.truncated
  return {
    "episodes": ended.sum(),
    "episode_return": transition.episode_return.mean(where=ended),
    "episode_length": transition.episode_length.mean(where=ended),
  }
