"""Series for the tests of estimators, and small estimators."""

import numpy as np

SMALL = {"mixer": "gru", "d_model": 8, "num_layers": 1, "random_state": 0}


def waves(count=60, time=30, classes=2, seed=0):
  """Sines of as many frequencies as classes: (n, time) and their classes."""
  rng = np.random.default_rng(seed)
  y = rng.integers(0, classes, count)
  phase = rng.uniform(0, 6, (count, 1))
  X = np.sin((1 + y[:, None]) * np.linspace(0, 6, time) + phase)
  return X + 0.1 * rng.normal(size=X.shape), y
