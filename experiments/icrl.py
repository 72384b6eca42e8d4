"""In-context reinforcement learning: recurrent policies on memory tasks.

    python -m experiments.icrl --config=configs/icrl/quickstart.py --workdir=DIR
    python -m experiments.icrl --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one kind of memory each), all
seeds of an arm as one program, and resumes where an earlier run stopped. It
ends with a table, `DIR/learning_curve.png` and `DIR/results.json`; each arm has
`metrics.jsonl` and `checkpoints/` in `DIR/ARM`. Where episodes consist of
trials, `DIR/trials.png` shows how returns rise from one to the next, and
`DIR/episode_ARM.gif` is an episode to watch. The second command restores the
trained policies, plays new episodes and shows one of them step by step.

With `--mesh=data=N` N devices share the environments of PPO (docs/devices.md).
"""

import functools
import itertools
import pathlib
import shlex
import sys
from typing import Any

import numpy as np

from jaxseq.rl import algorithms
from jaxseq.rl import comparison
from jaxseq.rl import evaluate
from jaxseq.rl import films
from jaxseq.rl import study
from jaxseq.rl import transcript
from jaxseq.training import app
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.training import plots
from jaxseq.training import run_directory
from jaxseq.training import tables
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import study as training_study
from jaxseq.training.devices import processes
from jaxseq.training.devices import seeds

EXPERIMENT = "icrl"
RESULTS = "results.json"

_EPISODE_ROWS = 64  # steps shown of an episode, at most

_CONFIG, _WORKDIR = app.define_flags()
_MESH = app.define_mesh()
_MODE = app.define_mode()


def _finish(
  config: comparison.Config, directory: pathlib.Path, results: Any
) -> None:
  """Writes and shows what a training run ends with."""
  files.write_json(directory / RESULTS, configuration.to_json(results))
  task = comparison.arm_config(config, next(iter(config.arms))).env_id
  tables.show(
    ["memory", "parameters", "return in training", "in evaluation"],
    [
      [
        name,
        f"{result['parameters']:,}",
        tables.mean_std(result["training"]),
        tables.mean_std(result["evaluation"]),
      ]
      for name, result in results.items()
    ],
    title=(
      f"{task}: {tables.over_seeds(config.num_seeds)}; last twentieth of the"
      f" training, {config.evaluation_episodes} new episodes"
    ),
  )
  _show_evaluations(config, task, results)
  picture = plots.learning_curve(
    directory / "learning_curve.png",
    {name: study.curve(directory, name) for name in config.arms},
    xlabel="environment steps",
    ylabel="return of the episodes that ended",
    title=f"{task}, {tables.num_seeds(config.num_seeds)}",
    references=dict(config.references),
    smooth=5,
  )
  python = pathlib.Path(sys.executable)
  if python.is_relative_to(pathlib.Path.cwd()):
    python = python.relative_to(pathlib.Path.cwd())
  command = shlex.join([str(python), "-m", "experiments.icrl", *sys.argv[1:]])
  if not all(
    np.isfinite(result[kind]).all()
    for result in results.values()
    for kind in ("training", "evaluation")
  ):
    print("- in the table: no episode ended")
  print(f"Learning curve: {picture or 'not drawn'}")
  trials = {
    where: {
      name: (1 + np.arange(values.shape[1]), values)
      for name, values in _trials(found).items()
    }
    for where, found in _evaluated(task, results).items()
  }
  if all(trials.values()):
    within = plots.learning_curves(
      directory / "trials.png",
      trials,
      xlabel="trial within an episode",
      ylabel="mean return of the trial",
    )
    print(f"Return per trial: {within or 'not drawn'}")
  for name in config.arms:
    if (episode := directory / f"episode_{name}.gif").is_file():
      print(f"An episode of {name}: {episode}")
  print(f"Watch the trained policies: {command} --mode=evaluate")


def _evaluated(task: str, results: Any) -> dict[str, Any]:
  """Evaluations of all arms: on the task, and on the further ones."""
  found = {task: results}
  for name in next(iter(results.values())).get("evaluations", {}):
    found[name] = {
      arm: result["evaluations"][name] for arm, result in results.items()
    }
  return found


def _trials(found: Any) -> dict[str, np.ndarray]:
  """Returns of trials (seeds, trials), of the arms whose episodes have them."""
  return {
    name: np.asarray(result["trials"])
    for name, result in found.items()
    if "trials" in result
  }


def _show_evaluations(
  config: comparison.Config, task: str, results: Any
) -> None:
  """Shows returns in further environments, and those of trials, if any."""
  over = (
    f"{config.evaluation_episodes} new episodes;"
    f" {tables.over_seeds(config.num_seeds)}"
  )
  evaluated = _evaluated(task, results)
  if len(evaluated) > 1:
    print()
    tables.show(
      ["environment", *results],
      [
        [where, *(tables.mean_std(arm["evaluation"]) for arm in found.values())]
        for where, found in evaluated.items()
      ],
      title=f"Return of {over}",
    )
  for where, found in evaluated.items():
    trials = _trials(found)
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
      title=f"{where}: return of each trial of {over}",
    )


def _watch(config: comparison.Config, directory: pathlib.Path) -> None:
  """Evaluates the policies in a directory, and shows an episode of each."""
  rows, results = [], {}
  names = arms.trained(config.arms, directory)
  restored = study.restore(config, directory, names)
  for name, (step, variables) in restored.items():
    arm = comparison.arm_config(config, name)
    played = films.write(config, directory, name, variables)
    for player, film in zip(evaluate.members(arm), played):
      tables.show(
        transcript.columns(player),
        transcript.rows(player, film.taken, _EPISODE_ROWS),
        title=f"{film.title}, played by {name} (seed 0) after {step:,} steps",
      )
      print()
    results[name] = result = study.evaluate_arm(config, arm, variables)
    for seed, (mean, length) in enumerate(
      zip(result["evaluation"], result["evaluation_length"])
    ):
      rows.append([name, seed, f"{step:,}", f"{mean:.3f}", f"{length:.1f}"])
  tables.show(
    ["memory", "seed", "trained for", "mean return", "mean length"],
    rows,
    title=f"{config.evaluation_episodes} new episodes of every policy",
  )
  task = comparison.arm_config(config, next(iter(config.arms))).env_id
  _show_evaluations(config, task, results)


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = training_study.parse(_CONFIG.value, comparison.Config, _MESH.value)
    for name in config.arms:
      arm = comparison.arm_config(config, name)
      algorithms.of(arm).player(arm)
      comparison.evaluation_configs(config, arm)
    find = run_directory.prepare
    if _MODE.value == "evaluate":
      find = run_directory.open_existing
    directory = find(
      _WORKDIR.value, config, experiment=EXPERIMENT, may_change=study.MAY_CHANGE
    )
  if _MODE.value == "evaluate":
    _watch(config, directory)
  else:
    show = functools.partial(films.write, config, directory)
    results = study.train(config, directory, show)
    if processes.is_first():
      _finish(config, directory, results)


if __name__ == "__main__":
  app.run_main(main)
