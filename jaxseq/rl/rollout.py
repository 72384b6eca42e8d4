"""Playing a recurrent policy in a batch of environments, inside `jit`."""

import dataclasses
import functools
from typing import Any
from typing import Literal
from typing import NamedTuple

from absl import logging
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import _steps
from jaxseq.rl import envs
from jaxseq.rl import mixtures
from jaxseq.rl import networks
from jaxseq.rl import wrappers
from jaxseq.rl.envs import _described_spaces
from jaxseq.rl.envs import base
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import registry
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs import teams
from jaxseq.training import batching
from jaxseq.types import PyTree

Array = jax.Array

Agents = Literal["refused", "apart", "central"]

# Limit on the size of the memories after all steps of a rollout.
_KEPT_BYTES = 2**28


class World(NamedTuple):
  """A batch of environments with the policy's memory of them.

  In a game of several agents, see `envs.teams`, every leaf except the game's
  state has one row per agent.

  Attributes:
    env_state: environment states, leading axis num_envs; in a mixture, a tuple
      of the states of each block.
    observation: (num_envs, d), to act on next; or an `ImageObservation`; or
      either with its mask, see `envs.action_masks`.
    reset: (num_envs,) bool; the memory has to be reset before the
      observation, the first of an episode that follows another one.
    memory: sequence-model states, leading axis num_envs.
  """

  env_state: PyTree
  observation: Array
  reset: Array
  memory: PyTree


class Transition(NamedTuple):
  """The record of one step; leading axes as the caller stacks them.

  Attributes:
    observation: (..., d), the policy's input.
    reset: (...) bool; whether it was the first of an episode, as the network
      saw it: `terminated | truncated` of the step before, or
      `info["forget"]` of its environment.
    action: (..., *action shape).
    log_prob: (...), of the action.
    value: (...), of the observation.
    reward: (...) float32.
    terminated: (...) bool; the episode ended after this step.
    truncated: (...) bool; the episode was truncated after this step.
    final_value: (...), value of the observation after the step if the
      episode was truncated, else 0; None if it was not requested.
    episode_return: (...) float32, of the episode that ended here.
    episode_length: (...) int32, of the episode that ended here.
    trial: (...) int32, index of the step's trial in a meta-episode;
      None if episodes have no trials.
    trial_ended: (...) bool; the trial ended after this step; None if
      episodes have no trials.
  """

  observation: Array
  reset: Array
  action: Array
  log_prob: Array
  value: Array
  reward: Array
  terminated: Array
  truncated: Array
  final_value: Array | None
  episode_return: Array
  episode_length: Array
  trial: Array | None = None
  trial_ended: Array | None = None


def environment(
  env_id: str,
  options: tuple[tuple[str, Any], ...] = (),
  params: tuple[tuple[str, Any], ...] = (),
  *,
  as_images: bool = False,
  previous_action: str = "zeros",
  scale_actions: bool = False,
  agents: Agents = "refused",
) -> tuple[protocol.Env, PyTree]:
  """Returns the environment that agents see, and its parameters.

  Args:
    env_id: an id that `jaxseq.rl.envs.make` accepts.
    options: pairs of names and values, passed on to it.
    params: fields of the environment's parameters to override.
    as_images: whether images stay images, stacked if the environment has a
      `frame_stack`; they are flattened otherwise.
    previous_action: see `wrappers.FlattenHistory`.
    scale_actions: whether the previous action is shown in units of its bounds,
      if it has any, see `wrappers.FlattenHistory`.
    agents: how a game of several agents is observed, see `envs.teams`:
      "refused"; "apart", each agent sees its own observation; or "central",
      with the state for a critic.

  Returns:
    An environment with flat float32 observations that hold the previous
    action and the first-step flag, or with `wrappers.ImageObservation`s, with
    the mask of actions if it has one, and with episode statistics, or a
    mixture of such environments; and the parameters to call it with.

  Raises:
    ValueError: if the id, an option or a parameter is unknown, if observations
      or rewards differ from the environment's declaration, if it is a game of
      several agents and these are refused, or a central critic is requested
      for a single player.
  """
  show = as_images, previous_action, scale_actions, agents
  return _environment(registry.replaced(), env_id, options, params, *show)


