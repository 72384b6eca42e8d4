"""Decision Transformers saved in one file each, and returns that they achieve.

    player = conditioned_players.load("runs/dt/aaren/player.safetensors")
    returns = conditioned_players.play(player, key, targets)

A file contains all that is needed to play: the environment, the network with
its variables, and the scales of observations and returns. It has the
safetensors format with JSON in its header; loading it executes no code.
"""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _codec
from jaxseq import validate
from jaxseq.interop import described_file
from jaxseq.rl import algorithms
from jaxseq.rl import evaluate
from jaxseq.rl import mixtures
from jaxseq.rl import recording
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import spaces
from jaxseq.tasks import decision
from jaxseq.types import PyTree

_SCALES = "scales"


class Player(NamedTuple):
  """A trained network that plays for a requested return.

  Attributes:
    agent: the agent whose episodes were recorded; its environment is played.
    conditioned: whether the network sees returns-to-go.
    model: the network.
    variables: its variables, as NumPy arrays.
    scale: scales of observations and returns.
  """

  agent: ppo.Config
  conditioned: bool
  model: decision.DecisionModel
  variables: PyTree
  scale: decision.Scales


def actions_of(player: rollout.Player) -> decision.Actions:
  """Returns the action specification of an environment.

  Raises:
    ValueError: if actions are neither one choice nor a vector of bounded
      numbers, or have a mask.
  """
  space = spaces.convert(player.env.action_space(player.env_params))
  match space:
    case spaces.Discrete():
      seen = player.env.observation_space(player.env_params)
      if action_masks.is_masked(seen):
        raise validate.error("env_id", seen, "observations without a mask")
      return decision.Actions("discrete", space.n)
    case spaces.Box() if len(space.shape) == 1 and spaces.is_bounded(space):
      low, high = (
        tuple(np.broadcast_to(np.asarray(bound, float), space.shape).tolist())
        for bound in (space.low, space.high)
      )
      return decision.Actions("continuous", len(low), low, high)
  expected = "Discrete, or a Box of finite bounds and one axis"
  raise validate.error("action space", space, expected)


def play(player: Player, key: jax.Array, targets: jax.Array) -> jax.Array:
  """Plays one whole episode for each requested return.

  The network sees each token once; its only memory of the episode is the states
  of its mixers, which are carried from the first step to the last.

  Args:
    player: the player.
    key: random key.
    targets: (episodes,) requested returns.

  Returns:
    (episodes,) returns achieved.
  """
  world = ppo.player(player.agent)

  @jax.jit
  def compute(variables, scale, key, targets):
    return _play(
      player.conditioned, player.model, variables, scale, world, key, targets
    )

  targets = jnp.asarray(targets, jnp.float32)
  return compute(player.variables, player.scale, key, targets)


def _play(conditions, model, variables, scale, world, key, targets):
  """Plays one episode per target; returns the achieved returns (episodes,)."""
  env, env_params, _ = world
  count = targets.shape[0]
  size = recording.observation_size(world)
  key_start, key_play = jax.random.split(key)
  reset, env_step = mixtures.batched(env)
  keys = jax.random.split(key_start, count)
  observation, env_state = reset(keys, env_params)

  def step(played, key):
    env_state, observation, memory, to_go = played.state
    returns = to_go / scale.returns
    if not conditions:
      returns = jnp.zeros_like(returns)
    seen = (observation[:, :size] - scale.mean) / scale.deviation
    time = jnp.full((count,), played.time)
    output, memory = model.apply(
      variables, returns, seen, time, memory, method="decide"
    )
    action = decision.choose(model.actions, output)
    memory = model.apply(variables, action, time, memory, method="remember")
    keys = jax.random.split(key, count)
    observation, env_state, reward, terminated, truncated, _ = env_step(
      keys, env_state, action, env_params
    )
    # Rewards after the end of an episode do not count.
    to_go = to_go - jnp.where(played.complete, 0.0, reward)
    state = env_state, observation, memory, to_go
    return state, reward, terminated | truncated

  memory = model.initial_state((count,))
  to_go = jnp.asarray(targets, jnp.float32)
  return evaluate.play(
    step,
    (env_state, observation, memory, to_go),
    key_play,
    count,
    env_params.max_steps_in_episode,
  ).episode_return


def achieved(
  arm: decision.ArmConfig,
  model: decision.DecisionModel,
  variables: PyTree,
  scale: decision.Scales,
  player: rollout.Player,
  key: jax.Array,
  targets: tuple[float, ...],
  episodes: int,
) -> dict[str, jax.Array]:
  """Returns the mean achieved return for each requested return.

  From an arm with its model, variables and scales, the player of the recorded
  episodes, whose network is not used, a random key, and the requested returns,
  each played for `episodes` episodes. The result has "return", for the last
  target, and "return_TARGET" for each target.
  """
  returns = jnp.repeat(jnp.array(targets, jnp.float32), episodes)
  totals = _play(arm.conditioned, model, variables, scale, player, key, returns)
  means = totals.reshape(len(targets), episodes).mean(axis=1)
  return {"return": means[-1]} | {
    f"return_{target:g}": mean for target, mean in zip(targets, means)
  }


def save(path: str | os.PathLike, player: Player) -> None:
  """Writes a player to a file, replacing an existing one.

  Args:
    path: the file.
    player: the player, with variables of one seed.

  Raises:
    OSError: if the file cannot be written.
  """
  described = {
    "agent": _codec.encode(player.agent, "agent"),
    "conditioned": player.conditioned,
    "network": _codec.encode(player.model, "network", _codec.OF_DEVICES),
  }
  scale = {k: np.asarray(x) for k, x in player.scale._asdict().items()}
  variables = {**player.variables, _SCALES: scale}
  described_file.save(path, KIND, described, variables)


def load(path: str | os.PathLike) -> Player:
  """Reads a player that `save` wrote.

  Its environment is built when it plays: register an id of your own before
  that.

  Args:
    path: the file.

  Raises:
    ValueError: if the file is not a player, is damaged, or has a later format.
    FileNotFoundError: if there is no such file.
  """
  return described_file.load(path, KIND)


def _decode(contents):
  """Decodes the player of a file."""
  described, variables = contents.described, contents.tree
  conditions = validate.instance(
    "conditioned", described["conditioned"], bool, "True or False"
  )
  model = described_file.make_network(
    decision.DecisionModel, described["network"], contents, "network"
  )
  scales = variables.pop(_SCALES, {})
  described_file.check_names(scales, decision.Scales._fields)
  base = algorithms.published(ppo.Config)
  return Player(
    described_file.build(ppo.Config, described["agent"], "agent", base),
    conditions,
    model,
    variables,
    decision.Scales(**scales),
  )


KIND = described_file.Kind(
  "player",
  "conditioned_players.save",
  ("agent", "conditioned", "network"),
  _decode,
)
