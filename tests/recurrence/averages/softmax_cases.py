"""Inputs of softmax_scan for its tests."""

import jax
import numpy as np
import pytest

from jaxseq import recurrence

# Methods and dtypes.
FORMS = [
  ("chunked", np.float32),
  pytest.param("chunked", np.float64, marks=pytest.mark.slow),
  pytest.param("sequential", np.float32, marks=pytest.mark.slow),
  pytest.param("associative", np.float32, marks=pytest.mark.slow),
]


def problem(time, dv=3, scale=1.0, seed=0):
  """Scores, values, a state that others have left behind, no flags."""
  rng = np.random.default_rng(seed)
  scores = scale * rng.normal(size=(2, time))
  values = rng.normal(size=(2, time, dv))
  init = recurrence.SoftmaxState(
    rng.normal(size=2), rng.uniform(1, 2, 2), rng.normal(size=(2, dv))
  )
  return scores, values, init


def resets(time, rng):
  """Kinds of resets, (2, time)."""
  none = np.zeros((2, time), bool)
  at = lambda *where: none | np.isin(np.arange(time), where)  # noqa: E731
  return {
    "none": none,
    "first": at(0),
    "last": at(time - 1),
    "every": ~none,
    "random": rng.random((2, time)) < 0.2,
    "consecutive": at(4, 5, 6, 17, 18, 19, 20),
  }


def check_equal(got, want, name):
  """To float64 rounding over 37 elements, with numbers of up to 1e3."""
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11, err_msg=name)
