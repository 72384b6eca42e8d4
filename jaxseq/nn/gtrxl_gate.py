"""GTrXL's gate, which replaces its residual sums.

  r = sigmoid(W_r y + U_r x)
  z = sigmoid(W_z y + U_z x - b)
  h = tanh(W_h y + U_h (r * x))
  g(x, y) = (1 - z) * x + z * h,      y = relu(output of the sub-module)

x is the residual stream. With b above 0 a fresh network passes x through and
has almost no memory, the best start for reinforcement learning. Parisotto et
al., "Stabilizing Transformers for reinforcement learning", arXiv:1910.06764,
section 3.2: "gated-recurrent-unit-type gating", and the ReLU of equation 5.
"""

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import dense


class GTrXLGate(linen.Module):
  """Joins a sub-module's output to the residual stream, like a GRU.

  Parameters: `output/kernel` (d, 3 d): W_r, W_z and W_h concatenated;
    `stream/kernel` (d, 2 d): U_r and U_z; `kept/kernel` (d, d): U_h; `bias`
    (d,): b.

  Attributes:
    bias: initial b; 2 in the paper's best variant.
    dtype: dtype of the products; float64 inputs stay float64.
  """

  bias: float = 2.0
  dtype: jax.typing.DTypeLike = "float32"

  @linen.compact
  def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns g(x, y).

    Args:
      x: (..., d), the residual stream.
      y: (..., d), the output of the sub-module, before the ReLU.

    Returns:
      An array like x, of its dtype.

    Raises:
      ValueError: if the shapes differ.
    """
    if jnp.shape(x) != jnp.shape(y):
      expected = f"{jnp.shape(x)}, that of x"
      raise validate.error("y", f"shape {jnp.shape(y)}", expected)
    x, y = jnp.asarray(x), jnp.asarray(y)
    width, dtype = x.shape[-1], dense.activation_dtype(self.dtype, x)

    def project(name, parts, value):
      layer = dense.Dense(
        parts * width, use_bias=False, dtype=dtype, name=name, wide=True
      )
      return jnp.split(layer(value.astype(dtype)), parts, axis=-1)

    b = self.param("bias", linen.initializers.constant(self.bias), (width,))
    r, z, h = project("output", 3, jax.nn.relu(y))
    r_stream, z_stream = project("stream", 2, x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    r = jax.nn.sigmoid(r + r_stream)
    z = jax.nn.sigmoid(z + z_stream - b)
    (projection,) = project("kept", 1, r * wide)
    h = jnp.tanh(h + projection)
    return ((1 - z) * wide + z * h).astype(x.dtype)
