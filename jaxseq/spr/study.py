"""Training and evaluating all arms of a comparison, from where they are."""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from jaxseq.spr import agent as agent_lib
from jaxseq.spr import evaluate as evaluate_lib
from jaxseq.spr import game as games
from jaxseq.spr import pictures
from jaxseq.spr import runner
from jaxseq.spr import settings as settings_lib
from jaxseq.training import scalars
from jaxseq.training.comparison import arms as arms_lib

# What may differ from the run that is resumed: it changes no trained number.
MAY_CHANGE = (
  "keep_checkpoints",
  "evaluation_games",
  "gif_frames",
  "tensorboard",
  "references",
)
GIF = "game.gif"


@dataclasses.dataclass(frozen=True)
class Config(arms_lib.Arms):
  """A comparison of agents. An update of an arm is an environment step here.

  Attributes:
    settings: fields of `settings.Settings` that all arms share.
    evaluation_games: games per seed in an evaluation.
    gif_frames: frames in the moving picture of a game, at most; 0 draws none.
    compiled_loop: see `runner.make_chunk`. With False Python takes every step.
  """

  _: dataclasses.KW_ONLY
  settings: Mapping[str, Any] = arms_lib.EMPTY
  updates_per_chunk: int = 500
  evaluation_games: int = 100
  gif_frames: int = 400
  compiled_loop: bool | None = None

  def __post_init__(self):
    super().__post_init__()
    self.check_positive("evaluation_games")
    if self.gif_frames < 0:
      raise ValueError(
        f"gif_frames: got {self.gif_frames}, expected 0 or more."
      )


class Arm(NamedTuple):
  """An arm, ready to be trained."""

  settings: settings_lib.Settings
  game: games.Game
  agent: agent_lib.Config


def make_arm(config: Config, name: str) -> Arm:
  """Returns an arm.

  Raises:
    ValueError: a field is unknown or wrong, or the game cannot be played.
  """
  settings = arms_lib.merge(
    config, name, config.settings, settings_lib.Settings
  )
  game = settings_lib.make_game(settings)
  return Arm(settings, game, settings_lib.agent_config(settings, game))


def train(
  config: Config, directory: pathlib.Path, arms: Mapping[str, Arm]
) -> dict[str, dict[str, Any]]:
  """Trains all arms from where they are, and evaluates them.

  Args:
    config: the comparison.
    directory: of the run.
    arms: by name.

  Returns:
    For each arm what `evaluate_arm` returns and, per seed, `training`, the mean
    return in the last twentieth of the training.
  """
  width = max(map(len, arms))
  return {
    name: _train_arm(config, name.ljust(width), arm, directory / name)
    for name, arm in arms.items()
  }


def _train_arm(config, label, arm, directory):
  """Trains and evaluates one arm; its replay is freed before the next one."""
  keys = _training_keys(config)
  state = arms_lib.train_arm(
    label,
    runner.make_chunk(
      arm.agent,
      arm.game,
      config.num_seeds,
      compiled_loop=config.compiled_loop,
    ),
    _initial(config, arm)(keys),
    directory,
    config,
    num_updates=arm.agent.num_steps,
    metric=("episode_return", "loss"),
    update_axis=None,
  )
  result = evaluate_arm(config, arm, state, directory)
  _, values = curve(directory.parent, directory.name)
  span = max(1, values.shape[1] // 20)
  result["training"] = [_mean(seed[-span:]) for seed in values]
  return result


def evaluate_arm(
  config: Config, arm: Arm, state: runner.State, directory: pathlib.Path
) -> dict[str, Any]:
  """Plays whole games with each seed's policy, and draws one of the first.

  Args:
    config: the comparison.
    arm: what was trained.
    state: of all seeds.
    directory: of the arm, where the drawing goes.

  Returns:
    The number of `parameters`; per seed the mean returns `evaluation`, mean
    lengths `evaluation_length`, and all returns `games`; `gif`, the drawing's
    path or why there is none.
  """
  play = evaluate_lib.make(arm.agent, arm.game)
  _, key = jax.random.split(jax.random.key(config.seed))
  played, kept = [], config.gif_frames
  for seed, key_seed in enumerate(jax.random.split(key, config.num_seeds)):
    agent = jax.tree.map(lambda leaf, seed=seed: leaf[seed], state.agent)
    agent = jax.device_put(agent, jax.local_devices()[0])
    played.append(
      play(agent, key_seed, config.evaluation_games, 0 if seed else kept)
    )
  gif = "not drawn, gif_frames is 0"
  if kept and not arm.game.is_image:
    gif = "not drawn, observations are no images"
  elif kept:
    try:
      gif = pictures.write_gif(directory / GIF, played[0].frames)
    except ModuleNotFoundError as error:
      gif = f"not drawn, {error.name} is not installed"
  sizes = [leaf[0].size for leaf in jax.tree.leaves(state.agent.params)]
  return {
    "parameters": sum(sizes),
    "evaluation": [float(result.returns.mean()) for result in played],
    "evaluation_length": [float(result.lengths.mean()) for result in played],
    "games": [result.returns.tolist() for result in played],
    "gif": str(gif),
  }


def restore(
  config: Config, directory: pathlib.Path, arms: Mapping[str, Arm]
) -> dict[str, tuple[int, runner.State]]:
  """Returns the step and the state of each arm's newest checkpoint.

  Raises:
    UserError: an arm has no checkpoint, or none that is whole.
  """
  return {
    name: arms_lib.restore(
      name,
      jax.eval_shape(_initial(config, arm), _training_keys(config)),
      directory,
    )
    for name, arm in arms.items()
  }


def curve(directory: pathlib.Path, name: str) -> tuple[Any, Any]:
  """Returns steps (n,) and returns (seeds, n) of an arm's training."""
  rows = scalars.read(directory / name)
  return scalars.column(rows, "episode_return")


def _training_keys(config):
  key, _ = jax.random.split(jax.random.key(config.seed))
  return jax.random.split(key, config.num_seeds)


def _initial(config, arm):
  """Returns the compiled function from the seeds' keys to their states."""
  init = functools.partial(runner.init, arm.agent, arm.game)
  return arms_lib.initial(init, config.num_seeds)


def _mean(values: np.ndarray) -> float:
  """Returns the mean of what is finite, NaN if nothing is."""
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if finite.size else float("nan")
