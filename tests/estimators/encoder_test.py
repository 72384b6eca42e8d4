"""DisentangledEncoder: codes of series, and back."""

import numpy as np
import pytest

from jaxseq import estimators
from tests.estimators import cases


@pytest.mark.slow
def test_codes_and_back():
  X, _ = cases.waves()
  encoder = estimators.DisentangledEncoder(
    latent=3, num_updates=200, batch_size=32, random_state=0
  )
  codes = encoder.fit_transform(X)
  assert codes.shape == (60, 3)
  decoded = encoder.inverse_transform(codes)
  assert decoded.shape == (60, 30, 1)
  # Better than the mean of all series.
  error = np.square(decoded[..., 0] - X).mean()
  assert error < np.square(X - X.mean(0)).mean()
  assert encoder.score_samples(X).shape == (60,)
  assert encoder.get_feature_names_out().shape == (3,)
