"""Model files of a run: choosing the seed, and finding the file."""

from collections.abc import Mapping
import pathlib
from typing import Any

import numpy as np

from jaxseq.models import model_file
from jaxseq.training import errors
from jaxseq.training import per_seed

# Validation metrics that choose a seed, and whether higher is better.
_CHOOSING = {
  "valid_accuracy": True,
  "valid_mse": False,
  "valid_nll": False,
  "valid_neg_elbo": False,
  "bits_per_token": False,
}


def choose_seed(
  report: Mapping[str, object], num_seeds: int, arm: Any = None
) -> tuple[int, str]:
  """Returns the best seed by a validation metric, and the metric.

  Args:
    report: report of an arm; failed seeds have NaN.
    num_seeds: number of seeds.
    arm: a `supervised_arms.Arm`, whose own validation metric is used if the
      report has no shared metric.

  Returns:
    The seed and the metric that chose it; without such a metric the first seed
    that did not fail, and "first seed".
  """
  choosing = dict(_CHOOSING)
  if arm is not None and arm.part == "validation" and arm.better:
    choosing.setdefault(arm.metric, arm.better == "higher")
  for name, more_is_better in choosing.items():
    values = np.asarray(report.get(name, ()), float)
    if values.shape == (num_seeds,) and not np.isnan(values).all():
      best = np.nanargmax(values if more_is_better else -values)
      return int(best), name
  return _first_left(report, num_seeds), "first seed"


def _first_left(report, num_seeds):
  """Returns the first seed that has a number for some metric."""
  lists = [
    x
    for x in report.values()
    if isinstance(x, per_seed.PerSeed)
    and all(isinstance(value, (int, float)) for value in x)
  ]
  failed = np.isnan(np.array(lists or np.zeros((1, num_seeds)), float))
  return int(np.argmin(failed.all(axis=0)))


def find(directory: pathlib.Path, arm: str | None) -> pathlib.Path:
  """Returns the model file of an arm.

  Args:
    directory: directory of the run.
    arm: name of the arm; may be None if there is only one.

  Raises:
    UserError: if there is no such arm, or its training is not finished.
  """
  files = {
    path.parent.name: path
    for path in sorted(directory.glob(f"*/{model_file.NAME}"))
  }
  if not files:
    raise errors.UserError(
      f"{str(directory)!r} holds no {model_file.NAME}, which the end of a "
      "training writes: run the same command with --mode=train to its end"
    )
  if arm is None and len(files) > 1:
    raise errors.UserError(
      f"--arm=NAME is missing: the arms with a model are {', '.join(files)}"
    )
  if arm is not None and arm not in files:
    raise errors.UserError(
      f"--arm={arm}: there is no model of it; the arms with one are "
      f"{', '.join(files)}"
    )
  return files[arm or next(iter(files))]
