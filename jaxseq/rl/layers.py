"""Convolutions and dense layers of the agents, and their initializers.

A layer is a dict: "w" (height, width, in, out) or (in, out), and "b" (out,).
"""

import math
import typing
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import convolutions

Array = jax.Array
Layer = dict[str, Array]
Initializer = Literal["pytorch", "xavier"]


def init(key: Array, shape: tuple[int, ...], initializer: Initializer) -> Layer:
  """Initializes a layer.

  Args:
    key: random key.
    shape: shape of the weight: (..., in, out).
    initializer: "pytorch", that library's default: weight and bias uniform
      within 1 / sqrt(fan in); or "xavier": weights uniform within
      sqrt(6 / (fan in + fan out)), biases zero.

  Returns:
    The layer, float32.

  Raises:
    ValueError: if there is no such initializer.
  """
  validate.choice("initializer", initializer, typing.get_args(Initializer))
  taps = math.prod(shape[:-2])
  fan_in, fan_out = taps * shape[-2], taps * shape[-1]
  key_w, key_b = jax.random.split(key)
  if initializer == "pytorch":
    bound = 1 / math.sqrt(fan_in)
    b = jax.random.uniform(key_b, shape[-1:], jnp.float32, -bound, bound)
  else:
    bound = math.sqrt(6 / (fan_in + fan_out))
    b = jnp.zeros(shape[-1:], jnp.float32)
  w = jax.random.uniform(key_w, shape, jnp.float32, -bound, bound)
  return {"w": w, "b": b}


def conv(
  layer: Layer,
  x: Array,
  *,
  stride: int = 1,
  padding: str = "SAME",
  dtype: str | None = None,
) -> Array:
  """Convolves images.

  Args:
    layer: "w" (height, width, in, out) and "b" (out,). The weight (out, in,
      height, width) of a PyTorch layer is `w.transpose(2, 3, 1, 0)` here.
    x: (batch, height, width, in), floating.
    stride: stride of both axes.
    padding: "SAME" or "VALID".
    dtype: dtype of the multiplication; that of x and the weight if None.

  Returns:
    (batch, height', width', out), in the dtype of x.
  """
  inputs, w = x, layer["w"]
  if dtype is not None:
    inputs, w = x.astype(dtype), w.astype(dtype)
  y = convolutions.convolve(inputs, w, (stride, stride), padding)
  return y.astype(x.dtype) + layer["b"]


def dense(layer: Layer, x: Array) -> Array:
  """Returns x w + b: (..., in) to (..., out)."""
  return x @ layer["w"] + layer["b"]


def max_pool(x: Array) -> Array:
  """Computes maxima over 3x3 windows with stride 2 and "SAME" padding.

  Args:
    x: (batch, height, width, channels).

  Returns:
    (batch, ceil(height / 2), ceil(width / 2), channels).
  """
  # The reduction is only differentiable with a Python number here.
  return jax.lax.reduce_window(
    x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"
  )


def renormalize(x: Array, epsilon: float) -> Array:
  """Maps every image linearly to the range [0, 1].

  Args:
    x: (..., height, width, channels); minimum and maximum are taken over these
      three axes together.
    epsilon: added to the range. With 0, as in the paper's code, a constant
      image becomes NaN.

  Returns:
    An array like x.
  """
  flat = x.reshape(*x.shape[:-3], -1)
  low, high = _bounds(flat)
  return ((flat - low) / (high - low + epsilon)).reshape(x.shape)


@jax.custom_jvp
def _bounds(flat):
  """Computes minimum and maximum over the last axis, which is kept."""
  return tuple(f(flat, axis=-1, keepdims=True) for f in (jnp.min, jnp.max))


@_bounds.defjvp
def _bounds_jvp(primals, tangents):
  # By argmax: the derivative of a maximum compares all elements with it,
  # and is NaN if a compiler has computed the two with different rounding.
  (flat,), (tangent,) = primals, tangents
  places = [f(flat, axis=-1, keepdims=True) for f in (jnp.argmin, jnp.argmax)]

  def taken(x):
    return tuple(jnp.take_along_axis(x, place, axis=-1) for place in places)

  return taken(flat), taken(tangent)
