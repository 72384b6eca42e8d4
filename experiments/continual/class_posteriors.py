"""Exact Bayesian posteriors of a stream: class means, and regression weights.

    posterior = class_posteriors.prior(num_classes=10, width=64)
    posterior = class_posteriors.updated(posterior, features, labels, 0.05)
    scores = class_posteriors.log_joint(posterior, queries, 0.05)

Prototypes of classes are those of ProtoCL (Kessler et al., "On Sequential
Bayesian Inference for Continual Learning", arXiv:2301.01828), by the definition
there: one posterior of all examples seen, in any order and batch size;
predictions do not change it. `regression` is the other half of that paper:
exact Bayes does not help if the model is wrong.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate


class Posterior(NamedTuple):
  """The posterior of class means and frequencies.

  The features of class c are N(mean_c, variance I), its mean is
  N(Q_c / precision_c, I / precision_c), and frequencies are Dirichlet.

  Attributes:
    Q: (classes, width).
    precision: (classes,).
    alpha: (classes,).
  """

  Q: jax.Array
  precision: jax.Array
  alpha: jax.Array


def prior(num_classes: int, width: int, log_alpha: float = 0.78) -> Posterior:
  """Returns the prior: means about 0, with variance 1."""
  return Posterior(
    jnp.zeros((num_classes, width)),
    jnp.ones((num_classes,)),
    jnp.full((num_classes,), math.exp(log_alpha)),
  )


def updated(
  posterior: Posterior,
  features: jax.Array,
  labels: jax.Array,
  variance: float,
  weight: jax.Array | None = None,
) -> Posterior:
  """Returns the posterior after more data.

  Args:
    posterior: the posterior before.
    features: (n, width).
    labels: (n,) integers.
    variance: variance of the features of a class.
    weight: (n,) weights of examples, such as 0 for padding; all 1 if None.
  """
  count, width = validate.shape("features", features, ("n", "width"))
  validate.shape("labels", labels, (count,))
  validate.shape("posterior.Q", posterior.Q, ("classes", width))
  hot = jax.nn.one_hot(labels, len(posterior.alpha), dtype=posterior.Q.dtype)
  if weight is not None:
    hot *= weight[:, None]
  counts = hot.sum(axis=0)
  return Posterior(
    posterior.Q + hot.T @ features / variance,
    posterior.precision + counts / variance,
    posterior.alpha + counts,
  )


def log_joint(
  posterior: Posterior, features: jax.Array, variance: float
) -> jax.Array:
  """Returns log p(label, features), (n, classes), of features (n, width).

  Its softmax is the class probabilities.
  """
  width = features.shape[-1]
  mean = posterior.Q / posterior.precision[:, None]
  spread = 1 / posterior.precision + variance
  distance = jnp.square(features[:, None] - mean).sum(axis=-1)
  log_share = jnp.log(posterior.alpha / posterior.alpha.sum())
  log_volume = width / 2 * jnp.log(2 * math.pi * spread)
  return log_share - log_volume - distance / (2 * spread)


class Regression(NamedTuple):
  """The posterior of linear weights after each task of a sequence.

  Attributes:
    mean: (tasks, width).
    precision: (tasks, width, width).
    error: (tasks, tasks), mean squared error on task j of the mean after task
      i, for j up to i; NaN elsewhere.
  """

  mean: jax.Array
  precision: jax.Array
  error: jax.Array


def regression(
  inputs: Sequence[jax.Array],
  targets: Sequence[jax.Array],
  noise: float,
  prior_precision: float = 1.0,
) -> Regression:
  """Computes posteriors of tasks; each is the prior of the next task.

  This is exact: the last posterior is that of all data at once. If tasks have
  different true weights it fits no task, since the model has one set of
  weights: it learns their mean, and tasks are forgotten all the same.

  Args:
    inputs: inputs (n, width) of each task.
    targets: targets (n,) of each task.
    noise: variance of the targets.
    prior_precision: prior precision of the weights, whose mean is 0.
  """
  width = inputs[0].shape[1]
  precision = prior_precision * jnp.eye(width)
  moment = jnp.zeros((width,))
  means, precisions, rows = [], [], []
  for last, (x, y) in enumerate(zip(inputs, targets)):
    precision = precision + x.T @ x / noise
    moment = moment + x.T @ y / noise
    mean = jnp.linalg.solve(precision, moment)
    errors = [
      jnp.square(old @ mean - seen).mean() if task <= last else jnp.nan
      for task, (old, seen) in enumerate(zip(inputs, targets))
    ]
    means.append(mean)
    precisions.append(precision)
    rows.append(jnp.stack(errors))
  return Regression(*map(jnp.stack, (means, precisions, rows)))
