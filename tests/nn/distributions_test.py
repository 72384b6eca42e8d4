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


def test_squashed_gaussian_is_that_of_pretanh_values(golden, x64):
  data = golden("icrl/recurrent_sac")
  pi = nn.SquashedGaussian(data["actor_mean"], data["actor_log_std"])
  action, log_prob = pi.of_noise(data["noise_actor"])
  np.testing.assert_allclose(action, data["new_action"], atol=1e-12)
  exact = data["log_prob_exact"][..., 0]
  np.testing.assert_allclose(log_prob, exact, atol=1e-12)
  # The released code adds 1e-6 inside the logarithm, which is seen here.
  slope = np.log(1 - np.square(action) + 1e-6).sum(-1)
  released = log_prob + np.log1p(-np.square(action)).sum(-1) - slope
  np.testing.assert_allclose(released, data["log_prob"][..., 0], atol=1e-10)
  assert np.abs(exact - data["log_prob"][..., 0]).max() > 5e-4
  # From the action alone, as far as its digits go.
  np.testing.assert_allclose(pi.log_prob(action), exact, atol=1e-8)


def test_squashed_gaussian_is_a_density(x64):
  pi = nn.SquashedGaussian(jnp.array([0.7]), jnp.array([-0.4]))
  # In z: the integral over (-1, 1) without its steep ends.
  z = jnp.linspace(-12, 12, 4001)
  x = jnp.tanh(z)[:, None]
  density = jnp.exp(pi.log_prob(x)) * (1 - jnp.square(x[:, 0]))
  np.testing.assert_allclose(jnp.trapezoid(density, z), 1, atol=1e-6)
  draws = pi.sample(jax.random.split(jax.random.key(0), 1)[0])
  assert (np.abs(draws) < 1).all()
  np.testing.assert_array_equal(pi.mode(), jnp.tanh(jnp.array([0.7])))


@pytest.mark.parametrize("log_std", [-20.0, 2.0])
def test_squashed_gaussian_is_finite_where_it_is_saturated(log_std):
  def log_prob(mean, log_std):
    pi = nn.SquashedGaussian(mean[None], log_std[None])
    action, log_prob = pi.of_noise(jnp.array([0.5]))
    return log_prob, (action, pi.log_prob(action))

  for mean in (-20.0, 20.0):
    arguments = jnp.float32(mean), jnp.float32(log_std)
    (exact, (action, of_action)), gradient = jax.value_and_grad(
      log_prob, argnums=(0, 1), has_aux=True
    )(*arguments)
    z = mean + 0.5 * np.exp(log_std)
    normal = -0.125 - log_std - 0.5 * np.log(2 * np.pi)
    slope = np.log(4) - 2 * abs(z)
    np.testing.assert_allclose(exact, normal - slope, rtol=1e-5)
    # d/dmean of -log slope is 2 tanh(z).
    np.testing.assert_allclose(gradient[0], 2 * np.sign(mean), rtol=1e-5)
    assert np.isfinite([*gradient, of_action]).all()
    assert abs(action) <= 1
