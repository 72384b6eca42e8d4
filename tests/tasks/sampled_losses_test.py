"""Losses over a sample of the items."""

import jax
import numpy as np
import pytest

from jaxseq.tasks import losses

# float64, with sums in another order.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.usefixtures("x64")
def test_gbce_is_that_of_the_reference(golden):
  known = golden("recsys/sampled_losses")
  items, t = int(known["items"]), float(known["t"])

  def loss(scores):
    rows = losses.gbce(scores[:, 0], scores[:, 1:], items, t)
    return (rows * known["mask"]).sum() / known["mask"].sum(), rows

  (mean, rows), grad = jax.value_and_grad(loss, has_aux=True)(known["scores"])
  np.testing.assert_allclose(mean, known["gbce"], **CLOSE)
  np.testing.assert_allclose(rows, known["gbce_per_row"], **CLOSE)
  np.testing.assert_allclose(grad, known["gbce_grad"], **CLOSE)
  # Where the released clamps end: the term of the positive alone.
  extreme = known["extreme_score"]
  none = np.full((len(extreme), int(known["negatives"])), -np.inf)
  terms = losses.gbce(extreme, none, items, t) * (none.shape[1] + 1)
  np.testing.assert_allclose(terms, known["extreme_positive_term"], **CLOSE)


def test_gbce_without_calibration_is_binary_cross_entropy():
  rng = np.random.default_rng(0)
  positive, negative = rng.normal(size=3), rng.normal(size=(3, 4))
  plain = np.log1p(np.exp(-positive)) + np.log1p(np.exp(negative)).sum(axis=1)
  np.testing.assert_allclose(
    losses.gbce(positive, negative, 100, 0.0), plain / 5, rtol=1e-5
  )
  with pytest.raises(ValueError, match="t: got 2, expected"):
    losses.gbce(positive, negative, 100, 2)


@pytest.mark.usefixtures("x64")
def test_sampled_softmax_is_that_of_the_reference(golden):
  known = golden("recsys/sampled_losses")
  rows = np.arange(len(known["target"]))
  log_share = np.log(known["probability"][known["negative"]])

  def loss(scores):
    positive = scores[rows, known["target"]]
    negative = scores[rows[:, None], known["negative"]]
    values = losses.sampled_softmax(positive, negative, log_share, known["hit"])
    return values.mean(), values

  (_, values), grad = jax.value_and_grad(loss, has_aux=True)(
    known["full_scores"]
  )
  np.testing.assert_allclose(values, known["loss_logq_negatives"], **CLOSE)
  np.testing.assert_allclose(grad, known["grad_logq_negatives"], **CLOSE)


def test_sampled_softmax_tends_to_that_over_all_items():
  rng = np.random.default_rng(0)
  scores = rng.normal(size=30).astype(np.float32)
  draws = rng.integers(0, 30, 20_000)
  found = losses.sampled_softmax(
    scores[3], scores[draws], -np.log(30), draws == 3
  )
  full = np.log(np.exp(scores).sum()) - scores[3]
  # The deviation of the mean of exp(score) is .01 of it.
  assert abs(float(found) - full) < 0.03
