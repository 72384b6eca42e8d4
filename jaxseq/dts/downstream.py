"""Classes, forecasts and anomalies from codes of windows of the test set.

classify   probes that read the classes, or the levels of all factors, from
           the means of codes
forecast   the second half of a window from the code of the first, beside
           the same model with the code of another window
anomaly    -ELBO as a score of how strange a window is
"""

from collections.abc import Sequence
import functools
import pathlib

import jax
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.data import domains
from jaxseq.dts import _downstream_pictures
from jaxseq.dts import _forecasts
from jaxseq.dts import _sklearn
from jaxseq.dts import autoencoder
from jaxseq.dts import code_scores
from jaxseq.dts import diagnostics
from jaxseq.dts import divergences
from jaxseq.dts import evaluation
from jaxseq.dts import probes
from jaxseq.dts import problem
from jaxseq.tasks import base
from jaxseq.types import PyTree

TASKS = ("classify", "forecast", "anomaly")
SCORES = (
  "class linear",
  "class mlp",
  "forecast mse",
  "forecast other",
  "anomaly auc",
)
# Samples of z for each window's ELBO.
SAMPLES = 8
_DRAWN = 4


def check(tasks: Sequence[str], splits: data.Splits) -> None:
  """Checks that a set of windows has what some of `TASKS` need.

  Raises:
    ValueError: a task is unknown or named twice, or the windows do not fit it.
    ModuleNotFoundError: scikit-learn is not installed, and is needed.
  """
  if len(set(tasks)) < len(tasks) or set(tasks) - set(TASKS):
    expected = f"some of {', '.join(TASKS)}, each once"
    raise validate.error("downstream", tuple(tasks), expected)
  train, test = splits.train, splits.test
  if "classify" in tasks:
    probes.require()
    kind = np.asarray(train.targets).dtype
    if train.targets.ndim > 2 or not np.issubdtype(kind, np.integer):
      got = f"dtype {kind} of shape {train.targets.shape}"
      expected = "integers (n,) or (n, factors) for downstream 'classify'"
      raise validate.error("targets", got, expected)
  windows, lengths = test.inputs.shape, test.lengths
  if "forecast" in tasks and (lengths is not None or windows[1] < 2):
    got = f"shape {windows} and {lengths}"
    expected = (
      "windows of one length above 1 for downstream 'forecast', and None"
    )
    raise validate.error("inputs and lengths", got, expected)
  if "anomaly" in tasks:
    probes.require()
    labels = np.unique(test.targets).tolist()
    if test.targets.ndim != 1 or labels != [0, 1] or np.any(train.targets):
      got = f"shape {test.targets.shape} with {labels[:5]} in the test set"
      wanted = "(n,) that are 0 in training and 0 and 1 in the test set"
      raise validate.error("targets", got, f"{wanted} for downstream 'anomaly'")


def scores(
  tasks: Sequence[str],
  config: problem.ArmConfig,
  splits: data.Splits,
  variables: PyTree,
  directory: pathlib.Path,
  *,
  labeled: int = 1000,
  draw: bool = True,
) -> dict[str, list[float]]:
  """Scores all seeds of an arm on downstream tasks, and draws the first one.

  Args:
    tasks: some of `TASKS`, see `check`.
    config: of the arm.
    splits: the windows.
    variables: of the problem, with a leading axis of seeds.
    directory: of the arm; gets _forecasts.png and anomaly.png.
    labeled: of so many training windows the labels are known.
    draw: whether to write these files.

  Returns:
    A list over seeds for each score. "class linear" and "class mlp": test
    accuracy of the probes, the mean over factors where there are several.
    "forecast mse" and, with the code of another window, "forecast other".
    "anomaly auc": area under the ROC curve.
  """
  vae = problem.make_model(config, splits)
  train = _labeled(splits.train, labeled)
  test = evaluation.some(base.host(splits.test), config.evaluated)
  rows = []
  encode = jax.jit(functools.partial(evaluation.encode, vae))

  @jax.jit
  def continued(model, x):
    z = _forecasts.encode(vae, model, x)
    other = z[evaluation.exchange(jax.random.key(0), len(z))]
    return tuple(_forecasts.forecast(vae, model, x, c) for c in (z, other))

  strangeness = jax.jit(functools.partial(anomaly_scores, vae))
  for seed, model in enumerate(problem.models(variables)):
    drawn = draw and seed == 0
    row = {}
    if "classify" in tasks:
      codes = [np.asarray(encode(model, part)[0]) for part in (train, test)]
      row |= _accuracies(codes, train.targets, test.targets, seed)
    if "forecast" in tasks:
      same, other = continued(model, test.inputs)
      row["forecast mse"] = _forecasts.mse(same, test.inputs)
      row["forecast other"] = _forecasts.mse(other, test.inputs)
      if drawn:
        series = {"forecast": same, "with another window's code": other}
        _downstream_pictures.draw_forecasts(
          directory / "forecasts.png",
          test.inputs[:_DRAWN],
          {name: np.asarray(x[:_DRAWN]) for name, x in series.items()},
        )
    if "anomaly" in tasks:
      strange = np.asarray(strangeness(model, test))
      row["anomaly auc"] = diagnostics.anomaly_auc(strange, test.targets)
      if drawn:
        _downstream_pictures.draw_anomalies(
          directory / "anomaly.png", strange, test.targets
        )
    rows.append(row)
  return code_scores.over_seeds(rows)


