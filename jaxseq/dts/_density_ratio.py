"""Total correlation by a density ratio, as in FactorVAE.

Kim and Mnih, "Disentangling by Factorising", arXiv:1802.05983: a discriminator
tells samples of q(z) from samples of the product of its marginals, which are
made by permuting each coordinate over a batch. Its logits are (batch, 2), the
first for samples of q(z).
"""

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.nn import dense
from jaxseq.types import PyTree

Array = jax.Array


class Discriminator(linen.Module):
  """Dense layers with leaky ReLUs, and two logits.

  Attributes:
    width: of the hidden layers; 1000 in the paper, for images.
    depth: number of hidden layers; 6 in the paper.
    slope: of the leaky ReLU below zero.
    dtype: dtype of the activations; float64 inputs stay float64.
  """

  width: int = 256
  depth: int = 3
  slope: float = 0.2
  dtype: jax.typing.DTypeLike = "float32"

  @linen.compact
  def __call__(self, z: Array) -> Array:
    """Maps (..., D) to logits (..., 2)."""
    dtype = dense.activation_dtype(self.dtype, z)
    for i in range(self.depth):
      z = dense.Dense(self.width, dtype=dtype, name=f"dense_{i}")(z)
      z = linen.leaky_relu(z, self.slope)
    return dense.Dense(2, dtype=dtype, name="logits")(z)


def permute(key: Array, z: Array) -> Array:
  """Permutes each coordinate of (batch, D) on its own, without a gradient."""
  order = jnp.argsort(jax.random.uniform(key, z.shape), axis=0)
  return jnp.take_along_axis(lax.stop_gradient(z), order, axis=0)


def total_correlation(logits: Array) -> Array:
  """Returns the mean of log D - log(1 - D) of samples of q(z), nats: ()."""
  return (logits[:, 0] - logits[:, 1]).mean()


def discriminator_loss(logits: Array, logits_permuted: Array) -> Array:
  """Returns -(E log D(z) + E log(1 - D(z_permuted))) / 2; log 2 by guessing."""
  real, permuted = map(jax.nn.log_softmax, (logits, logits_permuted))
  return -0.5 * (real[:, 0] + permuted[:, 1]).mean()


def tc_and_loss(params: PyTree, key: Array, z: Array) -> tuple[Array, Array]:
  """Returns the total correlation for the model, and the other's own loss."""

  def logits(params, z):
    return Discriminator().apply({"params": params}, z)

  tc = total_correlation(logits(lax.stop_gradient(params), z))
  true = lax.stop_gradient(z)
  logit_pairs = (logits(params, x) for x in (true, permute(key, true)))
  return tc, discriminator_loss(*logit_pairs)
