"""Products of a gated recurrence: of its inputs, and inside every head."""

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _contractions

Arrays = tuple[jax.Array, ...]


def to_heads(array: jax.Array, heads: int) -> jax.Array:
  """(..., batch, heads * features) to (..., heads, batch, features)."""
  if heads == 1:  # Moving an axis of length 1 makes compilers copy the array.
    return array[..., None, :, :]
  return jnp.moveaxis(array.reshape(*array.shape[:-1], heads, -1), -2, -3)


def from_heads(array: jax.Array) -> jax.Array:
  """(..., heads, batch, features) to (..., batch, heads * features)."""
  if array.shape[-3] == 1:
    return array[..., 0, :, :]
  array = jnp.moveaxis(array, -3, -2)
  return array.reshape(*array.shape[:-2], -1)


def sums(operands: jnp.dtype) -> jnp.dtype:
  """Returns the dtype of sums of products: that of the operands, or float32."""
  return jnp.promote_types(operands, jnp.float32)


def product(subscripts: str, x: jax.Array, y: jax.Array) -> jax.Array:
  """Returns jnp.einsum of operands of one dtype."""
  if not _contractions.is_narrow(x.dtype):
    return jnp.einsum(subscripts, x, y)
  return _contractions.narrow_einsum(subscripts, x.dtype, jnp.float32, x, y)


def project(params, x: jax.Array, operands: jnp.dtype) -> Arrays:
  """Input projections of a chunk, one array per gate."""
  heads = params.kernel.shape[0]
  if params.input_kernel is None:
    return with_bias(x, params)
  flat = x.reshape(-1, x.shape[-1]).astype(operands)
  gates = (
    _contractions.dense(flat, params.input_kernel[:, i], wide=True) + bias
    for i, bias in enumerate(params.input_bias)
  )
  return tuple(to_heads(y.reshape(*x.shape[:-1], -1), heads) for y in gates)


def with_bias(products: jax.Array, params) -> Arrays:
  """Arrays of the gates, with biases, from the products of all."""
  parts = jnp.split(products, len(params.input_bias), -1)
  heads = params.kernel.shape[0]
  return tuple(to_heads(x + b, heads) for x, b in zip(parts, params.input_bias))


def recurrent(params, hidden: jax.Array) -> Arrays:
  """Sums R h + b of one step, an array per gate, (heads, batch, f)."""
  heads, features, _, _ = params.kernel.shape
  # One product for all gates, heads leading: the layout in which compilers
  # find a plain (batched) matrix product.
  kernel = params.kernel.reshape(heads, features, -1)
  products = product("hbi,hio->hbo", hidden.astype(kernel.dtype), kernel)
  return gates_of(params, products)


def gates_of(params, products: jax.Array) -> Arrays:
  """Arrays of the gates, with biases, from all gates' R h of one step."""
  heads, features, gates, _ = params.kernel.shape
  split = jnp.split(products, gates, -1)
  if params.bias is None:
    return tuple(split)
  bias = params.bias.reshape(gates, heads, 1, features)
  return tuple(part + bias[i] for i, part in enumerate(split))
