import math
import tracemalloc

import numpy as np
import pytest

from jaxseq.dts import metrics
from jaxseq.dts.metrics import _posterior

# Log-sum-exps of 60 terms, in another order than the reference's.
_TOLERANCE = 1e-10


@pytest.mark.parametrize("piece", [60 * 7, 10**6])
def test_golden(golden, monkeypatch, piece):
  monkeypatch.setattr(_posterior, "_PIECE", piece)
  arrays = golden("dts/exact_decomp")
  gaussians = [arrays[name] for name in ("mu", "logvar", "z")]
  result = metrics.posterior_mig(*gaussians, arrays["factors"])
  for seen, name in (
    (result.score, "mig_tcvae"),
    (result.information.T, "mi"),
    (result.marginal, "marginal_entropies"),
    (result.conditional.T, "cond_entropies"),
  ):
    np.testing.assert_allclose(
      seen, arrays[name], atol=_TOLERANCE, err_msg=name
    )
  normalized = np.maximum(result.information, 0) / np.log(
    arrays["factor_sizes"]
  )
  np.testing.assert_allclose(
    -np.sort(-normalized.T), arrays["mi_normed_sorted"], atol=_TOLERANCE
  )


def test_equal_rows_have_the_entropy_of_their_gaussian():
  rng = np.random.default_rng(0)
  z = 3.0 + 0.5 * rng.normal(size=(20, 2))
  mu, logvar = np.full_like(z, 3.0), np.full_like(z, math.log(0.25))
  expected = (0.5 * np.square((z - 3.0) / 0.5)).mean(0) + 0.5 * math.log(
    2 * math.pi * 0.25
  )
  seen = _posterior._entropies(mu, logvar, z)
  np.testing.assert_allclose(seen, expected, rtol=1e-12)


def test_far_apart_and_narrow_rows_do_not_underflow():
  mu = 1e3 * np.arange(5.0)[:, None]
  logvar = np.full_like(mu, -10.0)
  own = 0.5 * (math.log(2 * math.pi) - 10.0) + math.log(5)
  np.testing.assert_allclose(
    _posterior._entropies(mu, logvar, mu), own, rtol=1e-12
  )


def test_memory_does_not_grow_with_the_square():
  rng = np.random.default_rng(0)
  mu = rng.normal(size=(3000, 1))
  tracemalloc.start()
  _posterior._entropies(mu, np.zeros_like(mu), mu)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  # All pairs at once would take 72 MB.
  assert peak < 10e6


def test_shapes_must_agree():
  with pytest.raises(
    ValueError, match=r"got shape \(4, 2\), \(4, 2\) and .* expected one shape"
  ):
    metrics.posterior_mig(
      *[np.zeros((4, 2))] * 2, np.zeros((4, 3)), np.eye(4, dtype=int)
    )
