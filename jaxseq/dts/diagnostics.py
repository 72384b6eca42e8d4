"""Diagnostics of what a trained sequence VAE gave: arrays on the host.

What is measured on the device while it trains is in `evaluation`.
"""

import numpy as np

from jaxseq import validate
from jaxseq.dts import _arrays
from jaxseq.dts import _sklearn


def anomaly_auc(scores: np.ndarray, anomalous: np.ndarray) -> float:
  """Returns the area under the ROC curve of an anomaly score.

  Args:
    scores: (n,) float, higher for less likely windows, such as their -ELBO.
    anomalous: (n,) bool or 0 and 1, which windows are anomalies.

  Returns:
    0.5 for chance, 1 if every anomaly scores above every other window.

  Raises:
    ValueError: shapes differ, scores are not finite, or all windows are alike.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  scores = np.asarray(scores, np.float64)
  if scores.ndim != 1 or not np.isfinite(scores).all():
    raise validate.error("scores", scores, "finite numbers (windows,)")
  labels = _arrays.label_array(anomalous, len(scores), "anomalous")
  if not np.isin(labels, (0, 1)).all():
    raise validate.error("anomalous", np.unique(labels).tolist(), "0 and 1")
  return _sklearn.area_under_roc(labels, scores[:, None], np.array([1]))


def traversal_effect(
  traversal: np.ndarray, reference: np.ndarray
) -> np.ndarray:
  """Returns the change that each coordinate makes to the decoded series, (D,).

  The mean squared change over values, time and channels of windows (D, S, T, C)
  that were decoded with coordinate d at each of S values and the others left,
  from the window (T, C) decoded with all of them left. An autoregressive
  decoder must run freely, on its own means: teacher forcing hides what z does.

  Raises:
    ValueError: shapes do not fit.
  """
  traversal = np.asarray(traversal, np.float64)
  reference = np.asarray(reference, np.float64)
  if traversal.ndim != 4 or reference.shape != traversal.shape[2:]:
    got = f"shape {traversal.shape} and {reference.shape}"
    expected = "(codes, values, time, channels) and (time, channels)"
    raise validate.error("traversal and reference", got, expected)
  return np.square(traversal - reference).mean((1, 2, 3))
