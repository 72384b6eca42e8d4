"""In-context RL over many environments: every arm on each of them."""

from collections.abc import Mapping
import dataclasses
import math
import pathlib
from typing import Any

import numpy as np

from jaxseq import validate
from jaxseq.rl import rl_arms
from jaxseq.rl import rl_report
from jaxseq.training import configuration
from jaxseq.training import finite
from jaxseq.training import per_seed
from jaxseq.training import plots
from jaxseq.training import tables
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import suite


@dataclasses.dataclass(frozen=True)
class Config(rl_arms.Config):
  """A comparison of arms on several environments.

  Attributes:
    environments: by name, the fields of the agents' configurations that differ
      there. The name is the environment's id unless the fields contain
      `env_id`.
    bounds: by name, the returns that count as 0 and as 1 in the aggregates,
      such as those of a random and a perfect player.
    films: arms to film: an episode of their first seed is drawn in each
      environment, which takes about ten seconds.
  """

  _: dataclasses.KW_ONLY
  environments: Mapping[str, Mapping[str, Any]]
  bounds: Mapping[str, tuple[float, float]] = arms.EMPTY
  films: tuple[str, ...] = arms.free(())

  def __post_init__(self):
    super().__post_init__()
    if not self.environments:
      raise validate.error("environments", {}, "at least one environment")
    for name in self.environments:
      low, high = self.bounds.get(name, (0.0, 1.0))
      if not low < high:
        raise validate.error(
          f"bounds.{name}", (low, high), "a lower and a higher return"
        )
    for name in self.films:
      validate.choice("films", name, self.arms)


def on(config: Config, name: str) -> rl_arms.Config:
  """Returns the comparison of the arms on one environment, by its name."""
  agent = configuration.merged(
    config.agent, {"env_id": name}, config.environments[name]
  )
  return suite.narrow(config, rl_arms.Config, agent=agent)


def normalized(config: Config, results: Any, arm: str) -> np.ndarray:
  """Returns an arm's evaluations as scores (seeds, environments)."""
  columns = []
  for env_id in config.environments:
    low, high = config.bounds.get(env_id, (0.0, 1.0))
    returns = suite.values(config, results[env_id], arm, "evaluation")
    columns.append((np.asarray(returns) - low) / (high - low))
  return np.stack(columns, axis=1)


def at_equal_seconds(
  results: Any, directory: pathlib.Path
) -> dict[str, dict[str, per_seed.PerSeed]]:
  """Returns the arms' returns at the time when the fastest of them ended.

  Args:
    results: results of the suite, by environment and arm.
    directory: directory of its runs.

  Returns:
    By environment and arm, the mean return in training of each seed, see
    `curves.after`; NaN if there were too few updates to measure a speed.
  """
  reached = {}
  for env_id, of_arms in results.items():
    places = {arm: directory / env_id / arm for arm in of_arms}
    seconds = [
      curves.curve(place)[0][-1] / curves.speed(place, "cpu")
      for place in places.values()
    ]
    least = min(filter(math.isfinite, seconds), default=math.nan)
    reached[env_id] = {
      arm: curves.after(place, least, clock="cpu")
      for arm, place in places.items()
    }
  return reached


def finish(
  config: Config,
  directory: pathlib.Path,
  results: Any,
  mode: str,
  failed: finite.Failed = arms.EMPTY,
) -> None:
  """Shows the tables; after training also writes pictures and the report."""
  shown = {
    "evaluation": "Return of "
    f"{tables.counted(config.evaluation_episodes, 'new episode')}",
    # MMER: Morad et al., arXiv:2303.01859, section 5.
    "best": "Highest mean return in training, over a twentieth of it (MMER)",
    "overall": "Mean return over the whole training",
  }

  for kind, title in shown.items():
    if mode == "train" or kind == "evaluation":
      suite.show(
        config,
        results,
        lambda env, arm, kind=kind: tables.mean_std(results[env][arm][kind]),
        f"{title}; {tables.over_seeds(config.num_seeds)}",
      )
  if mode == "train":
    suite.show(
      config,
      results,
      lambda env, arm: f"{_speed(config, directory / env / arm):,.0f}",
      "Environment steps per second in training, of all seeds together",
    )
    if len(config.arms) > 1:
      reached = at_equal_seconds(results, directory)
      suite.show(
        config,
        results,
        lambda env, arm: tables.mean_std(reached[env][arm]),
        "Return in training at equal seconds of the processor: those in which"
        f" the fastest arm ends; {tables.over_seeds(config.num_seeds)}",
      )
      suite.show(
        config,
        results,
        lambda env, arm: f"{_speed(config, directory / env / arm, 'cpu'):,.0f}",
        "Environment steps per second of the processor, of all seeds together",
      )
  ours = suite.show_aggregates(
    {arm: normalized(config, results, arm) for arm in config.arms},
    "Normalized returns with 95 % bootstrap intervals",
  )
  if mode == "evaluate":
    return
  report.write(directory, {"environments": results, "aggregates": ours}, failed)
  options = report.of_agents("episode", config.evaluation_episodes)
  picture = plots.learning_curves(
    directory / "learning_curves.png",
    {
      env_id: {
        arm: curves.curve(directory / env_id / arm) for arm in config.arms
      }
      for env_id in results
    },
    **{name: options[name] for name in ("xlabel", "ylabel", "smooth")},
  )
  bars = plots.intervals(directory / "aggregates.png", ours)
  print(f"Pictures: {picture}, {bars}")


def _speed(config, directory, clock="wall"):
  return config.num_seeds * curves.speed(directory, clock)


def work(config: Config, program: experiment.Experiment) -> suite.Suite:
  """Returns the runs, one for each environment."""
  runs = {}
  for env_id in config.environments:
    local = on(config, env_id)
    runs[env_id] = local, rl_arms.make_arms(local)

  def film(directory, env_id, name, state):
    if name in config.films:
      rl_report.write_film(
        runs[env_id][0], directory / env_id, name, state.variables
      )

  def end(directory, results, failed):
    finish(config, directory, results, program.mode, failed)

  return suite.Suite("icrl", runs, end, film)