# The result is cached, so it must hold arrays, never tracers of a caller.
@functools.cache
def _environment(
  replaced, env_id, options, params, as_images, before, scale_actions, agents
):
  """Builds the environment; cached until a registered one is replaced."""
  del replaced
  with jax.ensure_compile_time_eval():
    env, env_params = _made(env_id, options, params)
  _check(env_id, env, env_params)
  if "max_steps_in_episode" not in dict(params):
    _warn_of_one_step(env_id, env)
  with jax.ensure_compile_time_eval():
    show = wrappers.images if as_images else wrappers.flat
    if hasattr(env, "num_agents"):
      show = _show_agents(env_id, as_images, agents)
    elif agents == "central" and not env_id.startswith(registry.OUTSIDE):
      expected = f"'separate': {env_id} is played by one agent"
      raise validate.error("critic", agents, expected)
    history = {"previous_action": before}
    if scale_actions:
      # Of the first of a mixture, as in the network's actions.
      space = env.action_space(env_params)
      history["action_bounds"] = spaces.bounds(space)
    env = mixtures.wrap(
      env, lambda e: wrappers.EpisodeStatistics(show(e, **history))
    )
  return env, env_params


def _show_agents(env_id, as_images, agents):
  """Returns the wrapper that flattens a game's observations."""
  if agents == "refused":
    expected = "an environment of one player: PPO and PQN play several agents"
    raise validate.error("env_id", env_id, expected)
  if as_images:
    expected = f"None: the agents of {env_id} are shown vectors"
    raise validate.error("network.encoder", "one of images", expected)
  return functools.partial(
    wrappers.AgentHistory, shows_state=agents == "central"
  )


def unwrapped(
  env_id: str,
  options: tuple[tuple[str, Any], ...] = (),
  params: tuple[tuple[str, Any], ...] = (),
) -> tuple[protocol.Env, PyTree]:
  """Returns the environment without wrappers; of a mixture the first one.

  The arguments and errors are those of `environment`.
  """
  with jax.ensure_compile_time_eval():
    env, env_params = _made(env_id, options, params)
    if isinstance(env, mixtures.Mixture):
      return env.member(0, env_params)
  return env, env_params


def _check(env_id, env, env_params):
  """Checks observations and rewards of an environment, or of a mixture's."""
  if isinstance(env, mixtures.Mixture):
    with jax.ensure_compile_time_eval():
      members = [env.member(i, env_params) for i in range(len(env.envs))]
    for index, member in enumerate(members):
      if hasattr(member[0], "num_agents"):
        expected = "environments of one player in a mixture"
        raise validate.error(f"{env_id}[{index}]", "several agents", expected)
      _check(f"{env_id}[{index}]", *member)
    return
  if hasattr(env, "num_agents"):
    env = teams.FirstAgent(env)
  # First without wrappers that hide a part, which rely on the declared space.
  inner = wrappers.innermost(env)
  if inner is not env:
    _described_spaces.check(env_id, inner, inner.default_params)
  _described_spaces.check(env_id, env, env_params)


def _warn_of_one_step(env_id, env):
  """Warns if every episode is cut off at once because no limit was set."""
  fields = "max_steps", "default_params"
  # Neither gymnax's base nor ours knows how long an episode may be.
  bases = "gymnax.environments.environment", base.__name__
  for cls in type(wrappers.innermost(env)).__mro__:
    if any(field in vars(cls) for field in fields):
      if cls.__module__ in bases:
        logging.warning(
          "%s: every episode is cut off after one step, as neither max_steps"
          " nor default_params sets a time limit.",
          env_id,
        )
      return


def _made(env_id, options, params):
  """Makes an environment, and its parameters with overridden fields."""
  env, env_params = envs.make(env_id, **dict(options))
  if not hasattr(env_params, "max_steps_in_episode"):
    expected = "a dataclass with max_steps_in_episode, the time limit"
    raise validate.error(f"parameters of {env_id}", env_params, expected)
  names = [field.name for field in dataclasses.fields(env_params)]
  for name, _ in params:
    validate.choice("env_params", name, names)
  env_params = dataclasses.replace(env_params, **dict(params))
  if hasattr(env, "check_params"):
    env.check_params(env_params)
  return env, env_params


class Player(NamedTuple):
  """A policy and its environment.

  Attributes:
    env: an environment with the interface of gymnax, or a mixture.
    env_params: its parameters.
    network: the policy and critic.
  """

  env: protocol.Env
  env_params: PyTree
  network: networks.Policy


def start(
  player: Player, key: Array, num_envs: int, variables: PyTree = None
) -> World:
  """Returns `num_envs` fresh environments and fresh memories of them.

  Args:
    player: the policy and the environment.
    key: random key.
    num_envs: number of environments.
    variables: the network's, needed if its initial memories are learned or
      tuned; None otherwise.

  Raises:
    ValueError: if memories are learned, and there are no variables.
  """
  world = begin(player, key, num_envs)
  # Fresh memories are in the state that a reset would put them in.
  rows = world.reset.shape
  memory = player.network.initial_state(rows, variables=variables)
  return world._replace(memory=memory)


