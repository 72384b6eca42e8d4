"""Gradient reversal: forward the identity, backward times -coefficient.

Ganin et al., "Domain-Adversarial Training of Neural Networks",
arXiv:1505.07818, section 4.2.
"""

import jax
import jax.numpy as jnp

Array = jax.Array


def reverse(x: Array, coefficient: Array | float) -> Array:
  """Returns x; the gradient behind it is multiplied by -coefficient.

  What comes after, such as a domain classifier, learns to minimise its loss;
  what comes before learns to maximise it.

  Args:
    x: (...), floating.
    coefficient: () strength. It may be traced, so that a schedule compiles
      once, and has no gradient itself.

  Returns:
    An array equal to x.
  """
  return _reverse(x, jnp.asarray(coefficient, x.dtype))


@jax.custom_vjp
def _reverse(x, coefficient):
  del coefficient
  return x


def _forward(x, coefficient):
  return x, coefficient


def _backward(coefficient, cotangent):
  return -coefficient * cotangent, jnp.zeros_like(coefficient)


_reverse.defvjp(_forward, _backward)
