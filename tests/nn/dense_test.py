"""The dense layer that the package's modules share."""

import chex
from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.nn import dense


def _problem(**options):
  layer = dense.Dense(5, **options)
  x = jax.random.normal(jax.random.key(1), (2, 300, 3))
  return layer, layer.init(jax.random.key(0), x), x


@pytest.mark.parametrize("use_bias", [True, False])
def test_in_float32_it_is_the_layer_of_flax(use_bias):
  layer, variables, x = _problem(use_bias=use_bias)
  original = linen.Dense(5, use_bias=use_bias)
  jax.tree.map(
    np.testing.assert_array_equal,
    variables,
    original.init(jax.random.key(0), x),
  )
  np.testing.assert_array_equal(
    layer.apply(variables, x), original.apply(variables, x)
  )


@pytest.mark.parametrize("wide", [True, False])
def test_gradients_of_parameters_are_not_rounded_to_bfloat16(wide):
  layer, variables, x = _problem(dtype="bfloat16", wide=wide)
  x = x.astype(jnp.bfloat16)

  def loss(params):
    y = layer.apply({"params": params}, x)
    assert y.dtype == (jnp.float32 if wide else jnp.bfloat16)
    return jnp.sum(y.astype(jnp.float32))

  got = jax.grad(loss)(variables["params"])
  # Sums of 600 numbers of order one, in float32.
  exact = np.asarray(x, np.float64).sum((0, 1))
  for column in np.asarray(got["kernel"]).T:
    np.testing.assert_allclose(column, exact, atol=1e-4)
  np.testing.assert_array_equal(got["bias"], 600)


def test_the_dtype_is_that_of_inputs_and_parameters_if_none_is_named(x64):
  layer, variables, x = _problem()
  for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
    y = layer.apply(variables, x.astype(dtype))
    assert y.dtype == jnp.promote_types(dtype, jnp.float32)


@pytest.mark.parametrize("shape", [(1, 6), (6,), (1, 1, 6), (3, 6)])
def test_products_with_an_embedding_are_those_of_flax(shape):
  """Also of one row, whose products are computed in another form."""
  x = jax.random.normal(jax.random.key(1), shape)
  ours, original = dense.Embed(7, 6), linen.Embed(7, 6)
  variables = original.init(jax.random.key(0), jnp.zeros((1,), jnp.int32))

  def loss(layer, variables, x):
    y = layer.apply(variables, x, method="attend")
    assert y.shape == (*shape[:-1], 7)
    return jnp.sum(jnp.sin(y)), y

  got, want = (
    jax.grad(loss, argnums=(1, 2), has_aux=True)(layer, variables, x)
    for layer in (ours, original)
  )
  # Sums of six numbers of size 1, in another order.
  chex.assert_trees_all_close(got, want, rtol=0, atol=1e-6)
