"""Tests of targets and losses, against golden values of SPR's own code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.losses import categorical

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def test_n_step_returns_equal_the_reference(x64, golden):
  arrays = golden("spr/nstep_n10")
  gamma, n = float(arrays["gamma"]), int(arrays["n_step"])
  reward, done = jnp.asarray(arrays["reward"]), jnp.asarray(arrays["done"])
  returns, done_n = categorical.n_step_returns(reward, done, gamma, n)
  np.testing.assert_allclose(returns, arrays["return_n"], **TOLERANCE)
  np.testing.assert_array_equal(done_n, arrays["done_n"])
  # n may be traced, below a bound.
  run = jax.jit(
    lambda n, gamma: categorical.n_step_returns(
      reward, done, gamma, n, max_steps=12
    )
  )
  for steps in (1, 3, 10):
    want = categorical.n_step_returns(reward, done, gamma, steps)
    got = run(steps, gamma)
    for a, b in zip(got, want):
      np.testing.assert_allclose(a, b[: len(a)], **TOLERANCE)
    assert len(got[0]) == 29


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
  probs = categorical.take_action(arrays["target_probs_next"], best)
  target = categorical.project_categorical(
    probs, arrays["return_n"], discount, v_min, v_max
  )
  np.testing.assert_allclose(target, arrays["projected_target"], **TOLERANCE)

  def weighted(logits):
    log_probs = jax.nn.log_softmax(
      categorical.take_action(logits, action), axis=-1
    )
    loss = categorical.cross_entropy(target, log_probs)
    kl = categorical.kl_divergence(target, log_probs)
    return (loss * arrays["is_weights"]).mean(), (loss, kl)

  (mean, (loss, kl)), grad = jax.value_and_grad(weighted, has_aux=True)(
    arrays["logits"]
  )
  np.testing.assert_allclose(loss, arrays["loss"], **TOLERANCE)
  np.testing.assert_allclose(kl, arrays["kl"], **TOLERANCE)
  np.testing.assert_allclose(mean, arrays["weighted_mean_loss"], **TOLERANCE)
  np.testing.assert_allclose(grad, arrays["grad_logits"], **TOLERANCE)

  value = categorical.take_action(arrays["target_probs_next"] @ support, best)
  target = arrays["return_n"] + discount * value

  def huber(q):
    loss, size = categorical.huber(target - categorical.take_action(q, action))
    return loss.sum(), (loss, size)

  grad, (loss, size) = jax.grad(huber, has_aux=True)(arrays["huber_q"])
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
  got = categorical.project_categorical(*args, -10, 10)
  np.testing.assert_allclose(got, want, **TOLERANCE)
  np.testing.assert_allclose(got.sum(axis=-1), 1, rtol=1e-12)
  single = categorical.project_categorical(
    *(x.astype(jnp.float32) for x in args), -10, 10
  )
  # Places among 21 atoms are good to 2e-6 in float32.
  np.testing.assert_allclose(single, want, atol=1e-5)


def test_a_certain_return_lies_between_two_atoms(x64, golden):
  arrays = golden("spr/categorical_utils")
  value = jnp.asarray(arrays["value"])
  probs = jnp.full((len(value), 3), 1 / 3)
  got = categorical.project_categorical(
    probs, value, jnp.zeros_like(value), -1, 1
  )
  np.testing.assert_allclose(got, arrays["to_categorical_limit1"], **TOLERANCE)


def test_spr_loss_equals_the_reference(x64, golden):
  arrays = {
    key: jnp.asarray(value)
    for key, value in golden("spr/spr_loss_K5_D32").items()
  }
  mask = categorical.episode_mask(arrays["done"])
  np.testing.assert_array_equal(mask, arrays["nonterminal_mask"] == 1)

  def loss(prediction):
    distance = categorical.spr_distance(prediction, arrays["target"])
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
  grad = jax.grad(lambda x: categorical.spr_distance(x, jnp.ones(4)))(
    jnp.zeros(4)
  )
  assert np.isfinite(grad).all()


def test_importance_weights():
  priority = jnp.array([0.5, 2.0, 1.0])
  got = categorical.importance_weights(priority, 0.4, epsilon=0.0)
  np.testing.assert_allclose(got, [1, 0.25**0.4, 0.5**0.4], rtol=1e-6)
  np.testing.assert_array_equal(
    categorical.importance_weights(priority, 0.0), 1
  )
  assert np.isfinite(categorical.importance_weights(jnp.zeros(2), 1.0)).all()
