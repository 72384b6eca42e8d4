"""Inputs of softmax_scan for its tests."""

import numpy as np

from jaxseq import recurrence


def problem(time, dv=3, scale=1.0, seed=0):
  """Scores, values, a state that others have left behind, no flags."""
  rng = np.random.default_rng(seed)
  scores = scale * rng.normal(size=(2, time))
  values = rng.normal(size=(2, time, dv))
  init = recurrence.SoftmaxState(
    rng.normal(size=2), rng.uniform(1, 2, 2), rng.normal(size=(2, dv))
  )
  return scores, values, init
