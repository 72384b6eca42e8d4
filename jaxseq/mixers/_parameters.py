"""Draws of a mixer's parameters, and their products with activations.

`jaxseq.mixers.contract` offers these names.
"""

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.types import PyTree

Params = dict[str, jax.Array]


def wide_dtype(*arrays: PyTree) -> jnp.dtype:
  """Returns the common dtype of arrays and pytrees, float32 or wider."""
  return jnp.result_type(jnp.float32, *jax.tree.leaves(arrays))


def cast(tree: PyTree, dtype: jax.typing.DTypeLike) -> PyTree:
  """Casts a pytree of arrays to a dtype, except integers.

  Integers of quantized weights, keys and rows have a meaning only in their own
  dtype.
  """

  def one(leaf):
    whole = jnp.issubdtype(leaf.dtype, jnp.integer)
    return leaf if whole else leaf.astype(dtype)

  return jax.tree.map(one, tree)


def product_dtype(x: jax.Array, *others: PyTree) -> jnp.dtype:
  """Returns the dtype of products of activations and weights, by the inputs x.

  That of x if it is narrower than float32, whatever the others; else the common
  dtype of all.
  """
  if x.dtype != wide_dtype(x):
    return x.dtype
  return wide_dtype(x, *others)


def project(params: Params, name: str, x: jax.Array) -> jax.Array:
  """Returns x @ params[name] + params[name + "_bias"], if there is a bias."""
  return recurrence.dense(x, params[name], params.get(f"{name}_bias"))


def pointwise(
  function: Callable[..., jax.Array], x: jax.Array, *arrays: jax.Array
) -> jax.Array:
  """Applies a pointwise function to activations, in float32 or wider.

  If x is narrower the result is rounded to its dtype once, and the gradient
  keeps the arrays in their own dtypes and recomputes the function: its
  intermediate arrays take no memory in float32.

  Args:
    function: of x and the arrays, to an array.
    x: activations; its dtype is that of the result.
    *arrays: further activations and parameters.

  Returns:
    The function's result; for wide x it is called with the unchanged arrays.
  """
  wide = wide_dtype(x)
  if x.dtype == wide:
    return function(x, *arrays)

  @jax.checkpoint
  def run(*arrays):
    return function(*cast(arrays, wide)).astype(x.dtype)

  return run(x, *arrays)


class Draws:
  """Draws of a mixer's parameters, float32, with a key for each name."""

  def __init__(self, key: jax.Array, names: str):
    split = names.split()
    self.keys = dict(zip(split, jax.random.split(key, len(split))))

  def __call__(self, name: str, *shape: int) -> jax.Array:
    """Returns a LeCun-normal matrix."""
    lecun = jax.nn.initializers.lecun_normal()
    return lecun(self.keys[name], shape, jnp.float32)

  def conv(self, taps: int, channels: int) -> Params:
    """Returns the conv_weight of a causal convolution; {} for one tap."""
    if taps == 1:
      return {}
    weight = uniform(self.keys["conv"], (taps, channels), taps)
    return {"conv_weight": weight}


def biases(params: Params, *names: str) -> Params:
  """Returns zeros for all columns of matrices, by their names."""
  return {f"{name}_bias": zeros(params[name].shape[-1]) for name in names}


def zeros(*shape: int) -> jax.Array:
  """Returns zeros in float32."""
  return jnp.zeros(shape, jnp.float32)


def ones(*shape: int) -> jax.Array:
  """Returns ones in float32."""
  return jnp.ones(shape, jnp.float32)


def uniform(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
  """Draws weights as PyTorch does for linear and convolutional layers."""
  bound = 1 / math.sqrt(fan_in)
  return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
