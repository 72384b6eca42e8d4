import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn


def test_categorical_against_probabilities(x64):
  p = jnp.asarray([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
  pi = nn.Categorical(jnp.log(p) + 3.0)
  np.testing.assert_allclose(
    pi.log_prob(jnp.asarray([2, 0])), jnp.log(jnp.asarray([0.7, 0.5]))
  )
  np.testing.assert_allclose(pi.entropy(), -(p * jnp.log(p)).sum(-1))
  np.testing.assert_array_equal(pi.mode(), [2, 0])
  # One value for all rows, and many values per row.
  np.testing.assert_allclose(pi.log_prob(jnp.asarray(1)), jnp.log(p[:, 1]))
  values = jnp.asarray([[0, 1], [2, 2], [1, 0]])
  np.testing.assert_allclose(
    pi.log_prob(values), jnp.log(p[jnp.arange(2), values])
  )


def test_categorical_samples():
  p = jnp.asarray([0.1, 0.2, 0.7])
  logits = jnp.broadcast_to(jnp.log(p), (20_000, 3))
  draws = nn.Categorical(logits).sample(jax.random.key(0))
  assert draws.dtype == jnp.int32
  # Five standard deviations of a frequency.
  np.testing.assert_allclose(
    jnp.bincount(draws, length=3) / 20_000, p, atol=0.017
  )


def test_categorical_with_forbidden_values():
  logits = jnp.asarray([0.0, -jnp.inf, 0.0])
  np.testing.assert_allclose(
    nn.Categorical(logits).entropy(), np.log(2), rtol=1e-6
  )
  slope = jax.grad(lambda z: nn.Categorical(z).entropy())(logits)
  assert jnp.all(jnp.isfinite(slope))
  draws = nn.Categorical(jnp.broadcast_to(logits, (500, 3)))
  assert not jnp.any(draws.sample(jax.random.key(0)) == 1)


def test_gaussian_against_the_density(x64):
  rng = np.random.default_rng(0)
  mean, log_std, x = rng.normal(size=(3, 5, 2))
  pi = nn.DiagonalGaussian(jnp.asarray(mean), jnp.asarray(log_std))
  std = np.exp(log_std)
  density = np.exp(-(((x - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
  np.testing.assert_allclose(
    pi.log_prob(jnp.asarray(x)), np.log(density).sum(-1)
  )
  np.testing.assert_array_equal(pi.mode(), mean)
  np.testing.assert_allclose(
    pi.entropy(), (0.5 * np.log(2 * np.pi * np.e * std**2)).sum(-1)
  )


def test_gaussian_samples():
  mean = jnp.broadcast_to(jnp.asarray([1.0, -2.0]), (20_000, 2))
  pi = nn.DiagonalGaussian(mean, jnp.log(jnp.asarray([0.5, 2.0])))
  draws = pi.sample(jax.random.key(0))
  # Five standard deviations of means and deviations.
  np.testing.assert_allclose(draws.mean(0), [1.0, -2.0], atol=0.07)
  np.testing.assert_allclose(draws.std(0), [0.5, 2.0], rtol=0.025)
  # -log p averages to the entropy.
  np.testing.assert_allclose(
    -pi.log_prob(draws).mean(), pi.entropy()[0], atol=0.035
  )


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_low_precision_parameters_give_wide_results(kind):
  values = jnp.asarray([0.3, -1.2, 0.7], jnp.bfloat16)
  if kind == "categorical":
    pi = nn.Categorical(values)
  else:
    pi = nn.DiagonalGaussian(values, jnp.zeros(3, jnp.bfloat16))
  draw = pi.sample(jax.random.key(0))
  assert pi.log_prob(draw).dtype == jnp.float32
  assert pi.entropy().dtype == jnp.float32


def test_they_are_pytrees():
  pi = nn.Categorical(jnp.zeros((4, 3)))
  entropies = jax.jit(jax.vmap(lambda pi: pi.entropy()))(pi)
  np.testing.assert_allclose(entropies, np.full(4, np.log(3)), rtol=1e-6)