def begin(player: Player, key: Array, num_envs: int) -> World:
  """Returns the result of `start`, without the memories.

  Args:
    player: the environment; its network is not used.
    key: random key.
    num_envs: number of environments.
  """
  reset, _ = mixtures.batched(player.env)
  keys = jax.random.split(key, num_envs)
  observation, env_state = reset(keys, player.env_params)
  rows = num_envs * getattr(player.env, "num_agents", 1)
  return World(env_state, observation, jnp.zeros((rows,), bool), ())


def step(
  player: Player,
  variables: PyTree,
  world: World,
  key: Array,
  *,
  greedy: bool = False,
) -> tuple[World, Transition]:
  """Plays one step in every environment.

  Args:
    player: the policy and the environment.
    variables: the network's variables.
    world: state of the environments and memories.
    key: random key.
    greedy: whether to take the most probable action instead of sampling.

  Returns:
    The world afterwards, and the transitions, leading axis num_envs.
  """
  world, taken, _ = _step(player, variables, world, key, greedy)
  return world, taken


def _step(player, variables, world, key, greedy):
  """Returns the next world, the transitions, and their last observations."""
  env, env_params, network = player
  num_envs = world.reset.shape[0] // getattr(env, "num_agents", 1)
  key_action, key_env = jax.random.split(key)
  policy, value, memory = network.apply(
    variables, world.observation, world.memory, world.reset, method="step"
  )
  action = policy.mode() if greedy else policy.sample(key_action)
  keys = jax.random.split(key_env, num_envs)
  done = jax.vmap(network.actions.to_environment)(action)
  _, env_step = mixtures.batched(env)
  observation, env_state, reward, terminated, truncated, info = env_step(
    keys, world.env_state, done, env_params
  )
  if not jnp.issubdtype(reward.dtype, jnp.floating):
    reward = reward.astype(jnp.float32)
  transition = Transition(
    observation=world.observation,
    reset=world.reset,
    action=action,
    log_prob=policy.log_prob(action),
    value=value,
    reward=reward,
    terminated=terminated,
    truncated=truncated,
    final_value=None,
    episode_return=info["returned_episode_return"],
    episode_length=info["returned_episode_length"],
    trial=info.get("trial"),
    trial_ended=info.get("trial_ended"),
  )
  reset = terminated | truncated
  if "forget" in info:
    reset |= info["forget"]
  after = World(env_state, observation, reset, memory)
  return after, transition, info["final_observation"]


def collect(
  player: Player,
  variables: PyTree,
  world: World,
  key: Array,
  num_steps: int,
  *,
  greedy: bool = False,
  final_values: bool = False,
) -> tuple[World, Transition]:
  """Plays `num_steps` steps.

  Final values are computed for all steps at once after the last of them, as
  no step needs them: one pass of the network without a loop. That needs
  the memories after every step; if those would be large, as with
  the windows of attention, each step computes its own.

  Args:
    player: the policy and the environment.
    variables: the network's variables.
    world: state of the environments and memories.
    key: random key.
    num_steps: number of steps.
    greedy: as in `step`.
    final_values: whether to compute `Transition.final_value`.

  Returns:
    The world afterwards, and the transitions, axes (num_steps, num_envs).
  """
  at_once = final_values and num_steps * _num_bytes(world.memory) <= _KEPT_BYTES

  def play(variables, world, key):
    after, taken, final = _step(player, variables, world, key, greedy)
    if at_once:
      return after, (taken, final, after.memory)
    if final_values:
      taken = _with_final_values(player, variables, taken, final, after.memory)
    return after, taken

  keys = jax.random.split(key, num_steps)
  world, played = _steps.scan(play, variables, world, keys)
  if at_once:
    return world, _with_final_values(player, variables, *played)
  return world, played


def _with_final_values(player, variables, taken, observation, memory):
  """Adds values of the final observations; 0 if not truncated."""
  cut = taken.truncated & ~taken.terminated

  def compute():
    _, value, _ = player.network.apply(
      variables, observation, memory, jnp.zeros_like(cut), method="step"
    )
    return value

  # Costs a step of the network only if an episode is truncated.
  value = jax.lax.cond(
    batching.any_of_batch(cut), compute, lambda: jnp.zeros_like(taken.value)
  )
  return taken._replace(final_value=jnp.where(cut, value, 0))


def _num_bytes(tree) -> int:
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
