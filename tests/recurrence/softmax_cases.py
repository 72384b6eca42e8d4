"""Inputs and the definition of softmax_scan, for its tests."""

import numpy as np

from jaxseq import recurrence


def prefixes(scores, values, reset=None, mask=None):
  """The definition: (outputs, m, u, w) of every prefix of every episode."""
  time = scores.shape[-1]
  seen = np.tri(time, dtype=bool)
  if reset is not None:
    episode = np.cumsum(reset, axis=-1)
    seen = seen & (episode[..., :, None] == episode[..., None, :])
  if mask is not None:
    seen = seen & mask[..., None, :]
  pairs = np.where(seen, scores[..., None, :], -np.inf)
  m = pairs.max(axis=-1, initial=-1e30)
  weights = np.exp(pairs - m[..., None])
  u = weights.sum(axis=-1)
  w = weights @ values
  return w / np.where(u > 0, u, 1)[..., None], m, u, w


def problem(time, dv=3, scale=1.0, seed=0):
  """Scores, values, a state that others have left behind, no flags."""
  rng = np.random.default_rng(seed)
  scores = scale * rng.normal(size=(2, time))
  values = rng.normal(size=(2, time, dv))
  init = recurrence.SoftmaxState(
    rng.normal(size=2), rng.uniform(1, 2, 2), rng.normal(size=(2, dv))
  )
  return scores, values, init
