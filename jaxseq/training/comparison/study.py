"""Supervised comparisons from start to end: arms, seeds, results.

A binary makes an `Arm` for every arm of its configuration, and leaves training,
evaluation and the results' files, table and plot to `run` and `finish`.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
import time
from typing import Any
from typing import NamedTuple
from typing import TypeVar

import jax
import numpy as np
import optax

from jaxseq._types import PyTree
from jaxseq._types import T
from jaxseq.training import configuration
from jaxseq.training import files
from jaxseq.training import plots
from jaxseq.training import progress
from jaxseq.training import run_directory
from jaxseq.training import scalars
from jaxseq.training import supervised
from jaxseq.training import tables
from jaxseq.training.comparison import arms as arms_lib
from jaxseq.training.comparison import stacked
from jaxseq.training.devices import device_mesh
from jaxseq.training.devices import placement
from jaxseq.training.devices import processes

RESULTS = "results.json"

# What may differ from the run that is resumed: it changes no trained number.
MAY_CHANGE = ("keep_checkpoints", "tensorboard", "references", "mesh")
# The field of a state that has an axis of examples.
_EXAMPLES = "carry"


class Arm(NamedTuple):
  """An arm of a supervised comparison, ready to be trained.

  Attributes:
    problem: what to train.
    optimizer: how.
    metric: name of the metric that the progress bar and the plot show; one of
      those that `problem.evaluate` returns.
    examples: number of examples, or tokens, of one update, for the speed.
    unit: what they are.
    stack: arms that have the same one, and not None, are trained side by side
      as one program, unless there is a mesh. Their problems and optimisers must
      differ in `problem.carry` alone.
  """

  problem: supervised.Problem
  optimizer: optax.GradientTransformation
  metric: str
  examples: int
  unit: str = "examples"
  stack: Hashable | None = None


@dataclasses.dataclass(frozen=True)
class Supervised(arms_lib.Arms):
  """What supervised experiments have in their configuration.

  Attributes:
    num_updates: of each run.
    chunks_per_evaluation: chunks between two evaluations.
    mesh: how devices share a run. Without one they take seeds each.
  """

  _: dataclasses.KW_ONLY
  num_updates: int = 1000
  updates_per_chunk: int = 50
  chunks_per_evaluation: int = 2
  mesh: device_mesh.MeshConfig = device_mesh.MeshConfig()

  def __post_init__(self):
    super().__post_init__()
    self.check_positive("num_updates", "chunks_per_evaluation")


Config = TypeVar("Config", bound=arms_lib.Arms)


def parse(config: Any, cls: type[Config], mesh: Sequence[str] = ()) -> Config:
  """Returns the configuration that the flags `--config` and `--mesh` give.

  Args:
    config: value of the first.
    cls: class of the configuration, with a field `mesh`.
    mesh: value of the second.

  Raises:
    UserError: there is no config, or one of them is wrong.
  """
  parsed = configuration.parse(config, cls)
  return dataclasses.replace(parsed, mesh=device_mesh.parse(mesh, parsed.mesh))


def open_workdir(
  workdir: str,
  config: Supervised,
  experiment: str,
  mode: str,
  may_change: Sequence[str] = (),
) -> pathlib.Path:
  """Returns the directory of a run, made or (to evaluate) found.

  Args:
    workdir: the flag.
    config: the configuration.
    experiment: name of the experiment.
    mode: "train" or "evaluate".
    may_change: fields of the experiment that may differ from those of the run
      that is there, as they change no trained number.

  Raises:
    UserError: the directory is of something else, or there is nothing in it.
  """
  find = (
    run_directory.prepare if mode == "train" else run_directory.open_existing
  )
  return find(
    workdir,
    config,
    experiment=experiment,
    may_change=(*MAY_CHANGE, *may_change),
  )


def main(
  config: Supervised,
  directory: pathlib.Path,
  arms: Mapping[str, Arm],
  mode: str,
  *,
  title: str,
  columns: Mapping[str, str],
  **options: Any,
) -> dict[str, dict[str, Any]]:
  """Trains and evaluates, or only evaluates, and shows the results.

  Args:
    config: the configuration.
    directory: of the run.
    arms: by name.
    mode: "train" or "evaluate".
    title: of table and plot.
    columns: metrics of the table, to their headings.
    **options: more of `finish`.

  Returns:
    The results, see `run`.
  """
  results = (run if mode == "train" else evaluate)(config, directory, arms)
  finish(
    config,
    directory,
    arms,
    results,
    mode,
    title=title,
    columns=columns,
    **options,
  )
  return results


def evaluate(
  config: Supervised, directory: pathlib.Path, arms: Mapping[str, Arm]
) -> dict[str, dict[str, Any]]:
  """Evaluates the newest checkpoints of all arms that have one.

  Args:
    config: the configuration.
    directory: of the run.
    arms: by name.

  Returns:
    As `run`, without the seconds, and without the arms that are left out.

  Raises:
    UserError: no arm has a checkpoint, or one has none that is whole.
  """
  results = {}
  for name in arms_lib.trained(arms, directory):
    arm = arms[name]
    _, variables = variables_of(config, directory, name, arm)
    metrics = evaluator(config, arm)(variables)
    results[name] = _measured(directory / name, variables) | _lists(metrics)
  return results


def run(
  config: Supervised, directory: pathlib.Path, arms: Mapping[str, Arm]
) -> dict[str, dict[str, Any]]:
  """Trains and evaluates all arms of a supervised comparison.

  Args:
    config: the configuration.
    directory: of the run.
    arms: by name.

  Returns:
    For each arm: "parameters" of a seed, "seconds" that training took in this
    process, compilation included, "updates_per_second" (of all seeds together;
    the median over chunks), and the final metrics, a list over seeds each. Of
    arms that are trained side by side both times are those of all together.
  """
  width = max(map(len, arms))
  results = {}
  for names in _stacks(config, arms):
    start = time.monotonic()
    label = names[0] if len(names) == 1 else f"{len(names)} arms"
    state, evaluate = _train(
      config,
      label.ljust(width),
      [arms[name] for name in names],
      [directory / name for name in names],
    )
    seconds = time.monotonic() - start
    metrics = stacked.split(evaluate(state), len(names))
    for name, part, own in zip(
      names, stacked.split(state, len(names)), metrics
    ):
      results[name] = (
        {"seconds": seconds}
        | _measured(directory / name, part.variables)
        | _lists(own)
      )
  return {name: results[name] for name in arms}


def _stacks(config, arms):
  """Returns the names of arms that are trained together."""
  stacks = {}
  for name, arm in arms.items():
    alone = arm.stack is None or not config.mesh.trivial
    stacks.setdefault((name,) if alone else (None, arm.stack), []).append(name)
  return list(stacks.values())


def variables_of(
  config: Supervised, directory: pathlib.Path, name: str, arm: Arm
) -> tuple[int, Any]:
  """Returns the step and the variables of an arm's newest checkpoint.

  Raises:
    UserError: the arm has no checkpoint, or none that is whole.
  """
  step, state = arms_lib.restore(name, _template(config, arm), directory)
  return step, state.variables


def evaluator(config: Supervised, arm: Arm) -> Callable[[Any], Any]:
  """Returns the compiled function from the seeds' variables to metrics."""
  data = share(config, arm.problem.data)
  compiled = compile_for(config, arm.problem.evaluate, shared=1)
  return lambda variables: jax.device_get(compiled(variables, data))


