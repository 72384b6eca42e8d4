"""In-context reinforcement learning: recurrent policies on memory tasks.

    python -m experiments.icrl --config=configs/icrl/quickstart.py --workdir=DIR
    python -m experiments.icrl --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one kind of memory each), all
seeds of an arm as one program, and resumes where an earlier run stopped. It
ends with a table, `DIR/learning_curve.png` and `DIR/results.json`; each arm has
`metrics.jsonl` and `checkpoints/` in `DIR/ARM`. The second command restores
the trained policies, plays new episodes and shows one of them step by step.
"""

import functools
import pathlib
import shlex
import sys
from typing import Any

import jax
import numpy as np

from jaxseq.training import seeds

if __name__ == "__main__":
  # gymnax, which the imports below bring, uses a device when it is imported;
  # from then on the number of devices is fixed.
  seeds.split_cpu()

from jaxseq.rl import comparison
from jaxseq.rl import evaluate
from jaxseq.rl import ppo
from jaxseq.rl import transcript
from jaxseq.training import app
from jaxseq.training import arms as arms_lib
from jaxseq.training import config as config_lib
from jaxseq.training import errors
from jaxseq.training import metrics as metrics_lib
from jaxseq.training import plots
from jaxseq.training import tables
from jaxseq.training import workdir as workdir_lib

EXPERIMENT = "icrl"
RESULTS = "results.json"

_EPISODE_ROWS = 64  # steps shown of an episode, at most

_CONFIG, _WORKDIR = app.define_flags()
_MODE = app.define_mode()


# What may differ from the run that is resumed: it changes no trained number.
_MAY_CHANGE = (
  "keep_checkpoints",
  "evaluation_episodes",
  "evaluation_greedy",
  "tensorboard",
  "references",
)


