"""Products and sums in the forms that compilers are quick at."""

import functools
from unittest import mock

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.recurrence import _contractions


def _data(*lead):
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (*lead, 3), jnp.float64)
  return x, jax.random.normal(keys[1], (3, 5), jnp.float64)


def _loss(product, x, w):
  return jnp.sum(jnp.sin(product(x, w)))


@pytest.mark.parametrize("lead", [(), (4,), (2, 4), (2, 3, 4), (2, 0), (0, 4)])
def test_linear_is_the_product(x64, lead):
  x, w = _data(*lead)
  y = _contractions.dense(x, w)
  chex.assert_shape(y, (*lead, 5))
  # Rounding of sums of three.
  np.testing.assert_allclose(y, np.asarray(x) @ np.asarray(w), atol=1e-14)


@pytest.mark.parametrize("order", [jax.grad, jax.hessian])
def test_linear_under_vmap_and_gradients(x64, order):
  x, w = _data(2, 3, 4)
  ws = jnp.stack([w, 2 * w])

  def gradients(product):
    loss = functools.partial(_loss, product)
    return jax.vmap(order(loss, argnums=1), (None, 0))(x, ws)

  # Sums of 24 terms in another order.
  np.testing.assert_allclose(
    gradients(_contractions.dense), gradients(jnp.matmul), atol=1e-12
  )


def test_linear_passes_options_on(x64):
  x, w = _data(2, 4)
  y = _contractions.dense(
    x.astype(jnp.bfloat16),
    w.astype(jnp.bfloat16),
    preferred_element_type=jnp.float32,
  )
  assert y.dtype == jnp.float32


@pytest.mark.parametrize(
  ("platform", "merged"), [("cpu", True), ("gpu", False), ("tpu", False)]
)
def test_axes_are_merged_where_it_helps(x64, platform, merged):
  x, w = _data(2, 4)
  with mock.patch.object(jax, "default_backend", return_value=platform):
    loss = functools.partial(_loss, _contractions.dense, x)
    summed = [
      len(eqn.params["dimension_numbers"][0][0])
      for eqn in jax.make_jaxpr(jax.grad(loss))(w).eqns
      if eqn.primitive is lax.dot_general_p
    ]
  assert summed == [1, 1 if merged else 2]


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_sum_over(x64, axis):
  x, _ = _data(2, 4)
  np.testing.assert_allclose(
    _contractions.sum_over(x, axis), jnp.sum(x, axis, keepdims=True), atol=1e-14
  )
