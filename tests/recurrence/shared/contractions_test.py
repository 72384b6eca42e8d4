"""Products and sums in the forms that compilers are quick at."""

import functools
from unittest import mock

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.recurrence.shared import _contractions
from tests import jaxprs
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


_NARROW = jnp.bfloat16, jnp.float16


@pytest.mark.parametrize("dtype", _NARROW)
@pytest.mark.parametrize("lead", [(), (4,), (2, 3, 4)])
def test_narrow_products_are_summed_in_float32(dtype, lead):
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (*lead, 64), dtype)
  w, bias = (
    jax.random.normal(key, s) for key, s in zip(keys[1:], [(64, 5), 5])
  )
  exact = np.asarray(x, np.float64) @ np.asarray(w.astype(dtype), np.float64)
  y = _contractions.dense(x, w, wide=True)
  assert y.dtype == jnp.float32
  # Rounding of sums of 64, of order ten, in float32.
  np.testing.assert_allclose(y, exact, atol=1e-5)
  rounded = _contractions.dense(x, w, bias)
  assert rounded.dtype == dtype
  # One rounding, of sum and bias together.
  np.testing.assert_allclose(
    rounded.astype(jnp.float32),
    exact + np.asarray(bias),
    rtol=float(jnp.finfo(dtype).eps) / 2,
    atol=1e-5,
  )


def _gradients(x, w, bias, cotangent):
  y, pull = jax.vjp(_contractions.dense, x, w, bias)
  return pull(cotangent.astype(y.dtype))


@pytest.mark.parametrize("dtype", _NARROW)
@pytest.mark.parametrize("lead", [(), (2, 500)])
def test_gradients_of_weights_are_not_rounded_to_narrow_inputs(dtype, lead):
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (*lead, 3), dtype)
  cotangent = jax.random.normal(keys[1], (*lead, 5), dtype)
  w, bias = jax.random.normal(keys[2], (3, 5)), jnp.ones(5)
  dx, dw, d_bias = _gradients(x, w, bias, cotangent)
  assert (dx.dtype, dw.dtype, d_bias.dtype) == (dtype, w.dtype, bias.dtype)
  x, cotangent = (np.asarray(z, np.float64) for z in (x, cotangent))
  flat = cotangent.reshape(-1, 5)
  # Sums of 1000 products of order one in float32: their exact ones, where in
  # the narrow dtype they would be off by a part of 256 or 2048.
  np.testing.assert_allclose(dw, x.reshape(-1, 3).T @ flat, atol=1e-4)
  np.testing.assert_allclose(d_bias, flat.sum(0), atol=1e-4)
  np.testing.assert_allclose(
    dx.astype(jnp.float32),
    cotangent @ np.asarray(w.astype(dtype), np.float64).T,
    rtol=float(jnp.finfo(dtype).eps) / 2,
    atol=1e-5,
  )


def test_products_of_narrow_gradients_are_narrow_however_often():
  """First and second gradients, and those under `vmap`."""
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (2, 4, 3), jnp.bfloat16)
  ws, bias = jax.random.normal(keys[1], (2, 3, 5)), jnp.zeros(5)

  def loss(x, w):
    y = _contractions.dense(x, w, bias).astype(jnp.float32)
    return jnp.sum(jnp.sin(y))

  def second(x, w):
    first = jax.grad(loss, (0, 1))(x, w)
    return sum(jnp.sum(jnp.sin(leaf.astype(jnp.float32))) for leaf in first)

  gradient = jax.grad(second, (0, 1))
  for function in (gradient, jax.vmap(gradient, (None, 0))):
    w = ws[0] if function is gradient else ws
    products = list(jaxprs.find(jax.make_jaxpr(function)(x, w), "dot_general"))
    # One, its two gradients, and the two of each of these three, less what the
    # cotangent of the loss, a constant here, has.
    assert len(products) >= 7
    for product in products:
      dtypes = {operand.aval.dtype for operand in product.invars}
      assert dtypes == {jnp.dtype(jnp.bfloat16)}
  got = gradient(x, ws[0])
  expected = jax.grad(second, (0, 1))(x.astype(jnp.float32), ws[0])
  assert [leaf.dtype for leaf in got] == [jnp.bfloat16, jnp.float32]
  for leaf, exact in zip(got, expected):
    # Some ten roundings by up to a part of 256 each, some of them in the angle
    # of a sine.
    error = jnp.linalg.norm(leaf.astype(jnp.float32) - exact)
    assert error < 0.05 * jnp.linalg.norm(exact)


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
