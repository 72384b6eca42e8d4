import numpy as np
import pytest

from jaxseq.dts import metrics
from jaxseq.dts.metrics import _beta_vae
from tests.dts.metrics import cases

pytest.importorskip("sklearn")


@pytest.mark.parametrize("name", ["good", "mixed"])
def test_golden(golden, name):
  arrays = golden(f"dts/votes_{name}")
  points = []
  for part in ("train", "eval"):
    codes = [arrays[f"bvae_{part}_codes{i}"] for i in (1, 2)]
    features = _beta_vae.features(*codes)
    np.testing.assert_allclose(
      features, arrays[f"bvae_{part}_features"], atol=1e-12
    )
    points += [features, arrays[f"bvae_{part}_factor_index"]]
  # Versions of the solver may put one of 40 points on the other side.
  np.testing.assert_allclose(
    _beta_vae.score(*points),
    (arrays["bvae_train_accuracy"], arrays["bvae_eval_accuracy"]),
    atol=0.026,
  )


def test_codes_for_factors_and_noise():
  rng = np.random.default_rng(0)
  factors = cases.grid((3, 4), repeats=20)
  options = {"train_points": 200, "evaluation_points": 100, "batch": 16}
  codes = cases.one_to_one(factors, rng)
  assert metrics.beta_vae_from_table(codes, factors, **options) == (1.0, 1.0)
  # What it is known for: nothing need be known of one factor. A batch in which
  # no pair differs much may come out wrong.
  one = metrics.beta_vae_from_table(codes[:, :1], factors, **options)
  assert min(one) > 0.97
  noise = rng.normal(size=factors.shape)
  # Chance is a half; four standard deviations of 100 points.
  assert metrics.beta_vae_from_table(noise, factors, **options).evaluation < 0.7


def test_wrong_points():
  with pytest.raises(
    ValueError, match="train_factor: got .* expected at least two factors"
  ):
    _beta_vae.score(np.eye(2), [1, 1], np.eye(2), [0, 1])
