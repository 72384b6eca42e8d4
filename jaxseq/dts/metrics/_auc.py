"""Areas under ROC curves."""

import numpy as np

from jaxseq.dts.metrics import _sklearn


def one_vs_rest(
  labels: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> float:
  """Returns the mean over classes of the area for this class against the rest.

  Args:
    labels: (n,) int.
    probabilities: (n, C) of each class.
    classes: (C,) int, the labels that the columns are of.

  Returns:
    The mean over those classes that some labels, and not all, are of. 0.5 is
    chance.

  Raises:
    ValueError: there is no such class.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  metrics = _sklearn.load("metrics")
  areas = []
  for column, label in zip(probabilities.T, classes):
    members = labels == label
    if members.any() and not members.all():
      areas.append(metrics.roc_auc_score(members, column))
  if not areas:
    raise ValueError(
      "an area under a ROC curve needs labels of at least two classes, one of "
      f"them among {np.asarray(classes).tolist()}; got "
      f"{np.unique(labels).tolist()}."
    )
  return float(np.mean(areas))
