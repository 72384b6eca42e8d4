"""The end of a comparison: results.json, a table, a learning curve."""

from collections.abc import Collection
from collections.abc import Mapping
import pathlib
import types
from typing import Any

import numpy as np

from jaxseq import _json
from jaxseq import limits
from jaxseq.training import configuration
from jaxseq.training import files
from jaxseq.training import finite
from jaxseq.training import optimizers
from jaxseq.training import per_seed
from jaxseq.training import plots
from jaxseq.training import progress
from jaxseq.training import tables
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import run
from jaxseq.training.devices import processes

RESULTS = "results.json"
_SKIPPED = {optimizers.SKIPPED: "skipped steps"}


def main(
  config: arms.Arms,
  directory: pathlib.Path,
  made: Mapping[str, arms.Arm],
  mode: str,
  *,
  each: run.Each = lambda name, step, state, report: None,
  **options: Any,
) -> run.Results:
  """Trains and measures, or only measures, and shows the results.

  `each` is that of `run.train`; the options are those of `finish`: title and
  columns, and what it has besides.

  Raises:
    Failed: see `run.train`; what has not failed is shown before.
  """
  if mode != "train":
    results = run.evaluate(config, directory, made, each)
    finish(config, directory, made, results, mode, **options)
    return results
  try:
    results = run.train(config, directory, made, each)
  except run.Failed as error:
    if error.results:
      options["failed"] = error.failed
      finish(config, directory, made, error.results, mode, **options)
    raise
  finish(config, directory, made, results, mode, **options)
  return results


def finish(
  config: arms.Arms,
  directory: pathlib.Path,
  made: Mapping[str, arms.Arm],
  results: Mapping[str, Any],
  mode: str,
  *,
  title: str,
  columns: Mapping[str, str],
  subject: str | None = None,
  note: str = "",
  baselines: Mapping[str, Mapping[str, float]] | None = None,
  drawn: Collection[str] | None = None,
  levels: Mapping[str, float] | None = None,
  xlabel: str = "updates",
  ylabel: str | None = None,
  smooth: int = 1,
  policies: str = "",
  read: Mapping[str, Any] | None = None,
  failed: finite.Failed = types.MappingProxyType({}),
) -> None:
  """Shows the results; after a training, writes them and draws the curve too.

  Only the first of several processes does.

  Args:
    config: the comparison.
    directory: of the run; gets results.json, in which the columns of an arm
      have mean, standard deviation and number of seeds under "spread", and
      learning_curve.png.
    made: the arms by name.
    results: as from `run.train`.
    mode: "train" or "evaluate".
    title: of the table.
    columns: results in the table, to their headings; those that no arm has are
      left out.
    subject: of the plot's title, which is that of the table if None.
    note: addition to the table's title.
    baselines: results without training, by label, for the last rows of the
      table, and for results.json under "baselines".
    drawn: names of the arms to plot; all if None.
    levels: dashed lines of the plot, by label, beside those of the
      configuration; the baselines' values of the plotted metric if None. They
      are of the part of the data that the curve is of.
    xlabel: of the plot.
    ylabel: name of the metric that is plotted; its heading in the table if
      None. The plot tells the part of the data as well.
    smooth: see `plots.learning_curve`.
    policies: title of the table of every policy, which an evaluation of agents
      shows instead of the table of arms.
    read: summary of the data, for results.json under "data".
    failed: by arm and seed, the failure, for results.json under
      "not_finite".
  """
  if not processes.is_first():
    return
  if policies and mode != "train":
    show_policies(results, policies)
    return
  baselines = baselines or {}
  columns = {
    column: heading
    for column, heading in {**columns, **_SKIPPED}.items()
    if any(column in result for result in results.values())
  }

  def show():
    _show(config, directory, made, results, title, note, columns, baselines)

  if mode != "train":
    show()
    return
  written = {
    name: {**result, "spread": _spread(result, columns)}
    for name, result in results.items()
  }
  if baselines:
    written["baselines"] = {k: dict(v) for k, v in baselines.items()}
  if read:
    written["data"] = dict(read)
  # Before the table is shown: nobody may be there to see it.
  write(directory, written, failed)
  show()
  for name, result in results.items():
    if "kept" in result:
      print(f"{name}: {result['kept']}.")
  arm = next(iter(made.values()))
  metric = arm.metric if isinstance(arm.metric, str) else arm.metric[0]
  if arm.part == "test":
    print("There is no validation part: the curve is of the test part.")
  if levels is None:
    levels = {
      label: values[metric]
      for label, values in baselines.items()
      if metric in values
    }
  draw(
    "Learning curve",
    directory / "learning_curve.png",
    {
      name: curves.curve(directory / name, metric)
      for name in results
      if drawn is None or name in drawn
    },
    xlabel=xlabel,
    ylabel=_watched(arm.part, metric, ylabel, columns),
    title=title if subject is None else subject,
    references={**levels, **config.references},
    smooth=smooth,
  )


