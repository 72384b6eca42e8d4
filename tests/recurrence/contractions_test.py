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
from tests.recurrence import narrow


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


@pytest.mark.parametrize("x_axis", [-1, -2])
@pytest.mark.parametrize("y_axis", [-1, -2])
def test_dot_rounds_operands_and_cotangents_once(x64, x_axis, y_axis):
  keys = jax.random.split(jax.random.key(0), 3)
  x, y, g = (
    jax.random.normal(key, shape, jnp.float32)
    for key, shape in zip(keys, ((1, 5, 5), (3, 5, 5), (3, 5, 5)))
  )

  def pulled(x, y, g, operands=None):
    dot = functools.partial(_contractions.dot, operands=operands)
    z, pull = jax.vjp(lambda x, y: dot(x, y, x_axis, y_axis), x, y)
    return z, *pull(g.astype(z.dtype))

  got = pulled(x, y, g, jnp.bfloat16)
  assert {leaf.dtype for leaf in got} == {jnp.dtype(jnp.float32)}
  rounded = (narrow.exact(narrow.rounded(leaf)) for leaf in (x, y, g))
  # float32 rounding of sums of up to 15.
  chex.assert_trees_all_close(
    narrow.exact(got), pulled(*rounded), rtol=1e-5, atol=1e-6
  )


def test_einsum_of_bfloat16_has_second_derivatives():
  # Numbers so small that bfloat16 holds all that is computed of them.
  x, y = jax.random.randint(jax.random.key(0), (2, 1, 2, 2), -1, 2)
  x, y = x.astype(jnp.float32), y.astype(jnp.float32)

  def slope(x, operands):
    def loss(x):
      z = _contractions.einsum("bij,bjk->bki", x, y, operands)
      return jnp.sum(z**2)

    return jnp.sum(jax.grad(loss)(x) ** 2)

  got, want = (
    jax.grad(functools.partial(slope, operands=dtype))(x)
    for dtype in (jnp.bfloat16, jnp.float32)
  )
  assert np.any(want)
  np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_sum_over(x64, axis):
  x, _ = _data(2, 4)
  np.testing.assert_allclose(
    _contractions.sum_over(x, axis), jnp.sum(x, axis, keepdims=True), atol=1e-14
  )