def train(config: comparison.Config, directory: pathlib.Path) -> dict[str, Any]:
  """Trains all arms from where they are, and evaluates them.

  Args:
    config: the configuration.
    directory: of the run.

  Returns:
    For each arm the number of parameters and, per seed, the mean return of the
    last twentieth of the training and that of the evaluation.
  """
  results = {}
  for name in config.arms:
    arm = comparison.arm_config(config, name)
    runners = _train_arm(config, name, arm, directory / name)
    results[name] = _evaluate(config, arm, runners.variables)
    _, values = _curve(directory, name)
    late = values[:, -max(1, values.shape[1] // 20) :]
    results[name]["training"] = [_mean(seed) for seed in late]
  return results


def _train_arm(
  config: comparison.Config, name: str, arm: ppo.Config, directory: pathlib.Path
) -> ppo.RunnerState:
  """Trains the seeds of one arm; returns their states."""

  @functools.cache
  def chunk_of(count: int):
    return seeds.jit(
      lambda runner: ppo.train(arm, runner, count),
      config.num_seeds,
      donate_argnums=0,
    )

  return arms_lib.train_arm(
    name.ljust(max(map(len, config.arms))),
    lambda runners, count: chunk_of(count)(runners),
    _initial(config, arm)(_keys(config)[0]),
    directory,
    config,
    num_updates=arm.num_updates,
    metric="episode_return",
    update_axis=1,
    steps_per_update=arm.steps_per_update,
  )


def _initial(config: comparison.Config, arm: ppo.Config):
  """Returns the compiled function from the seeds' keys to their states."""
  return arms_lib.initial(functools.partial(ppo.init, arm), config.num_seeds)


def _keys(config: comparison.Config) -> tuple[jax.Array, jax.Array]:
  """Returns the seeds' keys for training and for evaluation."""
  key_train, key_evaluate = jax.random.split(jax.random.key(config.seed))
  return (
    jax.random.split(key_train, config.num_seeds),
    jax.random.split(key_evaluate, config.num_seeds),
  )


def _evaluate(
  config: comparison.Config, arm: ppo.Config, variables: Any
) -> dict[str, Any]:
  """Plays whole episodes with each seed's policy."""

  def play(inputs):
    return evaluate.evaluate(
      arm,
      *inputs,
      num_episodes=config.evaluation_episodes,
      greedy=config.evaluation_greedy,
    )

  play_all = seeds.jit(play, config.num_seeds)
  played = jax.device_get(play_all((variables, _keys(config)[1])))
  sizes = [leaf[0].size for leaf in jax.tree.leaves(variables)]
  return {
    "parameters": sum(sizes),
    "evaluation": played["mean_return"].tolist(),
    "evaluation_length": played["episode_length"].mean(axis=-1).tolist(),
  }


def restore(
  config: comparison.Config, directory: pathlib.Path
) -> dict[str, tuple[int, Any]]:
  """Returns the step and the variables of each arm's newest checkpoint.

  Raises:
    UserError: an arm has no checkpoint, or none that is whole.
  """
  restored = {}
  for name in config.arms:
    arm = comparison.arm_config(config, name)
    step, runners = arms_lib.restore(
      name, _initial(config, arm), _keys(config)[0], directory
    )
    restored[name] = step, runners.variables
  return restored


def _mean(values: np.ndarray) -> float:
  """Returns the mean of what is finite, NaN if nothing is."""
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if finite.size else float("nan")


def _curve(directory: pathlib.Path, name: str) -> tuple[Any, Any]:
  rows = metrics_lib.read(directory / name)
  return metrics_lib.column(rows, "episode_return")


def _finish(
  config: comparison.Config, directory: pathlib.Path, results: Any
) -> None:
  """Writes and shows what a training run ends with."""
  workdir_lib.write_json(directory / RESULTS, config_lib.to_json(results))
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
      f"{task}: mean ± standard deviation over {config.num_seeds} seeds; last"
      f" twentieth of the training, {config.evaluation_episodes} new episodes"
    ),
  )
  try:
    picture = plots.learning_curve(
      directory / "learning_curve.png",
      {name: _curve(directory, name) for name in config.arms},
      xlabel="environment steps",
      ylabel="return of the episodes that ended",
      title=f"{task}, {config.num_seeds} seeds",
      references=dict(config.references),
      smooth=5,
    )
  except ModuleNotFoundError as error:
    picture = f"not drawn, {error.name} is not installed"
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
  print(f"Learning curve: {picture}")
  print(f"Watch the trained policies: {command} --mode=evaluate")


def _watch(config: comparison.Config, directory: pathlib.Path) -> None:
  """Evaluates the policies in a directory, and shows an episode of each."""
  rows = []
  for name, (step, variables) in restore(config, directory).items():
    arm = comparison.arm_config(config, name)
    player = ppo.player(arm)
    episode = evaluate.record(
      arm,
      jax.tree.map(lambda leaf: leaf[0], variables),
      _keys(config)[1][0],
      _EPISODE_ROWS,
      greedy=config.evaluation_greedy,
    )
    tables.show(
      transcript.columns(player),
      transcript.rows(player, jax.device_get(episode)),
      title=f"{arm.env_id}, played by {name} (seed 0) after {step:,} steps",
    )
    print()
    result = _evaluate(config, arm, variables)
    for seed, (mean, length) in enumerate(
      zip(result["evaluation"], result["evaluation_length"])
    ):
      rows.append([name, seed, f"{step:,}", f"{mean:.3f}", f"{length:.1f}"])
  tables.show(
    ["memory", "seed", "trained for", "mean return", "mean length"],
    rows,
    title=f"{config.evaluation_episodes} new episodes of every policy",
  )


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  with errors.setup():
    config = config_lib.parse(_CONFIG.value, comparison.Config)
    for name in config.arms:
      ppo.player(comparison.arm_config(config, name))
    find = workdir_lib.prepare
    if _MODE.value == "evaluate":
      find = workdir_lib.open_existing
    directory = find(
      _WORKDIR.value, config, experiment=EXPERIMENT, may_change=_MAY_CHANGE
    )
  if _MODE.value == "evaluate":
    _watch(config, directory)
  else:
    _finish(config, directory, train(config, directory))


if __name__ == "__main__":
  app.run_main(main)
