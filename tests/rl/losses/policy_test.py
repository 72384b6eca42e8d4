import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.nn import distributions
from jaxseq.rl.losses import policy

# Float64 rounding of means over at most 64 elements.
ATOL = 1e-12


def _loss(data, distribution, value):
  log_prob = distribution.log_prob(jnp.asarray(data["actions"]))
  total, parts = policy.ppo(
    log_prob,
    distribution.entropy(),
    value,
    old_log_prob=jnp.asarray(data["old_log_prob"]),
    old_v=jnp.asarray(data["old_value"]),
    advantages=jnp.asarray(data["advantages"]),
    returns=jnp.asarray(data["targets"]),
    clip=float(data["clip_eps"]),
    value_coef=float(data["vf_coef"]),
    entropy_coef=float(data["ent_coef"]),
    clip_value=bool(data["clip_value"]),
    normalize_advantage=bool(data["normalize_adv"]),
  )
  return total, (parts, log_prob)


def _check(data, function, arguments, names):
  gradient = jax.value_and_grad(
    function, argnums=tuple(range(len(arguments))), has_aux=True
  )
  (total, (parts, log_prob)), gradients = jax.jit(gradient)(*arguments)
  np.testing.assert_allclose(total, data["total"], atol=ATOL)
  np.testing.assert_allclose(log_prob, data["log_prob"], atol=ATOL)
  for name in ("actor_loss", "value_loss", "entropy"):
    np.testing.assert_allclose(parts[name], data[name], atol=ATOL)
  for name, actual in zip(names, gradients, strict=True):
    np.testing.assert_allclose(
      actual, data[f"grad_{name}"], atol=ATOL, err_msg=name
    )


@pytest.mark.parametrize("name", ["ppo_loss_discrete", "ppo_loss_discrete_ent"])
def test_golden_discrete(golden, x64, name):
  data = golden(f"icrl/{name}")

  def function(logits, value):
    return _loss(data, distributions.Categorical(logits), value)

  arguments = [jnp.asarray(data[k]) for k in ("logits", "value")]
  _check(data, function, arguments, ("logits", "value"))


def test_golden_gaussian(golden, x64):
  data = golden("icrl/ppo_loss_gaussian")

  def function(mean, log_std, value):
    spread = jnp.broadcast_to(log_std, mean.shape)
    return _loss(data, distributions.DiagonalGaussian(mean, spread), value)

  names = ("mean", "log_std", "value")
  _check(data, function, [jnp.asarray(data[k]) for k in names], names)


def test_normalize():
  actual = policy.normalize(jnp.asarray([1.0, 2.0, 3.0, 6.0]))
  np.testing.assert_allclose(actual.mean(), 0.0, atol=1e-6)
  np.testing.assert_allclose(actual.std(), 1.0, atol=1e-6)


def test_normalize_of_equal_advantages_is_zero():
  np.testing.assert_array_equal(policy.normalize(jnp.full((5,), 3.0)), 0.0)


@pytest.mark.parametrize(
  ("log_ratio", "advantage", "gradient"),
  [
    (0.0, 1.0, -1.0),  # inside the range: the plain policy gradient
    (1.0, 1.0, 0.0),  # already far more probable: no further push
    (-1.0, -1.0, 0.0),  # already far less probable: no further push
    (1.0, -1.0, np.e),  # moved the wrong way: pushed back in full
    (-1.0, 1.0, -np.exp(-1.0)),
  ],
)
def test_surrogate_gradient(log_ratio, advantage, gradient):
  function = jax.grad(policy.clipped_surrogate)
  actual = function(
    jnp.asarray([log_ratio]), jnp.zeros(1), jnp.asarray([advantage]), 0.2
  )
  np.testing.assert_allclose(actual[0], gradient, rtol=1e-6)


def test_value_loss_without_clipping_is_half_the_squared_error():
  value, target = jnp.asarray([1.0, 2.0]), jnp.asarray([3.0, 5.0])
  actual = policy.value_loss(value, jnp.zeros(2), target, clip=None)
  np.testing.assert_allclose(actual, 0.5 * (4 + 9) / 2)


def test_value_loss_stops_pushing_past_the_range():
  function = jax.grad(policy.value_loss)
  far = function(jnp.asarray([1.0]), jnp.zeros(1), jnp.asarray([2.0]), 0.2)
  near = function(jnp.asarray([0.1]), jnp.zeros(1), jnp.asarray([2.0]), 0.2)
  np.testing.assert_array_equal(far, 0.0)
  np.testing.assert_allclose(near, -1.9, rtol=1e-6)


def _diagnostics(log_prob, **options):
  """Those of a policy whose log-probabilities were 0, and all else is still."""
  zeros = jnp.zeros_like(log_prob)
  names = "old_log_prob", "old_v", "advantages", "returns"
  options |= dict.fromkeys(names, zeros)
  return policy.ppo(log_prob, zeros, zeros, **options)[1]


def test_diagnostics_of_an_unchanged_policy_are_zero():
  parts = _diagnostics(jnp.zeros((3, 4)))
  assert parts["approx_kl"] == 0
  assert parts["clip_fraction"] == 0


def test_clip_fraction_counts_ratios_outside_the_range():
  log_prob = jnp.log(jnp.asarray([0.7, 0.9, 1.1, 1.3]))
  parts = _diagnostics(log_prob, clip=0.2)
  assert parts["clip_fraction"] == 0.5


@pytest.mark.parametrize(
  ("value", "expected"),
  [([1.0, 2.0, 3.0], 1.0), ([0.0, 0.0, 0.0], 0.0), ([3.0, 2.0, 1.0], -3.0)],
)
def test_explained_variance(value, expected):
  actual = policy.explained_variance(
    jnp.asarray(value), jnp.asarray([1.0, 2.0, 3.0])
  )
  np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_explained_variance_of_constant_targets_is_zero():
  assert policy.explained_variance(jnp.arange(3.0), jnp.ones(3)) == 0


def test_noise_is_not_scaled_up():
  noise = jnp.asarray([-1e-3, 1e-3])
  np.testing.assert_allclose(
    policy.normalize(noise, min_std=0.1), noise / 0.1, rtol=1e-6
  )
  # A larger spread is divided by itself, bit for bit.
  large = jnp.asarray([1.0, 2.0, 6.0])
  np.testing.assert_array_equal(
    policy.normalize(large, min_std=0.1), policy.normalize(large)
  )
