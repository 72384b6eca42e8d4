"""Tests of distributional losses, against golden values of SPR's own code."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.rl.losses import categorical
from jaxseq.rl.losses import td

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize(
  "name",
  [
    "c51_A4_n10_double",
    pytest.param("c51_A6_n10_single", marks=pytest.mark.slow),
  ],
)
def test_categorical_losses_equal_the_reference(x64, golden, name):
  arrays = {
    key: jnp.asarray(value) for key, value in golden(f"spr/{name}").items()
  }
  support, action = arrays["support"], arrays["action"]
  v_min, v_max = float(arrays["v_min"]), float(arrays["v_max"])
  gamma_n = float(arrays["gamma"]) ** int(arrays["n_step"])
  discount = jnp.where(arrays["done_n"], 0, gamma_n)
  double = bool(arrays["double_dqn"])
  chooser = arrays["online_probs_next" if double else "target_probs_next"]
  best = jnp.argmax(chooser @ support, axis=-1)
  probs = td.double_q(chooser @ support, arrays["target_probs_next"])
  target = categorical.project(
    probs, arrays["return_n"], discount, v_min, v_max
  )
  np.testing.assert_allclose(target, arrays["projected_target"], **TOLERANCE)

  def weighted(logits):
    log_probs = jax.nn.log_softmax(td.take_action(logits, action), axis=-1)
    loss = optax.losses.softmax_cross_entropy(
      td.take_action(logits, action), target
    )
    kl = categorical.bounded_kl(target, log_probs)
    return (loss * arrays["is_weights"]).mean(), (loss, kl)

  gradient = jax.jit(jax.value_and_grad(weighted, has_aux=True))
  (mean, (loss, kl)), grad = gradient(arrays["logits"])
  np.testing.assert_allclose(loss, arrays["loss"], **TOLERANCE)
  np.testing.assert_allclose(kl, arrays["kl"], **TOLERANCE)
  np.testing.assert_allclose(mean, arrays["weighted_mean_loss"], **TOLERANCE)
  np.testing.assert_allclose(grad, arrays["grad_logits"], **TOLERANCE)

  value = td.take_action(arrays["target_probs_next"] @ support, best)
  target = arrays["return_n"] + discount * value

  def huber(q):
    td_error = target - td.take_action(q, action)
    loss = optax.losses.huber_loss(td_error)
    return loss.sum(), (loss, jnp.minimum(jnp.abs(td_error), 1))

  gradient = jax.jit(jax.grad(huber, has_aux=True))
  grad, (loss, size) = gradient(arrays["huber_q"])
  np.testing.assert_allclose(loss, arrays["huber_loss"], **TOLERANCE)
  np.testing.assert_allclose(size, arrays["huber_td_abs"], **TOLERANCE)
  np.testing.assert_allclose(grad, arrays["huber_grad_q"], **TOLERANCE)


def test_projection_is_that_of_triangular_kernels(x64):
  rng = np.random.default_rng(0)
  probs = rng.dirichlet(np.ones(21), 40)
  reward = rng.normal(0, 8, 40)
  discount = rng.uniform(0, 1.2, 40)
  reward[:4], discount[:4] = (-10, 10, 0, 4), (0, 0, 1, 0)
  z = np.linspace(-10, 10, 21)
  moved = np.clip(reward[:, None] + discount[:, None] * z, -10, 10)
  kernel = np.clip(1 - abs(moved[:, None, :] - z[:, None]), 0, 1)
  want = (kernel * probs[:, None]).sum(axis=-1)
  args = [jnp.asarray(x) for x in (probs, reward, discount)]
  got = categorical.project(*args, -10, 10)
  np.testing.assert_allclose(got, want, **TOLERANCE)
  np.testing.assert_allclose(got.sum(axis=-1), 1, rtol=1e-12)
  single = categorical.project(*(x.astype(jnp.float32) for x in args), -10, 10)
  # Places among 21 atoms are good to 2e-6 in float32.
  np.testing.assert_allclose(single, want, atol=1e-5)


def test_a_certain_return_lies_between_two_atoms(x64, golden):
  arrays = golden("spr/categorical_utils")
  value = jnp.asarray(arrays["value"])
  probs = jnp.full((len(value), 3), 1 / 3)
  got = categorical.project(probs, value, jnp.zeros_like(value), -1, 1)
  np.testing.assert_allclose(got, arrays["to_categorical_limit1"], **TOLERANCE)
