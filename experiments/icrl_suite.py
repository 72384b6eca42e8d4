r"""In-context RL over many environments: every arm on each of them.

    python -m experiments.icrl_suite --config=configs/icrl_suite/popgym.py \
      --workdir=DIR
    python -m experiments.icrl_suite --config=... --workdir=DIR --mode=evaluate

Each environment is a run of `experiments.icrl` in a sub-directory of its own,
and what is finished is not done again. The suite ends with tables of returns in
evaluation and in training, of speeds, and of aggregates with bootstrap
intervals; with `DIR/learning_curves.png`, `DIR/aggregates.png` and
`DIR/results.json`. Of the arms that the config films, an episode of each
environment is drawn as `DIR/ENVIRONMENT/episode_ARM.gif`. The second command
plays new episodes with the newest checkpoints.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np

from jaxseq.rl import algorithms
from jaxseq.rl import comparison
from jaxseq.rl import films
from jaxseq.rl import study
from jaxseq.training import aggregates
from jaxseq.training import app
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.training import plots
from jaxseq.training import run_directory
from jaxseq.training import tables
from jaxseq.training.comparison import arms as arms_lib
from jaxseq.training.comparison import study as training_study
from jaxseq.training.devices import processes
from jaxseq.training.devices import seeds

EXPERIMENT = "icrl_suite"
RESULTS = "results.json"

_CONFIG, _WORKDIR = app.define_flags()
_MESH = app.define_mesh()
_MODE = app.define_mode()


@dataclasses.dataclass(frozen=True)
class Config(comparison.Config):
  """A comparison of arms on several environments.

  Attributes:
    environments: by name, the fields of the algorithms' configurations that
      differ there. The name is the environment's id unless they hold `env_id`.
    bounds: by name, the returns that count as 0 and as 1 in the aggregates,
      such as those of a random and of a perfect player.
    films: arms of whose first seed an episode is drawn in each environment,
      which takes some ten seconds.
  """

  _: dataclasses.KW_ONLY
  environments: Mapping[str, Mapping[str, Any]]
  bounds: Mapping[str, tuple[float, float]] = arms_lib.EMPTY
  films: tuple[str, ...] = ()

  def __post_init__(self):
    super().__post_init__()
    if not self.environments:
      raise ValueError("environments: got none, expected at least one.")
    for name in self.environments:
      low, high = self.bounds.get(name, (0.0, 1.0))
      if not low < high:
        raise ValueError(
          f"bounds.{name}: got {low} and {high}, expected a lower and a higher"
          " return."
        )
    unknown = [name for name in self.films if name not in self.arms]
    if unknown:
      raise ValueError(
        f"films: got {unknown[0]!r}, expected names of arms:"
        f" {', '.join(self.arms)}."
      )


def on(config: Config, name: str) -> comparison.Config:
  """Returns the comparison of the arms on one environment, by its name."""
  fields = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(comparison.Config)
  }
  for algorithm in algorithms.names():
    shared = ml_collections.ConfigDict(dict(fields[algorithm]), type_safe=False)
    shared.env_id = name
    shared.update(dict(config.environments[name]))
    fields[algorithm] = ml_collections.FrozenConfigDict(shared)
  return comparison.Config(**fields)


def normalized(config: Config, results: Any, arm: str) -> np.ndarray:
  """Returns an arm's evaluations as scores (seeds, environments)."""
  columns = []
  for env_id in config.environments:
    low, high = config.bounds.get(env_id, (0.0, 1.0))
    returns = np.asarray(results[env_id][arm]["evaluation"], float)
    columns.append((returns - low) / (high - low))
  return np.stack(columns, axis=1)


