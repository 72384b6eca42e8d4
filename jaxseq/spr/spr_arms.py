"""Comparisons of self-predictive agents: configuration and arms."""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any
from typing import ClassVar

import jax
import numpy as np

from jaxseq import validate
from jaxseq.spr import agent as spr_agent
from jaxseq.spr import full_games
from jaxseq.spr import game as games
from jaxseq.spr import gifs
from jaxseq.spr import runner
from jaxseq.spr import settings as spr_settings
from jaxseq.training import finite
from jaxseq.training import per_seed
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import seed_program
from jaxseq.training.comparison import supervised_arms
from jaxseq.types import PyTree

GIF = "game.gif"


@dataclasses.dataclass(frozen=True)
class Config(arms.Arms):
  """A comparison of agents. An update of an arm is an environment step here.

  Attributes:
    settings: fields of `settings.Settings` that all arms share.
    evaluation_games: games per seed in an evaluation.
    gif_frames: frames in the moving picture of a game, at most; 0 draws none.
    compiled_loop: see `runner.make_chunk`. With False Python takes every step.
  """

  _: dataclasses.KW_ONLY
  settings: arms.Fields = arms.EMPTY
  updates_per_chunk: int = 500
  evaluation_games: int = arms.free(100)
  gif_frames: int = arms.free(400)
  compiled_loop: bool | None = None

  def __post_init__(self):
    super().__post_init__()
    validate.fields(
      self, positive=("evaluation_games",), not_negative=("gif_frames",)
    )
    if not self.mesh.trivial:
      raise validate.error("mesh", self.mesh, "none: devices take seeds each")


class Program(seed_program.SeedProgram):
  """The seeds of an agent; its states have the replay, and are donated."""

  def __init__(self, config: Config, arm: "Arm"):
    super().__init__(
      config,
      functools.partial(runner.init, arm.agent, arm.game),
      None,
      arms.split_keys(config)[0],
      examples="",
      num_updates=arm.agent.num_steps,
    )
    self._steps = runner.make_chunk(
      arm.agent,
      arm.game,
      config.num_seeds,
      compiled_loop=config.compiled_loop,
    )

  def chunk(
    self, state: runner.State, count: int
  ) -> tuple[runner.State, dict[str, np.ndarray]]:
    """Takes a number of steps, see `runner.make_chunk`."""
    state, metrics = self._steps(state, count)
    if self.config.on_nonfinite != "ignore":
      metrics[finite.FLAGS] = self.broken(state)
    return state, metrics

  def trained(self, state: runner.State) -> PyTree:
    """Returns the parameters of what acts and learns."""
    return state.agent.params


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
  """An agent and its game, ready to be trained."""

  settings: spr_settings.Settings
  game: games.Game
  agent: spr_agent.Config

  metric: ClassVar[tuple[str, ...]] = ("episode_return", "loss")
  part: ClassVar[arms.Part] = ""
  examples: ClassVar[int] = 1
  unit: ClassVar[str] = "steps"
  stack: ClassVar[None] = None

  def program(self, config: Config, beside: Sequence["Arm"] = ()) -> Program:
    """Returns what trains all seeds of the agent."""
    del beside
    return Program(config, self)

  def report(
    self,
    program: Program,
    state: runner.State,
    directory: pathlib.Path,
    seconds: float | None = None,
  ) -> dict[str, Any]:
    """Plays whole games with each seed's policy, and draws one of the first.

    Returns:
      The number of `parameters`; per seed the mean returns `evaluation`, mean
      lengths `evaluation_length`, and all returns `games`; `gif`, the drawing's
      path inside the run's directory, or the reason why it is missing; and the
      returns in training of `curves.of_training`.
    """
    del seconds
    config = program.config
    play = full_games.make(self.agent, self.game)
    played, num_frames = [], config.gif_frames
    for seed, key in enumerate(arms.split_keys(config)[1]):
      agent = jax.tree.map(lambda leaf, seed=seed: leaf[seed], state.agent)
      agent = jax.device_put(agent, jax.local_devices()[0])
      played.append(
        play(agent, key, config.evaluation_games, 0 if seed else num_frames)
      )
    gif = "not drawn, gif_frames is 0"
    if num_frames and not self.game.is_image:
      gif = "not drawn, observations are no images"
    elif num_frames:
      try:
        frames, length = played[0].frames, int(played[0].lengths[0])
        path = gifs.write_gif(directory / GIF, frames, length)
        gif = path.relative_to(directory.parent).as_posix()
        if len(frames) < length:
          gif = f"{gif}, its first {len(frames):,} of {length:,} steps"
      except ModuleNotFoundError as error:
        gif = (
          f"not drawn, {error.name} is not installed: pip install 'jaxseq[log]'"
        )
    return {
      "parameters": supervised_arms.num_parameters(state.agent.params),
      "evaluation": per_seed.PerSeed(float(x.returns.mean()) for x in played),
      "evaluation_length": per_seed.PerSeed(
        float(x.lengths.mean()) for x in played
      ),
      "games": per_seed.PerSeed(x.returns.tolist() for x in played),
      "gif": gif,
      **curves.of_training(directory),
    }


def make_arms(config: Config) -> dict[str, Arm]:
  """Returns the arms by name.

  Raises:
    ValueError: a field is unknown or wrong, or a game cannot be played.
  """
  arms_by_name = {}
  for name in config.arms:
    settings = arms.merge(config, name, spr_settings.Settings, "settings")
    game = spr_settings.make_game(settings)
    agent = spr_settings.agent_config(settings, game)
    if config.on_nonfinite == "skip":
      update = dataclasses.replace(agent.variant.update, skip_nonfinite=True)
      variant = dataclasses.replace(agent.variant, update=update)
      agent = dataclasses.replace(agent, variant=variant)
    arms_by_name[name] = Arm(settings, game, agent)
  return arms_by_name
