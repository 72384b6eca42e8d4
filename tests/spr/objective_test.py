"""Tests of the self-prediction loss, against values of SPR's own code."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.spr import _objective

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def test_spr_loss_equals_the_reference(x64, golden):
  arrays = {
    key: jnp.asarray(value)
    for key, value in golden("spr/spr_loss_K5_D32").items()
  }
  mask = _objective.episode_mask(arrays["done"].T).T
  np.testing.assert_array_equal(mask, arrays["nonterminal_mask"] == 1)

  def loss(prediction):
    distance = _objective.spr_distance(prediction, arrays["target"])
    kept = jnp.where(mask, distance, 0)
    per_example = kept[1:].mean(axis=0) * arrays["is_weights"]
    first = (kept[0] * arrays["is_weights"]).mean()
    mean = per_example.mean()
    return arrays["model_spr_weight"] * mean, (distance, mean, first)

  grad, (distance, mean, first) = jax.grad(loss, has_aux=True)(arrays["pred"])
  np.testing.assert_allclose(distance, arrays["loss_matrix"], **TOLERANCE)
  np.testing.assert_allclose(mean, arrays["model_spr_loss"], **TOLERANCE)
  np.testing.assert_allclose(first, arrays["t0_loss"], **TOLERANCE)
  np.testing.assert_allclose(grad, arrays["grad_pred"], **TOLERANCE)


def test_distances_of_zero_vectors_have_a_gradient():
  grad = jax.grad(lambda x: _objective.spr_distance(x, jnp.ones(4)))(
    jnp.zeros(4)
  )
  assert np.isfinite(grad).all()
