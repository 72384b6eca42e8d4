import numpy as np
import pytest

from jaxseq.dts import metrics
from jaxseq.dts.metrics import _draws
from jaxseq.dts.metrics import _factor_vae
from tests.dts.metrics import cases


@pytest.mark.parametrize("name", ["good", "mixed"])
def test_golden(golden, name):
  arrays = golden(f"dts/votes_{name}")
  variances = arrays["global_codes"].var(0, ddof=1)
  num_factors = arrays["train_factor_index"].max() + 1
  votes = _factor_vae.Votes(num_factors, variances, 0.05)
  result = votes.result(
    votes.count(arrays["train_codes"], arrays["train_factor_index"]),
    votes.count(arrays["eval_codes"], arrays["eval_factor_index"]),
  )
  np.testing.assert_array_equal(result.active, arrays["active_dims"])
  # The reference counts places among the active codes.
  active = result.active
  places = slice(active.sum())
  for seen, expected in (
    (result.train_votes[:, active], arrays["train_votes"][:, places]),
    (result.evaluation_votes[:, active], arrays["eval_votes"][:, places]),
    (result.classifier[active], arrays["classifier"][places]),
    (result.train, arrays["train_accuracy"]),
    (result.evaluation, arrays["eval_accuracy"]),
  ):
    np.testing.assert_array_equal(seen, expected)
  assert not result.train_votes[:, ~active].any()


def test_a_table_gives_what_its_batches_give():
  rng = np.random.default_rng(0)
  factors = cases.grid((3, 4), repeats=10)
  codes = factors @ [[1.0, 0.7], [0.5, 1.0]] + rng.normal(size=factors.shape)
  result = metrics.factor_vae_from_table(
    codes, factors, train_votes=60, evaluation_votes=40, batch=8, seed=3
  )
  rng = np.random.default_rng(3)
  table = _draws.Table(codes, factors)
  votes = _factor_vae.Votes(2, codes.var(0, ddof=1), 0.05)
  counts = (votes.count(*table.held(rng, count, 8)) for count in (60, 40))
  expected = votes.result(*counts)
  for seen, wanted in zip(result, expected):
    np.testing.assert_array_equal(seen, wanted)
  # Mixed codes: better than chance, not perfect.
  assert 0.5 < result.evaluation < 1


def test_codes_for_factors_noise_and_nothing():
  factors = cases.grid((3, 4, 2), repeats=20)
  rng = np.random.default_rng(0)
  options = {"train_votes": 300, "evaluation_votes": 150, "batch": 16}
  codes = cases.one_to_one(factors, rng)
  codes = np.concatenate([codes, 0.04 * rng.normal(size=(480, 1))], axis=1)
  perfect = metrics.factor_vae_from_table(codes, factors, **options)
  assert perfect.evaluation == perfect.train == 1.0
  assert perfect.active.tolist() == [True, True, True, False]
  noise = rng.normal(size=(480, 4))
  # Chance is a third; four standard deviations of 150 votes.
  score = metrics.factor_vae_from_table(noise, factors, **options)
  assert score.evaluation < 1 / 3 + 0.16
  nothing = metrics.factor_vae_from_table(1e-3 * noise, factors, **options)
  assert nothing.evaluation == nothing.train == 0.0
  assert not nothing.active.any()


def test_wrong_batches():
  with pytest.raises(ValueError, match="batch: got 1, .* at least 2"):
    metrics.factor_vae_from_table(
      np.eye(2), np.eye(2, dtype=int), batch=1, train_votes=2
    )
