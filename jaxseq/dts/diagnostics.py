"""What to watch while a sequence VAE trains: is z used, and by which code?

Arrays on the host. No number here is enough on its own: active units and mutual
information can be high while the decoder does not read z. Report them with
`nll_gap` and the negative log-likelihood itself.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxseq.dts.metrics import _auc
from jaxseq.dts.metrics import _checks


def active_units(mu: np.ndarray, threshold: float = 0.01) -> np.ndarray:
  """Returns which codes vary with x: Var_x(mu_d) > threshold.

  Burda et al., "Importance Weighted Autoencoders", arXiv:1509.00519, section
  5.2. A total KL of 1 nat, spread over ten codes, can leave all ten active.

  Args:
    mu: (n, D) float, n >= 2, means of q(z|x).
    threshold: of the unbiased variance.

  Returns:
    (D,) bool; their sum is the number of active units.

  Raises:
    ValueError: mu has another shape or is not finite.
  """
  mu = _checks.code_array(mu, "mu")
  if len(mu) < 2:
    raise ValueError("mu must have at least 2 examples; got 1.")
  return mu.var(0, ddof=1) > threshold


def kl_per_coordinate(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
  """Returns the mean KL(q(z_d|x) || N(0, 1)) of each coordinate.

  Args:
    mu: (n, D) float, means of q(z|x).
    logvar: (n, D) float, logarithms of its variances.

  Returns:
    (D,) float64, nats; their sum is the KL of the ELBO.

  Raises:
    ValueError: shapes differ or something is not finite.
  """
  mu = _checks.code_array(mu, "mu")
  logvar = _checks.code_array(logvar, "logvar")
  if mu.shape != logvar.shape:
    raise ValueError(
      f"mu and logvar must have one shape; got {mu.shape} and {logvar.shape}."
    )
  # expm1 keeps the last digits of a coordinate that is almost the prior.
  return 0.5 * (np.square(mu) + np.expm1(logvar) - logvar).mean(0)


def nll_gap(own: np.ndarray, other: np.ndarray) -> float:
  """Returns how much worse windows are explained by the z of another window.

  Args:
    own: (n,) -log p(x|z), z of the window itself; nats per window.
    other: (n,) -log p(x|z), z of another window.

  Returns:
    The mean difference, nats per window; 0 if the decoder does not read z.

  Raises:
    ValueError: shapes differ or something is not finite.
  """
  own, other = (np.asarray(a, np.float64) for a in (own, other))
  if own.ndim != 1 or own.shape != other.shape or not own.size:
    raise ValueError(
      "own and other must be (windows,) of one length, at least 1; got shapes "
      f"{own.shape} and {other.shape}."
    )
  if not (np.isfinite(own).all() and np.isfinite(other).all()):
    raise ValueError("own and other must be finite.")
  return float(np.mean(other - own))


def nll_gap_of(
  nll: Callable[[Any, np.ndarray], np.ndarray],
  x: Any,
  z: np.ndarray,
  *,
  seed: int = 0,
) -> float:
  """Returns `nll_gap` of a decoder, with z exchanged between windows.

  Args:
    nll: from windows and z (n, D) to -log p(x|z) (n,), nats per window. An
      autoregressive decoder is teacher-forced, in both cases.
    x: the windows, handed on as they are.
    z: (n, D) float, n >= 2, a draw from q(z|x) of each window. No window gets
      its own.
    seed: of the exchange.

  Returns:
    Nats per window.

  Raises:
    ValueError: there is only one window, or `nll` returns another shape.
  """
  z = np.asarray(z)
  if z.ndim != 2 or len(z) < 2:
    raise ValueError(
      f"z must be (windows, codes) of at least 2 windows; got shape {z.shape}."
    )
  return nll_gap(nll(x, z), nll(x, z[exchange(len(z), seed)]))


def exchange(n: int, seed: int = 0) -> np.ndarray:
  """Returns a random permutation that leaves nothing in its place.

  Args:
    n: number of windows, at least 2.
    seed: of the permutation.

  Returns:
    (n,) int64: whose z each window gets.
  """
  order = np.random.default_rng(seed).permutation(n)
  out = np.empty(n, np.int64)
  # One cycle through all of them.
  out[order] = np.roll(order, 1)
  return out


def anomaly_auc(scores: np.ndarray, anomalous: np.ndarray) -> float:
  """Returns the area under the ROC curve of an anomaly score.

  Args:
    scores: (n,) float, higher for what is stranger, as -ELBO of a window.
    anomalous: (n,) bool or 0 and 1, which windows are anomalies.

  Returns:
    0.5 for chance, 1 if every anomaly scores above every other window.

  Raises:
    ValueError: shapes differ, scores are not finite, or all windows are alike.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  scores = np.asarray(scores, np.float64)
  if scores.ndim != 1 or not np.isfinite(scores).all():
    raise ValueError(
      f"scores must be (windows,), finite; got shape {scores.shape}."
    )
  labels = _checks.label_array(anomalous, len(scores), "anomalous")
  if not np.isin(labels, (0, 1)).all():
    raise ValueError(
      f"anomalous must hold 0 and 1; got {np.unique(labels).tolist()}."
    )
  return _auc.one_vs_rest(labels, scores[:, None], np.array([1]))


def traversal_effect(
  traversal: np.ndarray, reference: np.ndarray
) -> np.ndarray:
  """Returns how much each coordinate changes what is decoded.

  An autoregressive decoder must run freely, on its own means: teacher forcing
  hides what z does.

  Args:
    traversal: (D, S, T, C) float, windows decoded with coordinate d at each of
      S values and the others left.
    reference: (T, C) float, the window decoded with all of them left.

  Returns:
    (D,) float64: mean squared change over values, time and channels.

  Raises:
    ValueError: shapes do not fit.
  """
  traversal = np.asarray(traversal, np.float64)
  reference = np.asarray(reference, np.float64)
  if traversal.ndim != 4 or reference.shape != traversal.shape[2:]:
    raise ValueError(
      "traversal must be (codes, values, time, channels) and reference (time, "
      f"channels); got shapes {traversal.shape} and {reference.shape}."
    )
  return np.square(traversal - reference).mean((1, 2, 3))
