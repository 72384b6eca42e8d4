"""Distributions of actions and predictions, as pytrees."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


def allowed(mask: jax.Array, values: jax.Array) -> jax.Array:
  """Returns values (..., n), -inf where a mask (..., n) forbids them.

  Their gradient is exactly 0 there. If a mask forbids a whole row, the row
  counts as allowed: there is no distribution over an empty set.
  """
  mask = mask | ~mask.any(axis=-1, keepdims=True)
  return jnp.where(mask, values, -jnp.inf)


def _wide(x: jax.Array) -> jax.Array:
  """Casts to at least float32: log-probabilities need the digits."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Categorical(NamedTuple):
  """Distribution over the integers 0, ..., n - 1.

  Attributes:
    logits: (..., n) unnormalized log-probabilities; -inf forbids a value.
  """

  logits: jax.Array

  def sample(self, key: jax.Array) -> jax.Array:
    """Draws values: (...) int32."""
    return jax.random.categorical(key, _wide(self.logits)).astype(jnp.int32)

  def log_prob(self, x: jax.Array) -> jax.Array:
    """Returns the log-probabilities (...) of integers (...)."""
    log_p = jax.nn.log_softmax(_wide(self.logits))
    index = x[..., None].astype(jnp.int32)
    shape = jnp.broadcast_shapes(log_p.shape[:-1], x.shape)
    return jnp.take_along_axis(
      jnp.broadcast_to(log_p, (*shape, log_p.shape[-1])),
      jnp.broadcast_to(index, (*shape, 1)),
      axis=-1,
    )[..., 0]

  def entropy(self) -> jax.Array:
    """Returns the entropies (...) in nats."""
    log_p = jax.nn.log_softmax(_wide(self.logits))
    # 0 log 0 = 0, also in the gradient.
    finite = jnp.where(jnp.isneginf(log_p), 0, log_p)
    return -jnp.sum(jnp.exp(log_p) * finite, axis=-1)

  def masked(self, mask: jax.Array) -> "Categorical":
    """Returns the distribution over the values that a mask (..., n) allows.

    If it allows no value, all are allowed.
    """
    return self._replace(logits=allowed(mask, self.logits))

  def kl(self, other: "Categorical") -> jax.Array:
    """Returns the divergence (...) of another distribution from this one.

    In nats, sum p (log p - log q). It is finite only if the other distribution
    allows every value that this one allows, as under one mask.
    """
    log_p = jax.nn.log_softmax(_wide(self.logits))
    log_q = jax.nn.log_softmax(_wide(other.logits))
    # 0 log 0 = 0, also in the gradient.
    never = jnp.isneginf(log_p)
    difference = jnp.where(never, 0, log_p) - jnp.where(never, 0, log_q)
    return jnp.sum(jnp.exp(log_p) * difference, axis=-1)

  def mode(self) -> jax.Array:
    """Returns the most probable values: (...) int32."""
    return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)


class DiagonalGaussian(NamedTuple):
  """Normal distribution over (n,) vectors with independent components.

  Attributes:
    mean: (..., n).
    log_std: (..., n), or a shape that broadcasts to it.
  """

  mean: jax.Array
  log_std: jax.Array

  def sample(self, key: jax.Array) -> jax.Array:
    """Draws vectors: (..., n)."""
    mean, log_std = self._parameters()
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.exp(log_std) * noise

  def log_prob(self, x: jax.Array) -> jax.Array:
    """Returns the log-densities (...) of vectors (..., n)."""
    mean, log_std = self._parameters()
    z = (x - mean) * jnp.exp(-log_std)
    terms = -0.5 * z * z - log_std - 0.5 * math.log(2 * math.pi)
    return jnp.sum(terms, axis=-1)

  def entropy(self) -> jax.Array:
    """Returns the differential entropies (...) in nats."""
    _, log_std = self._parameters()
    return jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

  def mode(self) -> jax.Array:
    """Returns the means: (..., n)."""
    return self._parameters()[0]

  def _parameters(self):
    return jnp.broadcast_arrays(_wide(self.mean), _wide(self.log_std))


class SquashedGaussian(NamedTuple):
  """Distribution of tanh(z) over (-1, 1)^n, where z is a `DiagonalGaussian`.

  The derivative of tanh is 1 - tanh(z)^2 = exp(2 (log 2 - z - softplus(-2 z))).
  In that form its logarithm is exact at all z. From the action alone it is not:
  float32 only knows that the action is near 1. So learners take the action and
  the log-probability of the same z.

  Haarnoja et al., "Soft Actor-Critic Algorithms and Applications",
  arXiv:1812.05905, appendix C.

      >>> policy = SquashedGaussian(jnp.array([20.0]), jnp.array([0.0]))
      >>> action, log_prob = policy.of_noise(jnp.array([0.0]))

  Attributes:
    mean: (..., n), the mean of z.
    log_std: (..., n), or a shape that broadcasts to it.
  """

  mean: jax.Array
  log_std: jax.Array

  def sample(self, key: jax.Array) -> jax.Array:
    """Draws vectors: (..., n)."""
    return self.sample_with_log_prob(key)[0]

  def sample_with_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws vectors (..., n), and returns their log-densities (...)."""
    mean = self._normal().mode()
    return self.of_noise(jax.random.normal(key, mean.shape, mean.dtype))

  def of_noise(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maps standard normal noise (..., n) to vectors.

    Gradients flow through both to mean and deviation.

    Returns:
      Vectors (..., n), and their log-densities (...).
    """
    mean, log_std = self._normal()._parameters()
    z = mean + jnp.exp(log_std) * noise
    # Computed from the noise: z - mean loses it if the deviation is tiny.
    normal = DiagonalGaussian(jnp.zeros_like(z), jnp.zeros_like(z))
    log_prob = normal.log_prob(noise) - log_std.sum(axis=-1)
    return jnp.tanh(z), log_prob - _log_slope(z).sum(axis=-1)

  def log_prob(self, x: jax.Array) -> jax.Array:
    """Returns the log-densities (...) of vectors (..., n).

    Near -1 and 1, x has lost digits; an x that rounds to -1 or 1 counts as the
    last number inside.
    """
    x = _wide(x)
    most = 1 - jnp.finfo(x.dtype).epsneg
    z = jnp.arctanh(jnp.clip(x, -most, most))
    return self._normal().log_prob(z) - _log_slope(z).sum(axis=-1)

  def mode(self) -> jax.Array:
    """Returns tanh of the means, (..., n): the greedy action."""
    return jnp.tanh(self._normal().mode())

  def _normal(self):
    return DiagonalGaussian(self.mean, self.log_std)


def _log_slope(z: jax.Array) -> jax.Array:
  """Returns the logarithm of the derivative of tanh."""
  return 2 * (math.log(2) - z - jax.nn.softplus(-2 * z))
