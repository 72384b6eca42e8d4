"""Training and evaluating all arms of a comparison, from where they are."""

from collections.abc import Callable
from collections.abc import Iterable
import functools
import math
import pathlib
from typing import Any

import jax
import numpy as np

from jaxseq._types import PyTree
from jaxseq.rl import algorithms
from jaxseq.rl import comparison
from jaxseq.rl import evaluate
from jaxseq.training import scalars
from jaxseq.training.comparison import arms
from jaxseq.training.devices import placement

# What may differ from the run that is resumed: it changes no trained number.
MAY_CHANGE = (
  "keep_checkpoints",
  "evaluation_episodes",
  "evaluation_greedy",
  "evaluations",
  "tensorboard",
  "references",
  "mesh",
)
# The field of a state that has an axis of environments.
_ENVIRONMENTS = "world"


def train(
  config: comparison.Config,
  directory: pathlib.Path,
  show: Callable[[str, Any], None] = lambda name, variables: None,
) -> dict[str, dict[str, Any]]:
  """Trains all arms from where they are, and evaluates them.

  Args:
    config: the configuration.
    directory: of the run.
    show: is given the name of each arm that is trained, and the variables of
      all seeds, leading axis num_seeds; with several processes, on each.

  Returns:
    For each arm what `evaluate_arm` returns and, per seed, `training`, the mean
    return of the last twentieth of the training; `best`, the highest mean
    return of an update's episodes, smoothed over a twentieth of the training;
    and `overall`, the mean return over all of it.
  """
  results = {}
  for name in config.arms:
    arm = comparison.arm_config(config, name)
    runners = _train_arm(config, name, arm, directory / name)
    results[name] = evaluate_arm(config, arm, runners.variables)
    show(name, runners.variables)
    _, values = curve(directory, name)
    span = max(1, values.shape[1] // 20)
    results[name]["training"] = [_mean(seed[-span:]) for seed in values]
    results[name]["best"] = [highest_mean(seed, span) for seed in values]
    results[name]["overall"] = [_mean(seed) for seed in values]
  return results


def evaluate_arm(
  config: comparison.Config, arm: Any, variables: PyTree
) -> dict[str, Any]:
  """Plays whole episodes with each seed's policy.

  Args:
    config: the comparison.
    arm: configuration of the arm.
    variables: of all seeds, leading axis num_seeds.

  Returns:
    The number of `parameters` and, per seed, the mean returns `evaluation` and
    lengths `evaluation_length`; if episodes consist of trials also the mean
    return of each, `trials`. If the comparison has further `evaluations`, a
    dictionary of that name with the same of each of them.
  """
  leaves = jax.tree.leaves(variables["params"])
  result = {
    "parameters": sum(math.prod(leaf.shape[1:]) for leaf in leaves),
    **_play(config, arm, variables),
  }
  further = comparison.evaluation_configs(config, arm)
  if further:
    result["evaluations"] = {
      name: _play(config, other, variables) for name, other in further.items()
    }
  return result


def _play(config, arm, variables) -> dict[str, Any]:
  """Plays whole episodes in the environment of a configuration."""

  def play(inputs):
    return evaluate.evaluate(
      arm,
      *inputs,
      num_episodes=config.evaluation_episodes,
      greedy=config.evaluation_greedy,
    )

  play_all = placement.compiled(config.mesh, config.num_seeds, play)
  played = jax.device_get(play_all((variables, _keys(config)[1])))
  result = {
    "evaluation": played["mean_return"].tolist(),
    "evaluation_length": played["episode_length"].mean(axis=-1).tolist(),
  }
  if "mean_trial_returns" in played:
    result["trials"] = played["mean_trial_returns"].tolist()
  return result


def restore(
  config: comparison.Config, directory: pathlib.Path, names: Iterable[str]
) -> dict[str, tuple[int, Any]]:
  """Returns the step and the variables of arms' newest checkpoints.

  Args:
    config: the comparison.
    directory: of the run.
    names: of the arms.

  Raises:
    UserError: an arm has no checkpoint, or none that is whole.
  """
  restored = {}
  for name in names:
    arm = comparison.arm_config(config, name)
    template = arms.template(*_start(config, arm))
    step, runners = arms.restore(name, template, directory)
    restored[name] = step, runners.variables
  return restored


def curve(directory: pathlib.Path, name: str) -> tuple[Any, Any]:
  """Returns steps (n,) and returns (seeds, n) of an arm's training."""
  rows = scalars.read(directory / name)
  return scalars.column(rows, "episode_return")


def speed(directory: pathlib.Path, name: str) -> float:
  """Returns the median environment steps per second of an arm's training.

  Args:
    directory: of the run.
    name: of the arm.

  Returns:
    Steps of all seeds together; NaN where the training was a single chunk.
  """
  rows = [
    row for row in scalars.read(directory / name) if "steps_per_second" in row
  ]
  if not rows:
    return float("nan")
  num_seeds = len(rows[0]["episode_return"])
  return num_seeds * float(np.median([row["steps_per_second"] for row in rows]))


def evaluation_keys(config: comparison.Config) -> jax.Array:
  """Returns the keys (num_seeds,) for evaluations, on one device."""
  return _split(config)[1]


def _split(config):
  """Returns keys (num_seeds,) for training, and for evaluations."""
  keys = jax.random.split(jax.random.key(config.seed))
  return tuple(jax.random.split(key, config.num_seeds) for key in keys)


def _keys(config):
  return placement.create(config.mesh, lambda: _split(config))


def _start(config, arm):
  """Returns the arguments of `arms.initial_state` and `arms.template`."""
  init = functools.partial(algorithms.of(arm).init, arm)
  return config.mesh, init, _keys(config)[0], _ENVIRONMENTS


def _train_arm(config, name, arm, directory) -> Any:
  """Trains the seeds of one arm; returns their states."""
  runners = arms.initial_state(*_start(config, arm))
  where = placement.state_placements(config.mesh, runners, _ENVIRONMENTS)

  @functools.cache
  def chunk_of(count: int):
    return placement.compiled(
      config.mesh,
      config.num_seeds,
      lambda runner: algorithms.of(arm).train(arm, runner, count),
      donate_argnums=0,
      out_shardings=(where, placement.everywhere(config.mesh)),
    )

  return arms.train_arm(
    name.ljust(max(map(len, config.arms))),
    lambda runners, count: chunk_of(count)(runners),
    runners,
    directory,
    config,
    num_updates=arm.num_updates,
    metric="episode_return",
    update_axis=1,
    steps_per_update=arm.steps_per_update,
  )


def highest_mean(values: np.ndarray, span: int) -> float:
  """Returns the highest mean of neighbouring values.

  Args:
    values: (n,), NaN for updates in which no episode ended; those are left out.
    span: how many neighbours, at most n.

  Returns:
    The mean, NaN if no value is finite.
  """
  means = [_mean(values[i : i + span]) for i in range(len(values) - span + 1)]
  return max(filter(math.isfinite, means), default=float("nan"))


def _mean(values: np.ndarray) -> float:
  """Returns the mean of what is finite, NaN if nothing is."""
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if finite.size else float("nan")
