"""Dense layers and dtype rules shared by the package's Flax modules."""

import math

from flax import linen
from flax.linen import dtypes
import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq import validate


def activation_dtype(dtype: jax.typing.DTypeLike, x: jax.Array) -> jnp.dtype:
  """Returns the dtype to compute in: `dtype`, or float64 for float64 inputs."""
  x_dtype = jnp.result_type(x)
  if not jnp.issubdtype(x_dtype, jnp.floating):
    raise validate.error("x", f"dtype {x_dtype}", "a floating dtype")
  return x_dtype if x_dtype == jnp.float64 else jnp.dtype(dtype)


def dropout(x: jax.Array, rate: float, train: bool, step: bool) -> jax.Array:
  """Drops features (*batch, time, n) with one mask shared over time."""
  layer = linen.Dropout(rate, broadcast_dims=() if step else (-2,))
  return layer(x, deterministic=not train)


class Dense(linen.Module):
  """A dense layer: `linen.Dense` with the products of `recurrence.dense`.

  The kernel's gradient is a plain matrix product. If `dtype` is narrower than
  float32, gradients of parameters are not rounded to it, as they would be if
  the parameters were cast first.

  Attributes:
    features: width of the outputs.
    use_bias: whether it has a bias.
    dtype: dtype of the products and the outputs; the common dtype of inputs and
      parameters if None.
    kernel_init: initializer of the kernel; the bias starts at zeros.
    wide: whether the outputs stay float32 if `dtype` is narrower.
  """

  features: int
  use_bias: bool = True
  dtype: jax.typing.DTypeLike | None = None
  kernel_init: jax.nn.initializers.Initializer = (
    linen.initializers.lecun_normal()
  )
  wide: bool = False

  @linen.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (..., n) to (..., features)."""
    shape = jnp.shape(x)[-1], self.features
    kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
    bias = None
    if self.use_bias:
      zeros = linen.initializers.zeros_init()
      bias = self.param("bias", zeros, (self.features,), jnp.float32)
    # A `recurrence.Weight` has a dtype, but is not an array.
    like = jnp.zeros((), kernel.dtype)
    dtype = dtypes.canonicalize_dtype(x, like, bias, dtype=self.dtype)
    x = jnp.asarray(x, dtype)
    return recurrence.dense(x, kernel, bias, wide=self.wide)


class Embed(linen.Embed):
  """`linen.Embed` whose embedding may be a `recurrence.Weight`."""

  def __call__(self, inputs: jax.Array) -> jax.Array:
    """Returns rows (..., features) of tokens (...)."""
    if isinstance(self.embedding, recurrence.Weight):
      return self.embedding.take(inputs).astype(self.dtype)
    return super().__call__(inputs)

  def attend(self, query: jax.Array) -> jax.Array:
    """Returns products (..., num_embeddings) of (..., features), float32."""
    if isinstance(self.embedding, recurrence.Weight):
      return self.embedding.attend(query, wide=True)
    if query.dtype != self.dtype:
      return recurrence.dense(query, self.embedding.T, wide=True)
    if math.prod(query.shape[:-1]) != 1:
      return super().attend(query)
    # A CPU takes five times as long for one row and the transposed embedding.
    query, embedding = self.promote_dtype(
      query, self.embedding, dtype=self.dtype
    )
    products = jnp.dot(embedding, query.reshape(-1))
    return products.reshape(*query.shape[:-1], -1)
