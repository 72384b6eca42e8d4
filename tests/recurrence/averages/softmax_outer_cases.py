"""Arguments of softmax_outer_scan for its tests, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from tests.recurrence.averages import softmax_cases

DK, DV = 3, 2
# float64, relative to the largest value: outputs and gradients.
FORWARD, GRADIENT = 1e-9, 1e-8


def close(actual, expected, tolerance):
  np.testing.assert_allclose(
    actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max())
  )


def evaluate(function, arguments, reset):
  """Results, and gradients from cotangents on the outputs and the state."""

  def loss(arguments):
    results = function(*arguments, reset)
    rng = np.random.default_rng(5)
    return sum(
      jnp.sum(x * rng.normal(size=x.shape)) for x in jax.tree.leaves(results)
    ), results

  (_, results), grads = jax.value_and_grad(loss, has_aux=True)(arguments)
  return results, grads


def problem(time, scale=1.0, seed=0):
  """q, logits, k, v and a state that others have left behind."""
  rng = np.random.default_rng(seed)
  q, logits, k = rng.normal(size=(3, 2, time, DK))
  v = rng.normal(size=(2, time, DV))
  init = recurrence.SoftmaxState(
    rng.normal(size=(2, DK)),
    rng.uniform(1, 2, (2, DK)),
    rng.normal(size=(2, DK, DV)),
  )
  return q, scale * logits, k, v, init


def resets(time):
  return softmax_cases.resets(time, np.random.default_rng(1))
