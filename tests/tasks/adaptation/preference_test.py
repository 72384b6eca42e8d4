"""Losses of preferred answers against those of the library TRL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks import losses
from jaxseq.tasks.adaptation import preference

pytestmark = pytest.mark.usefixtures("x64")


def summed(logits, arrays):
  # Logits at an element are of the token that follows.
  mask = arrays["completion_mask"][:, 1:]
  chosen = losses.token_log_probs(
    logits[:, :-1], arrays["ids"][:, 1:], jnp.asarray(mask)
  )
  return chosen.sum(axis=1), mask.sum(axis=1)


def test_log_probabilities_of_completions(golden):
  arrays = golden("adapt/preferences/dpo")
  for logits, prefix in (("logits", ""), ("ref_logits", "ref_")):
    values, _ = summed(jnp.asarray(arrays[logits]), arrays)
    expected = np.concatenate(
      [
        arrays[f"{prefix}chosen_log_prob"],
        arrays[f"{prefix}rejected_log_prob"],
      ]
    )
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_losses_and_gradients(golden):
  arrays = golden("adapt/preferences/dpo")
  names = [name[5:] for name in arrays if name.startswith("loss/")]
  assert len(names) == 10
  reference, _ = summed(jnp.asarray(arrays["ref_logits"]), arrays)

  def objective(logits, name):
    kind, beta = name.split("_beta")
    values, counts = summed(logits, arrays)
    return preference.loss(
      values,
      reference,
      jnp.asarray(counts),
      preference.Config(kind, beta=float(beta), smoothing=0.1),
    )

  @jax.jit
  def all_of_them(logits):
    graded = jax.value_and_grad(objective, has_aux=True)
    return {name: graded(logits, name) for name in names}

  d = (
    arrays["chosen_log_prob"]
    - arrays["ref_chosen_log_prob"]
    - arrays["rejected_log_prob"]
    + arrays["ref_rejected_log_prob"]
  )
  results = all_of_them(jnp.asarray(arrays["logits"]))
  for name, ((value, metrics), gradient) in results.items():
    expected, beta = arrays[f"grad/{name}"], float(name.split("_beta")[1])
    np.testing.assert_allclose(
      value, arrays[f"loss/{name}"], rtol=1e-10, err_msg=name
    )
    # The file holds gradients in float32.
    np.testing.assert_allclose(
      gradient,
      expected,
      rtol=1e-6,
      atol=1e-7 * np.abs(expected).max(),
      err_msg=name,
    )
    np.testing.assert_allclose(metrics["margin"], beta * d.mean(), rtol=1e-9)
    np.testing.assert_allclose(metrics["accuracy"], (d > 0).mean(), rtol=1e-9)


def test_losses_of_log_probabilities(golden):
  arrays = golden("adapt/preferences/pairs")
  names = [name[5:] for name in arrays if name.startswith("loss/")]
  assert len(names) == 8

  def objective(log_probs, name):
    kind, beta = name.split("_beta")
    config = preference.Config(kind, float(beta), smoothing=0.1, gamma=0.5)
    # Kinds without a reference do not read it.
    other = arrays["ref_log_probs"] if kind == "cdpo" else np.nan * log_probs
    return preference.loss(log_probs, other, arrays["counts"], config)

  @jax.jit
  def all_of_them(log_probs):
    graded = jax.value_and_grad(objective, has_aux=True)
    return {name: graded(log_probs, name) for name in names}

  results = all_of_them(jnp.asarray(arrays["log_probs"]))
  for name, ((value, metrics), gradient) in results.items():
    # The other library computes odds ratios in float32.
    rtol = 1e-6 if name.startswith("orpo") else 1e-12
    for got, kind in ((value, "loss"), (gradient, "grad")):
      expected = arrays[f"{kind}/{name}"]
      np.testing.assert_allclose(got, expected, rtol, 1e-8 * rtol, err_msg=name)
    assert np.isfinite(metrics["margin"]), name


@pytest.mark.parametrize("values", [(0.0, 0.0), (0.0, -1.0), (-1e4, 0.0)])
def test_odds_of_certain_answers_are_finite(values):
  config = preference.Config("orpo")

  def objective(log_probs):
    return preference.loss(log_probs, log_probs, jnp.ones(2), config)[0]

  value, gradient = jax.value_and_grad(objective)(jnp.array(values))
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


def test_what_is_refused():
  with pytest.raises(ValueError, match="an even number of rows"):
    preference.loss(jnp.zeros(3), jnp.zeros(3), jnp.ones(3))
  with pytest.raises(ValueError, match="less than 0.5"):
    preference.Config("robust", smoothing=0.5)
  with pytest.raises(ValueError, match="gamma: got -1"):
    preference.Config("simpo", gamma=-1)
  with pytest.raises(ValueError, match="'sigmoid', 'robust'"):
    preference.Config("kto")
