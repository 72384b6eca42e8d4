"""Discretizations against the matrix exponential and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.state_space import discretize

LAMBDA = np.array([-0.5 + 3j, -2.0 + 0j, -1e-4 - 100j])
DT = np.array([0.1, 0.01, 0.001])


def test_zoh_solves_the_equation_for_a_constant_input(x64):
  del x64
  a, factor = discretize.zoh(LAMBDA, DT)
  # x(dt) from x(0) = 1 under x' = Lambda x + 1, by many small exact steps.
  x, n = np.ones(3, complex), 20_000
  h = DT / n
  for _ in range(n):
    # Midpoint rule, error of order (dt / n)^2.
    middle = x + 0.5 * h * (LAMBDA * x + 1)
    x = x + h * (LAMBDA * middle + 1)
  np.testing.assert_allclose(a + factor, x, rtol=1e-8)


def test_bilinear_is_the_trapezoidal_rule(x64):
  del x64
  a, factor = discretize.bilinear(LAMBDA, DT)
  before, u = 0.7, 1.3
  after = a * before + factor * u
  # (x1 - x0) / dt = Lambda (x0 + x1) / 2 + u.
  np.testing.assert_allclose(
    (after - before) / DT, LAMBDA * (after + before) / 2 + u, rtol=1e-10
  )


def test_zoh_keeps_its_digits_for_small_steps():
  Lambda = np.array([-0.5 + 3j], np.complex64)
  for dt in (1e-3, 1e-5, 1e-7):
    _, factor = discretize.zoh(Lambda, np.float32(dt))
    exact = np.expm1(np.complex128(Lambda) * dt) / np.complex128(Lambda)
    # A few units of float32.
    np.testing.assert_allclose(factor, exact, rtol=1e-6)


@pytest.mark.parametrize("Lambda", [0.0, 0.0 + 0.0j])
def test_zoh_at_zero_is_its_limit_with_finite_gradients(Lambda):
  a, factor = discretize.zoh(jnp.asarray(Lambda), jnp.float32(0.1))
  assert a == 1
  assert factor == jnp.float32(0.1)
  grad = jax.grad(
    lambda re: jnp.real(sum(discretize.zoh(re + 0 * Lambda, 0.1)))
  )(0.0)
  assert jnp.isfinite(grad)


def test_an_unknown_name_lists_the_known():
  with pytest.raises(
    ValueError, match="got 'euler', expected one of 'zoh', 'bilinear'"
  ):
    discretize.get("euler")