def run(config: Config, directory: pathlib.Path, mode: str) -> dict[str, Any]:
  """Trains or evaluates on every environment.

  Args:
    config: the suite.
    directory: of the suite.
    mode: "train" or "evaluate".

  Returns:
    For each environment the results of each arm.
  """
  results = {}
  for index, env_id in enumerate(config.environments):
    local, place = on(config, env_id), directory / env_id

    def show(name, variables, local=local, place=place):
      if name in config.films:
        films.write(local, place, name, variables)

    if mode == "evaluate":
      restored = study.restore(local, place, config.arms)
      results[env_id] = {}
      for name, (_, variables) in restored.items():
        results[env_id][name] = study.evaluate_arm(
          local, comparison.arm_config(local, name), variables
        )
        show(name, variables)
      continue
    finished = place / RESULTS
    if finished.is_file():
      results[env_id] = json.loads(finished.read_text())
      continue
    print(f"{env_id} ({index + 1} of {len(config.environments)})", flush=True)
    results[env_id] = study.train(local, place, show)
    if processes.is_first():
      files.write_json(finished, configuration.to_json(results[env_id]))
  return results


def finish(
  config: Config, directory: pathlib.Path, results: Any, mode: str
) -> None:
  """Shows the tables; after a training also draws and writes."""
  arms = list(config.arms)
  shown = {
    "evaluation": f"Return of {config.evaluation_episodes} new episodes",
    # MMER: Morad et al., arXiv:2303.01859, section 5.
    "best": "Highest mean return in training, over a twentieth of it (MMER)",
    "overall": "Mean return over the whole training",
  }
  if mode == "evaluate":
    shown = {"evaluation": shown["evaluation"]}
  for kind, what in shown.items():
    tables.show(
      ["environment", *arms],
      [
        [env_id, *(tables.mean_std(found[arm][kind]) for arm in arms)]
        for env_id, found in results.items()
      ],
      title=f"{what}; {tables.over_seeds(config.num_seeds)}",
    )
    print()
  if mode == "train":
    tables.show(
      ["environment", *arms],
      [
        [name, *(f"{study.speed(directory / name, arm):,.0f}" for arm in arms)]
        for name in results
      ],
      title="Environment steps per second in training, of all seeds together",
    )
    print()
  found = {arm: _aggregates(config, results, arm) for arm in arms}
  ours = {
    label: {arm: found[arm][name] for arm in arms}
    for name, label in (
      ("iqm", "IQM"),
      ("mean", "mean"),
      ("optimality_gap", "optimality gap"),
    )
  }
  tables.show(
    ["memory", *ours],
    [
      [
        arm,
        *(
          "{:.3f} [{:.3f}, {:.3f}]".format(*ours[label][arm]) for label in ours
        ),
      ]
      for arm in arms
    ],
    title="Normalised returns with 95 % bootstrap intervals",
  )
  if mode == "evaluate" or not processes.is_first():
    return
  files.write_json(
    directory / RESULTS,
    configuration.to_json({"environments": results, "aggregates": ours}),
  )
  curves = plots.learning_curves(
    directory / "learning_curves.png",
    {
      env_id: {arm: study.curve(directory / env_id, arm) for arm in arms}
      for env_id in results
    },
    xlabel="environment steps",
    ylabel="return of the episodes that ended",
    smooth=5,
  )
  bars = plots.intervals(directory / "aggregates.png", ours)
  print(f"Pictures: {curves}, {bars}")


def _aggregates(config, results, arm):
  """Aggregates with their intervals; NaN if no episode ended."""
  scores = normalized(config, results, arm)
  if not np.isfinite(scores).all():
    return dict.fromkeys(aggregates.AGGREGATES, (float("nan"),) * 3)
  return aggregates.aggregates(scores)


def main(argv: list[str]) -> None:
  """Runs the suite that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = training_study.parse(_CONFIG.value, Config, _MESH.value)
    for env_id in config.environments:
      local = on(config, env_id)
      for name in config.arms:
        arm = comparison.arm_config(local, name)
        algorithms.of(arm).player(arm)
        comparison.evaluation_configs(local, arm)
    find = run_directory.prepare
    if _MODE.value == "evaluate":
      find = run_directory.open_existing
    directory = find(
      _WORKDIR.value,
      config,
      experiment=EXPERIMENT,
      may_change=(*study.MAY_CHANGE, "films"),
    )
  finish(config, directory, run(config, directory, _MODE.value), _MODE.value)


if __name__ == "__main__":
  app.run_main(main)
