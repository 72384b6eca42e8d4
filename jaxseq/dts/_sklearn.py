"""scikit-learn, imported where it is needed."""

from collections.abc import Iterator
import contextlib
import importlib
import types
import warnings

import numpy as np

from jaxseq import validate


def load(module: str) -> types.ModuleType:
  """Returns a module below `sklearn`; says so in one sentence if it lacks."""
  try:
    return importlib.import_module(f"sklearn.{module}")
  except ImportError as error:
    raise ModuleNotFoundError(
      "metrics and probes that are learned need scikit-learn: "
      'pip install "jaxseq[dts]".',
      name="sklearn",
    ) from error


@contextlib.contextmanager
def may_stop_early() -> Iterator[None]:
  """Keeps models quiet that stop after their last step and not before."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", load("exceptions").ConvergenceWarning)
    yield


def area_under_roc(
  labels: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> float:
  """Returns the mean area under the ROC curve, each class against the rest."""
  metrics = load("metrics")
  areas = []
  for column, label in zip(probabilities.T, classes):
    members = labels == label
    if members.any() and not members.all():
      areas.append(metrics.roc_auc_score(members, column))
  if not areas:
    options = f"one of them among {np.asarray(classes).tolist()}"
    expected = f"at least two classes, {options}, for an area under a ROC curve"
    raise validate.error("labels", np.unique(labels).tolist(), expected)
  return float(np.mean(areas))
