"""Inverses of unit triangular matrices, as each platform takes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.recurrence import kernels
from jaxseq.recurrence.delta import _unit_triangular


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("size", [1, 2, 13, 40])
def test_is_the_inverse(size, platform):
  A = np.tril(np.random.default_rng(0).normal(size=(2, size, size)), -1)
  A = jnp.asarray(A / np.sqrt(size), jnp.float32)
  eye = jnp.eye(size)

  def product(A):
    return (eye + A) @ _unit_triangular.inverse(A)

  tangent = jnp.tril(jnp.ones_like(A), -1)
  with kernels.choosing_for(platform):
    got, slope = jax.jvp(jax.jit(product), (A,), (tangent,))
  np.testing.assert_allclose(got, jnp.broadcast_to(eye, A.shape), atol=1e-5)
  np.testing.assert_allclose(slope, jnp.zeros_like(A), atol=1e-4)
