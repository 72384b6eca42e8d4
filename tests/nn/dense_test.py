"""The dense layer that the package's modules share."""

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