def baselines(
  tasks: Sequence[str],
  splits: data.Splits,
  *,
  evaluated: int = 4096,
  labeled: int = 1000,
) -> dict[str, dict[str, float]]:
  """Returns what can be had on the same windows without a model.

  Args:
    tasks: some of `TASKS`, see `check`.
    splits: the windows.
    evaluated: at most so many test windows are used.
    labeled: of so many training windows the labels are known.

  Returns:
    Scores as those of `scores`, by baseline. "raw windows": probes of all
    elements. "last value" and "linear map": forecasts from the first half.
    "Gaussian": anomalies by the Mahalanobis distance from the training windows,
    with the covariance of Ledoit & Wolf (2004).
  """
  train = _labeled(splits.train, labeled)
  test = evaluation.some(base.host(splits.test), evaluated)
  results = {}
  if "classify" in tasks:
    raw = [np.asarray(part.inputs) for part in (train, test)]
    raw = [x.reshape(len(x), -1) for x in raw]
    results["raw windows"] = _accuracies(raw, train.targets, test.targets, 0)
  inputs = np.asarray(splits.train.inputs)
  if "forecast" in tasks:
    x = np.asarray(test.inputs)
    for name, series in (
      ("last value", _forecasts.last_value(x)),
      ("linear map", _forecasts.linear(inputs, x)),
    ):
      results[name] = {"forecast mse": _forecasts.mse(series, x)}
  if "anomaly" in tasks:
    gaussian = _sklearn.load("covariance").LedoitWolf()
    gaussian.fit(inputs.reshape(len(inputs), -1))
    distance = gaussian.mahalanobis(test.inputs.reshape(len(test.inputs), -1))
    results["Gaussian"] = {
      "anomaly auc": diagnostics.anomaly_auc(distance, test.targets)
    }
  return results


def anomaly_scores(
  vae: autoencoder.VAE, variables: PyTree, dataset: data.ArrayDataset
) -> jax.Array:
  """Returns -ELBO of each window in nats, (n,), over `SAMPLES` codes each."""
  mu, logvar = evaluation.encode(vae, variables, dataset)

  def of_sample(key):
    z = autoencoder.sample(key, mu, logvar)
    return evaluation.nll(vae, variables, dataset, z)

  keys = jax.random.split(jax.random.key(0), SAMPLES)
  nll = jax.lax.map(of_sample, keys).mean(axis=0)
  return nll + divergences.kl(mu, logvar).sum(axis=-1)


def _labeled(train, limit):
  """Returns training windows with labels, which those of a target lack."""
  train = base.host(train)
  if train.targets.ndim == 1:
    train = domains.labeled(train)
  return evaluation.some(train, limit)


def _accuracies(codes, targets, targets_test, seed):
  """Returns the accuracy of each kind of probe, the mean over factors."""
  columns, columns_test = (
    y.reshape(len(y), -1).T for y in (targets, targets_test)
  )
  row = {}
  for kind in probes.KINDS:
    right = [
      probes.classify(codes[0], y, codes[1], y_test, kind=kind, seed=seed)
      for y, y_test in zip(columns, columns_test)
    ]
    row[f"class {kind}"] = float(np.mean([each.accuracy for each in right]))
  return row