def compile_for(
  config: Supervised, function: Callable, **options: Any
) -> Callable:
  """Compiles a function of one seed for all; see `placement.compiled`."""
  return placement.compiled(config.mesh, config.num_seeds, function, **options)


def share(config: Supervised, data: T) -> T:
  """Puts data that all seeds share onto the devices."""
  return placement.share(config.mesh, config.num_seeds, data)


def num_parameters(variables: PyTree) -> int:
  """Counts the parameters of one of the seeds in variables."""
  return sum(leaf[0].size for leaf in jax.tree.leaves(variables["params"]))


def _measured(directory, variables):
  """Returns what a run tells about an arm besides its metrics."""
  return {
    "parameters": num_parameters(variables),
    "updates_per_second": speed(directory),
  }


def _lists(metrics):
  return jax.tree.map(lambda x: np.asarray(x).tolist(), metrics)


def _init_of(arm):
  return functools.partial(supervised.init, arm.problem, arm.optimizer)


def _keys(config: Supervised) -> jax.Array:
  return placement.keys(config.mesh, config.seed, config.num_seeds)


def _template(config, arm):
  return arms_lib.template(config.mesh, _init_of(arm), _keys(config), _EXAMPLES)


def _train(config, label, arms, directories):
  """Returns the trained states, and the function that evaluates them."""
  arm, count_arms = arms[0], len(arms)
  wide = dataclasses.replace(config, num_seeds=count_arms * config.num_seeds)
  data = share(wide, arm.problem.data)
  state = arms_lib.initial_state(
    config.mesh, _init_of(arm), _keys(config), _EXAMPLES
  )
  if count_arms > 1:
    state = stacked.tile(state, [each.problem.carry for each in arms])
  where = placement.state_placements(config.mesh, state, _EXAMPLES)

  @functools.cache
  def chunk_of(count: int):
    return compile_for(
      wide,
      lambda state, data: supervised.train(
        arm.problem, arm.optimizer, state, data, count
      ),
      shared=1,
      donate_argnums=0,
      out_shardings=(where, placement.everywhere(config.mesh)),
    )

  # Arm by arm: evaluations take more memory than updates.
  evaluate = evaluator(config, arm)

  def evaluate_state(state, step=None):
    del step
    parts = [
      evaluate(part) for part in stacked.split(state.variables, count_arms)
    ]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

  state = arms_lib.train_arm(
    label,
    lambda state, count: chunk_of(count)(state, data),
    state,
    directories[0] if count_arms == 1 else directories,
    config,
    num_updates=config.num_updates,
    metric=arm.metric,
    update_axis=None,
    evaluate=evaluate_state,
    evaluate_every=config.chunks_per_evaluation,
  )
  return state, evaluate_state


