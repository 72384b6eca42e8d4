"""Tests of convolutions whose gradients are matrix products on a CPU."""

import chex
from flax import linen
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.nn import convolutions

CASES = {
  "line apart": ((12,), (3,), (2,), [(1, 2)], (2,)),
  "image in strides": ((9, 8), (4, 3), (3, 2), "VALID", (1, 1)),
  "image apart": ((9, 9), (3, 3), (1, 1), "SAME", (2, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_products_are_the_convolution_of_xla(name):
  space, sizes, strides, padding, dilation = CASES[name]
  rng = np.random.default_rng(0)
  with jax.enable_x64():
    x = jnp.asarray(rng.normal(size=(2, *space, 3)))
    kernel = jnp.asarray(rng.normal(size=(*sizes, 3, 5)))
    axes = "HWD"[: len(space)]

    def xla(x, kernel):
      return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
      )

    def house(x, kernel):
      return convolutions.convolve(x, kernel, strides, padding, dilation)

    expected, pull = jax.vjp(xla, x, kernel)
    y, house_pull = jax.vjp(house, x, kernel)
    # The same operation.
    np.testing.assert_array_equal(y, expected)
    grad = jnp.asarray(rng.normal(size=y.shape))
    # Sums of some hundred float64 products in another order.
    chex.assert_trees_all_close(house_pull(grad), pull(grad), rtol=1e-12)


def test_a_layer_of_flax_takes_it_and_several_are_mapped():
  x = jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 4))
  options = {"features": 6, "kernel_size": (3, 3), "strides": 2}
  layer = linen.Conv(
    **options, conv_general_dilated=convolutions.for_linen, dtype=jnp.bfloat16
  )
  plain = linen.Conv(**options, dtype=jnp.bfloat16)
  variables = jax.vmap(plain.init, in_axes=(0, None))(
    jax.random.split(jax.random.key(1), 3), x[0]
  )

  def gradients(layer):
    def loss(variables, x):
      return jnp.square(layer.apply(variables, x)).astype(jnp.float32).sum()

    return jax.vmap(jax.grad(loss))(variables, x)

  # bfloat16 has 8 bits, and sums of hundreds are rounded once.
  chex.assert_trees_all_close(
    gradients(layer), gradients(plain), rtol=0.02, atol=0.5
  )


def test_groups_are_refused():
  layer = linen.Conv(
    6,
    (3,),
    feature_group_count=2,
    conv_general_dilated=convolutions.for_linen,
  )
  with pytest.raises(ValueError, match="feature_group_count: got 2, expected"):
    layer.init(jax.random.key(0), jnp.zeros((1, 8, 4)))
