"""Recordings of players of three skill levels, for offline RL.

PPO is trained, and its policy is kept at regular intervals. The random player
is the policy before the first update, the expert the one after the last, and
the medium player the first whose return exceeds the mean of theirs.
"""

from collections.abc import Callable
import functools
import pathlib
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import _json
from jaxseq import limits
from jaxseq import validate
from jaxseq.data import trajectories
from jaxseq.nn import masks
from jaxseq.rl import evaluate
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import spaces
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.training import finite
from jaxseq.training import progress
from jaxseq.training.devices import processes
from jaxseq.types import PyTree

Trajectories = trajectories.Trajectories
LEVELS = ("random", "medium", "expert")
RECORDED = "recorded.npz"
LEVELS_FILE = "levels.json"


class Level(NamedTuple):
  """A player of one skill level.

  Attributes:
    variables: the network's, on the host.
    mean_return: mean return over whole episodes.
  """

  variables: PyTree
  mean_return: float


def observation_size(player: rollout.Player) -> int:
  """Returns the size of the environment's own part of an observation.

  After it follow the previous action and the first-step flag, which a model
  that sees the actions does not need.
  """
  return spaces.flat_size(player.env.shown_space(player.env_params))


def train_levels(
  config: ppo.Config,
  key: jax.Array,
  checkpoints: int = 20,
  episodes: int = 64,
  report: Callable[[int, float], None] = lambda steps, mean_return: None,
) -> dict[str, Level]:
  """Trains an agent and keeps it at three skill levels.

  Args:
    config: configuration of the agent.
    key: random key.
    checkpoints: number of policies to evaluate after the first.
    episodes: whole episodes of each evaluation.
    report: called with the number of environment steps and the mean return.

  Returns:
    The players by the names in `LEVELS`.

  Raises:
    ValueError: if there are fewer updates than checkpoints.
    NotFinite: parameters have become NaN or infinite.
  """
  if not 1 <= checkpoints <= config.num_updates:
    expected = f"1 to {config.num_updates}, the number of updates"
    raise validate.error("checkpoints", checkpoints, expected)
  key_init, key_play = jax.random.split(key)

  def look(runner):
    steps = int(runner.num_updates) * config.steps_per_update
    broken = np.asarray(finite.flags(runner.variables))
    if broken.any():
      names = finite.paths(runner.variables)
      wrong = finite.parameters(names, broken)
      text = f"at step {steps:,} numbers are not finite, of {wrong}"
      raise finite.NotFinite({"the recorded agent": {0: text}})
    played = evaluate.evaluate(
      config, runner.variables, key_play, num_episodes=episodes
    )
    # An unfinished episode counts with its return up to the limit.
    mean = float(np.mean(played["episode_return"]))
    report(steps, mean)
    return Level(jax.device_get(runner.variables), mean)

  runner = ppo.init(config, key_init)
  seen = [look(runner)]
  bounds = np.linspace(0, config.num_updates, checkpoints + 1).astype(int)
  for count in np.diff(bounds):
    runner, _ = ppo.train(config, runner, int(count))
    seen.append(look(runner))
  first, last = seen[0], seen[-1]
  halfway = 0.5 * (first.mean_return + last.mean_return)
  # The last one exceeds it, unless the training did not improve the return.
  medium = next((p for p in seen[1:] if p.mean_return > halfway), last)
  return dict(zip(LEVELS, (first, medium, last)))


def record(
  config: ppo.Config, variables: PyTree, key: jax.Array, episodes: int
) -> Trajectories:
  """Plays whole episodes, one in each of `episodes` environments.

  Later episodes of an environment are not recorded: among the episodes that end
  within a fixed time, short ones would be too frequent.

  Args:
    config: configuration of the agent.
    variables: variables of its network.
    key: random key; actions are sampled.
    episodes: number of episodes.

  Returns:
    The episodes. Observations are vectors without the previous action; actions
    are within the bounds of their space.
  """
  player = ppo.player(config)
  limit = int(player.env_params.max_steps_in_episode)
  played = jax.device_get(_collect(config, variables, key, episodes, limit))
  dones = played.terminated | played.truncated
  if not dones.any(axis=0).all():
    expected = f"one whose episodes end within {limit} steps"
    raise validate.error("env_id", config.env_id, expected)
  act = jax.vmap(jax.vmap(player.network.actions.to_environment))
  actions = jax.device_get(act(played.action))
  space = spaces.convert(player.env.action_space(player.env_params))
  if isinstance(space, spaces.Box):
    actions = np.clip(actions, space.low, space.high)
  lengths = dones.argmax(axis=0) + 1
  # (env, time), True within the first episode of an environment.
  rows = masks.inside(limit, lengths)

  def flat(array):
    return np.swapaxes(np.asarray(array), 0, 1)[rows]

  seen, _ = action_masks.split(played.observation)
  seen = seen[..., : observation_size(player)]
  return trajectories.from_flat(
    *map(flat, (seen, actions, played.reward, dones))
  )


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _collect(config, variables, key, num_envs, num_steps):
  player = ppo.player(config)
  key_start, key_play = jax.random.split(key)
  world = rollout.start(player, key_start, num_envs, variables)
  return rollout.collect(player, variables, world, key_play, num_steps)[1]


def load_or_make(
  directory: pathlib.Path,
  config: ppo.Config,
  key: jax.Array,
  episodes: int,
  seed: int = 0,
  *,
  make_it: bool = True,
  **options: Any,
) -> tuple[Trajectories, dict[str, float]]:
  """Loads the recording in a directory, or creates it there.

  The first of several processes creates it, on its own devices; others wait.

  Args:
    directory: directory of recorded.npz and levels.json.
    config: configuration of the agent.
    key: random key.
    episodes: number of episodes, equally many of each level.
    seed: seed of their order.
    make_it: whether to create a missing recording.
    **options: further arguments of `train_levels`.

  Returns:
    The episodes, and the mean return of each level.

  Raises:
    UserError: there is no recording, and `make_it` is False.
  """
  path = directory / RECORDED
  if not make_it and not path.is_file():
    lacks = f"{str(directory)!r} holds no {RECORDED}: train first"
    raise errors.UserError(lacks)

  def record_levels():
    if path.is_file():
      return
    num_steps = config.num_updates * config.steps_per_update
    with progress.Progress(
      num_steps, metric="return", label="recording"
    ) as bar:

      def report(steps, mean):
        bar.update(steps, {"return": mean})

      key_train, *keys = jax.random.split(key, 1 + len(LEVELS))
      players = train_levels(config, key_train, report=report, **options)
      each = -(-episodes // len(LEVELS))
      parts = [
        record(config, players[name].variables, key, each)
        for name, key in zip(LEVELS, keys)
      ]
    levels = {
      name: float(trajectories.statistics(part).returns.mean())
      for name, part in zip(LEVELS, parts)
    }
    # The recording is written last: if it exists, so do the levels.
    files.write_json(directory / LEVELS_FILE, levels)
    trajectories.save(path, trajectories.mix(parts, episodes, seed))

  processes.first_then_rest(record_levels, f"recording {str(path)!r}")
  levels = _json.loads(limits.read_bytes(directory / LEVELS_FILE, limits.JSON))
  return trajectories.load(path), levels
