"""Tables and pictures of agents: episodes, further environments, trials."""

import itertools
import pathlib
from typing import Any

from absl import logging
import jax
import numpy as np

from jaxseq.rl import _transcript
from jaxseq.rl import evaluate
from jaxseq.rl import rendering
from jaxseq.rl import rl_arms
from jaxseq.training import plots
from jaxseq.training import tables
from jaxseq.training.comparison import arms
from jaxseq.training.devices import placement
from jaxseq.training.devices import processes
from jaxseq.types import PyTree

_EPISODE_ROWS = 64  # steps shown of an episode, at most


def write_film(
  config: rl_arms.Config,
  directory: pathlib.Path,
  name: str,
  variables: PyTree,
) -> list[rendering.Film]:
  """Plays an episode with an arm's first seed, and writes it as a GIF.

  Args:
    config: the comparison.
    directory: where to write `episode_NAME.gif`.
    name: the arm.
    variables: of all its seeds, leading axis num_seeds.

  Returns:
    The episodes, one per environment of a mixture. Of several processes only
    the first plays; the others return no film. If matplotlib or pillow is
    missing, no GIF is drawn and a warning is logged.
  """
  variables = placement.gather(config.mesh, variables)
  if not processes.is_first():
    return []
  films = rendering.film(
    rl_arms.agent_config(config, name),
    jax.tree.map(lambda leaf: leaf[0], variables),
    arms.split_keys(config)[1][0],
    greedy=config.evaluation_greedy,
  )
  path = directory / f"episode_{name}.gif"
  try:
    rendering.write_gif(path, rendering.frames(films))
  except ModuleNotFoundError as error:
    logging.warning(
      "%s is not installed: %s is not drawn (pip install 'jaxseq[log]').",
      error.name,
      path,
    )
  return films


def show_episode(
  config: rl_arms.Config,
  directory: pathlib.Path,
  name: str,
  step: int,
  variables: PyTree,
) -> None:
  """Plays an episode with an arm's first seed, step by step and as a GIF.

  Args:
    config: the comparison.
    directory: of the run, see `write_film`.
    name: name of the arm.
    step: step of its checkpoint.
    variables: of all its seeds.
  """
  played = write_film(config, directory, name, variables)
  players = evaluate.members(rl_arms.agent_config(config, name))
  for player, film in zip(players, played):
    title = f"{film.title}, played by {name} (seed 0) after {step:,} steps"
    rows = _transcript.rows(player, film.taken, _EPISODE_ROWS)
    tables.show(_transcript.columns(player), rows, title=title)
    print()


def show_evaluations(config: rl_arms.Config, task: str, results: Any) -> None:
  """Prints returns in further environments, and those of trials, if any.

  Args:
    config: the comparison.
    task: the environment of the training.
    results: of the arms, see `rl_arms.Arm.report`.
  """
  seeds = tables.over_seeds(config.num_seeds)
  episodes = tables.counted(config.evaluation_episodes, "new episode")
  over = f"{episodes}; {seeds}"
  evaluated = _evaluated(task, results)
  if len(evaluated) > 1:
    print()
    tables.show(
      ["environment", *results],
      [
        [
          place,
          *(tables.mean_std(arm["evaluation"]) for arm in rows.values()),
        ]
        for place, rows in evaluated.items()
      ],
      title=f"Return of {over}",
    )
  for place, rows in evaluated.items():
    trials = _trials(rows)
    if not trials:
      continue
    columns = [map(tables.mean_std, values.T) for values in trials.values()]
    print()
    tables.show(
      ["trial", *trials],
      [
        [str(trial), *cells]
        for trial, cells in enumerate(
          # Arms may differ in their number of trials.
          itertools.zip_longest(*columns, fillvalue=""),
          start=1,
        )
      ],
      title=f"{place}: return of each trial of {over}",
    )


def draw_trials(directory: pathlib.Path, task: str, results: Any) -> None:
  """Draws trials.png if all evaluated episodes consist of trials.

  Args:
    directory: of the run.
    task: the environment of the training.
    results: of the arms.
  """
  trials = {
    place: {
      name: (1 + np.arange(values.shape[1]), values)
      for name, values in _trials(results_of_task).items()
    }
    for place, results_of_task in _evaluated(task, results).items()
  }
  if all(trials.values()):
    x, y = "trial within an episode", "mean return of the trial"
    path = directory / "trials.png"
    picture = plots.learning_curves(path, trials, xlabel=x, ylabel=y)
    print(f"Return per trial: {picture or 'not drawn'}")


def _evaluated(task: str, results: Any) -> dict[str, Any]:
  """Returns evaluations of all arms: on the task, and on further ones."""
  results_by_task = {task: results}
  for name in next(iter(results.values())).get("evaluations", {}):
    results_by_task[name] = {
      arm: result["evaluations"][name] for arm, result in results.items()
    }
  return results_by_task


def _trials(results: Any) -> dict[str, np.ndarray]:
  """Returns the trials' returns (seeds, trials) of arms that have trials."""
  have = [name for name, arm in results.items() if "trials" in arm]
  return {name: np.asarray(results[name]["trials"]) for name in have}