def write(
  directory: pathlib.Path, results: Mapping[str, Any], failed: finite.Failed
) -> None:
  """Writes results.json of a run, with what has failed in it, if anything."""
  if failed:
    lost = {name: dict(seeds) for name, seeds in failed.items()}
    results = {**results, "not_finite": lost}
  files.write_json(directory / RESULTS, configuration.to_json(results))


def _spread(result, columns):
  """Returns mean, standard deviation and number of seeds of the columns."""
  names = (column for column in columns if column in result)
  return {
    column: tables.spread(result[column])
    for column in names
    if isinstance(result[column], per_seed.PerSeed)
  }


def _watched(part, metric, label, columns):
  """Names the metric of a curve, and the part of the data that it is of."""
  if label is None:
    name = metric.removeprefix("valid_")
    headings = (columns[x] for x in (name, f"test_{name}") if x in columns)
    label = next(headings, name)
  return f"{label}, {part} part" if part else label


def draw(
  what: str,
  path: pathlib.Path,
  curves: Mapping[str, tuple[Any, Any]],
  **options: Any,
) -> None:
  """Draws curves, see `plots.learning_curve`, and prints what and where."""
  picture = plots.learning_curve(path, curves, **options)
  print(f"{what}: {picture or 'not drawn'}")


def _show(config, directory, made, results, title, note, columns, baselines):
  """Prints the table of results."""
  rows = []
  for name, result in results.items():
    examples = result.get("tokens_per_update", made[name].examples)
    speed = curves.speed(directory / name) * examples * config.num_seeds
    rows.append(
      [
        name,
        f"{result['parameters']:,}",
        *(_cell(result.get(column, per_seed.PerSeed())) for column in columns),
        progress.short_number(speed) if np.isfinite(speed) else "-",
      ]
    )
  for label, values in baselines.items():
    cells = [
      tables.mean_std(values[column]) if column in values else "-"
      for column in columns
    ]
    rows.append([label, "-", *cells, "-"])
  unit = next(iter(made.values())).unit
  measured = dict.fromkeys(x.get("variables", "") for x in results.values())
  measured = " or ".join(filter(None, measured))
  tables.show(
    ["arm", "parameters", *columns.values(), f"{unit}/s"],
    rows,
    title="; ".join(
      filter(
        None,
        (
          title,
          note,
          measured and f"variables: {measured}",
          tables.over_seeds(config.num_seeds),
        ),
      )
    ),
  )


def _cell(value):
  """Returns mean and deviation over seeds, or what all seeds share."""
  if isinstance(value, per_seed.PerSeed):
    return tables.mean_std(value)
  return f"{value:,}"


def of_agents(game: str, evaluated: int) -> dict[str, Any]:
  """Returns options of `finish` for agents, which play so many "games"."""
  return {
    "note": "last twentieth of the training, "
    f"{tables.counted(evaluated, f'new {game}')}",
    "columns": {
      "training": "return in training",
      "evaluation": "in evaluation",
    },
    "xlabel": "environment steps",
    "ylabel": f"return of the {game}s that ended",
    "smooth": 5,
  }


def show_policies(results: Mapping[str, Any], title: str) -> None:
  """Prints the returns of every policy of evaluated agents.

  Args:
    results: of the arms, as from `run.evaluate`: with the lists over seeds
      "evaluation" and "evaluation_length"; also "games", if the return of each
      is known.
    title: of the table.
  """
  rows, games = [], any("games" in result for result in results.values())
  for name, result in results.items():
    for seed, mean in enumerate(result["evaluation"]):
      row = [name, seed, f"{result['step']:,}", f"{mean:.3f}"]
      if games:
        played = result["games"][seed]
        row[-1] = tables.mean_std(played)
        row.append(f"{max(played):g}")
      rows.append([*row, f"{result['evaluation_length'][seed]:.1f}"])
  best = ["best game"] if games else []
  tables.show(
    ["arm", "seed", "trained for", "mean return", *best, "mean length"],
    rows,
    title=title,
  )


def read(directory: pathlib.Path) -> run.Results | None:
  """Returns the results of a run that is finished; None of another one."""
  file = directory / RESULTS
  if not file.is_file():
    return None
  return _json.loads(limits.read_bytes(file))