def speed(directory: pathlib.Path) -> float:
  """Returns an arm's median updates per second, NaN if unknown."""
  _, values = scalars.column(scalars.read(directory), "steps_per_second")
  values = np.asarray(values)
  return float(np.median(values)) if values.size else float("nan")


def finish(
  config: Supervised,
  directory: pathlib.Path,
  arms: Mapping[str, Arm],
  results: Mapping[str, Any],
  mode: str,
  *,
  title: str,
  columns: Mapping[str, str],
  baselines: Mapping[str, Mapping[str, float]] | None = None,
  drawn: Collection[str] | None = None,
  levels: Mapping[str, float] | None = None,
) -> None:
  """Shows the results; after a training, writes them and draws the curve too.

  Args:
    config: the configuration.
    directory: of the run; gets results.json and learning_curve.png.
    arms: by name.
    results: as from `run`.
    mode: "train" or "evaluate".
    title: of table and plot.
    columns: metrics of the table, to their headings.
    baselines: what is known without training, by label: metrics for the last
      rows of the table, and for results.json under "baselines".
    drawn: names of the arms to plot; all if None.
    levels: dashed lines of the plot, by label, beside those of the
      configuration; the baselines' values of the plotted metric if None.
  """
  baselines = baselines or {}
  _show(config, arms, results, title, columns, baselines)
  if mode != "train" or not processes.is_first():
    return
  written = dict(results)
  if baselines:
    written["baselines"] = {k: dict(v) for k, v in baselines.items()}
  files.write_json(directory / RESULTS, configuration.to_json(written))
  metric = next(iter(arms.values())).metric
  if levels is None:
    levels = {
      label: values[metric]
      for label, values in baselines.items()
      if metric in values
    }
  picture = plots.learning_curve(
    directory / "learning_curve.png",
    {
      name: scalars.column(scalars.read(directory / name), metric)
      for name in results
      if drawn is None or name in drawn
    },
    xlabel="updates",
    ylabel=columns.get(metric, metric),
    title=title,
    references={**levels, **config.references},
  )
  print(f"Learning curve: {picture or 'not drawn'}")


def _show(config, arms, results, title, columns, baselines):
  unit = next(iter(arms.values())).unit
  rows = []
  for name, result in results.items():
    speed = result["updates_per_second"] * arms[name].examples
    known = np.isfinite(speed)
    rows.append(
      [
        name,
        f"{result['parameters']:,}",
        *(_cell(result[metric]) for metric in columns),
        progress.short_number(speed * config.num_seeds) if known else "-",
      ]
    )
  for label, values in baselines.items():
    cells = [
      tables.mean_std(values[metric]) if metric in values else "-"
      for metric in columns
    ]
    rows.append([label, "-", *cells, "-"])
  tables.show(
    ["arm", "parameters", *columns.values(), f"{unit}/s"],
    rows,
    title=f"{title}; {tables.over_seeds(config.num_seeds)}",
  )


def _cell(value):
  """Metrics are lists over seeds; what all seeds share is one number."""
  if isinstance(value, list):
    return tables.mean_std(value)
  return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
