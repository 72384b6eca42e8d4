"""Decision Transformers in one file each, and what they reach when they play.

    player = conditioned_players.load("runs/dt/aaren/player.safetensors")
    returns = conditioned_players.play(player, key, targets)

A file is all that it takes to play: the environment, the network with its
variables, and by what observations and returns are scaled. It has the
safetensors format with JSON in its header; nothing of it is executed.
"""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _codec
from jaxseq import _validate
from jaxseq._types import PyTree
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

_SCALES = "scales"


class Player(NamedTuple):
  """A trained network that plays for the return that is asked for.

  Attributes:
    agent: the agent whose episodes were recorded; its environment is played.
    conditioned: whether the network sees returns-to-go.
    model: the network.
    variables: its variables, as NumPy arrays.
    scale: by what observations and returns are scaled.
  """

  agent: ppo.Config
  conditioned: bool
  model: decision.DecisionModel
  variables: PyTree
  scale: decision.Scales


def actions_of(player: rollout.Player) -> decision.Actions:
  """Returns the actions of an environment.

  Raises:
    ValueError: if they are neither one choice nor bounded numbers in a vector,
      or come with a mask.
  """
  space = spaces.convert(player.env.action_space(player.env_params))
  match space:
    case spaces.Discrete():
      seen = player.env.observation_space(player.env_params)
      if action_masks.is_masked(seen):
        raise _validate.error("env_id", seen, "observations without a mask")
      return decision.Actions("discrete", space.n)
    case spaces.Box() if len(space.shape) == 1 and spaces.is_bounded(space):
      low, high = (
        tuple(np.broadcast_to(np.asarray(bound, float), space.shape).tolist())
        for bound in (space.low, space.high)
      )
      return decision.Actions("continuous", len(low), low, high)
  expected = "Discrete, or a Box of finite bounds and one axis"
  raise _validate.error("action space", space, expected)


def play(player: Player, key: jax.Array, targets: jax.Array) -> jax.Array:
  """Plays one whole episode for each return that is asked for.

  The network sees each token once; all that it knows of the episode is in the
  states of its mixers, which are carried from the first step to the last.

  Args:
    player: who plays.
    key: random key.
    targets: (episodes,) returns asked for.

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
  """The returns (episodes,) achieved in the environment of a player."""
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
    # What follows the end of an episode does not count.
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
  """Returns the mean return over some episodes for each return asked for.

  From an arm with its model, variables and scales, the player of the recorded
  episodes, whose network is not used, a random key, and the returns asked for,
  each in so many `episodes`. The result has "return", for the last target, and
  "return_TARGET" for each of them.
  """
  asked = jnp.repeat(jnp.array(targets, jnp.float32), episodes)
  totals = _play(arm.conditioned, model, variables, scale, player, key, asked)
  means = totals.reshape(len(targets), episodes).mean(axis=1)
  return {"return": means[-1]} | {
    f"return_{target:g}": mean for target, mean in zip(targets, means)
  }


def save(path: str | os.PathLike, player: Player) -> None:
  """Writes a player to a file, which is replaced if it is there.

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

  Its environment is made when it plays: an id of your own has to be registered
  until then.

  Args:
    path: the file.

  Raises:
    ValueError: if the file is none of these, is damaged, or has a later format.
    FileNotFoundError: if there is no such file.
  """
  return described_file.load(path, KIND)


def _decode(contents):
  """The player of a file."""
  described, variables = contents.described, contents.tree
  conditions = _validate.instance(
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
