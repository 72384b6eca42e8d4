"""The discriminator of FactorVAE."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.dts import _density_ratio


def test_coordinates_are_permuted_independently():
  z = np.arange(60, dtype=np.float32).reshape(20, 3)
  permuted = jax.jit(_density_ratio.permute)(jax.random.key(0), z)
  np.testing.assert_array_equal(np.sort(permuted, axis=0), z)
  # A common permutation would leave rows together.
  assert (np.diff(permuted, axis=1) == 1).mean() < 0.3
  assert (permuted == z).mean() < 0.3


def test_loss_and_estimate_by_hand(x64):
  logits = np.array([[2.0, 0.5], [1.0, -1.0]])
  permuted = np.array([[0.0, 1.0], [0.5, 0.5]])

  @jax.jit
  def run(logits, permuted):
    return (
      _density_ratio.total_correlation(logits),
      _density_ratio.discriminator_loss(logits, permuted),
    )

  tc, loss = run(logits, permuted)
  np.testing.assert_allclose(tc, (1.5 + 2.0) / 2, rtol=1e-12)
  # Two logits are the logistic loss of their difference.
  each = np.log1p(np.exp([-1.5, -2.0])), np.log1p(np.exp([-1.0, 0.0]))
  np.testing.assert_allclose(loss, (each[0] + each[1]).mean() / 2, rtol=1e-12)


def test_discriminator_has_the_published_layers():
  def shapes(**options):
    model = _density_ratio.Discriminator(**options)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((2, 10)))
    return [x["kernel"].shape for x in variables["params"].values()]

  assert shapes() == [(10, 256), (256, 256), (256, 256), (256, 2)]
  wide = shapes(width=1000, depth=6)
  assert wide == [(10, 1000), *[(1000, 1000)] * 5, (1000, 2)]


@pytest.mark.slow
def test_discriminator_learns_the_total_correlation_of_a_gaussian():
  correlation = 0.8
  exact = -0.5 * np.log(1 - correlation**2)  # 0.51
  chol = np.linalg.cholesky([[1, correlation], [correlation, 1]])
  model = _density_ratio.Discriminator(width=64, depth=2)
  params = model.init(jax.random.key(0), jnp.ones((1, 2)))
  optimizer = optax.adam(1e-3, b1=0.5, b2=0.9)

  def sample(key):
    return jax.random.normal(key, (512, 2)) @ chol.T.astype(np.float32)

  def step(carry, key):
    params, state = carry
    keys = jax.random.split(key, 3)
    permuted = _density_ratio.permute(keys[1], sample(keys[2]))

    def loss(params):
      logits = model.apply(params, sample(keys[0]))
      return (
        _density_ratio.discriminator_loss(
          logits, model.apply(params, permuted)
        ),
        _density_ratio.total_correlation(logits),
      )

    grads, tc = jax.grad(loss, has_aux=True)(params)
    updates, state = optimizer.update(grads, state)
    return (optax.apply_updates(params, updates), state), tc

  @jax.jit
  def train(params):
    keys = jax.random.split(jax.random.key(1), 1500)
    return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]

  # The mean over 500 batches, of a network that is not quite trained.
  np.testing.assert_allclose(train(params)[-500:].mean(), exact, rtol=0.1)
