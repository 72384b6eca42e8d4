"""Areas under ROC curves."""

import numpy as np

from jaxseq.dts.metrics import _sklearn


def one_vs_rest(
  labels: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> float:
  """Returns the mean area over classes, each against the rest."""
  metrics = _sklearn.load("metrics")
  areas = []
  for column, label in zip(probabilities.T, classes):
    members = labels == label
    if members.any() and not members.all():
      areas.append(metrics.roc_auc_score(members, column))
  if not areas:
    raise ValueError(
      f"labels: got {np.unique(labels).tolist()}, expected at least two "
      f"classes, one of them among {np.asarray(classes).tolist()}, for an area "
      "under a ROC curve."
    )
  return float(np.mean(areas))
