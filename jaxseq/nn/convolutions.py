"""Convolutions whose gradients are matrix products on CPUs.

On a CPU, XLA computes the gradients of a convolution inside a loop, and all
training here is such a loop, ten to twenty times slower than outside. There
matrix products of the inputs of each kernel tap compute them; the convolution
itself, and everything on other devices, stays XLA's.
"""

from collections.abc import Sequence
import functools
import itertools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate

Array = jax.Array
Padding = str | Sequence[tuple[int, int]]


def convolve(
  x: Array,
  kernel: Array,
  strides: Sequence[int],
  padding: Padding,
  dilation: Sequence[int] | None = None,
) -> Array:
  """Convolves arrays whose last axis is channels.

  It has no forward-mode derivatives (`jax.jvp`), only gradients.

  Args:
    x: (batch, *space, in), floating.
    kernel: (*sizes, in, out), of the same dtype.
    strides: stride of each spatial axis.
    padding: "SAME", "VALID", or amounts before and after each axis.
    dilation: dilation of each axis; 1 if None.

  Returns:
    (batch, *space', out).

  Raises:
    ValueError: if the shapes do not fit together.
  """
  strides = tuple(strides)
  space = [f"n{i}" for i in range(len(strides))]
  *_, channels = validate.shape("x", x, ("batch", *space, "in"))
  validate.shape("kernel", kernel, (*space, channels, "out"))
  dilation = tuple(dilation or (1,) * len(strides))
  sizes = tuple(
    (size - 1) * step + 1
    for size, step in zip(kernel.shape[:-2], dilation, strict=True)
  )
  if isinstance(padding, str):
    pads = lax.padtype_to_pads(x.shape[1:-1], sizes, strides, padding)
  else:
    pads = padding
  pads = tuple(tuple(map(int, pair)) for pair in pads)
  return _convolve(x, kernel, strides, pads, dilation)


def for_linen(
  x: Array,
  kernel: Array,
  window_strides: Sequence[int],
  padding: Padding,
  *,
  rhs_dilation: Sequence[int] | None = None,
  **options: Any,
) -> Array:
  """Convolves for a layer, `linen.Conv(conv_general_dilated=for_linen)`.

  Raises:
    ValueError: if the layer has groups of features, an input dilation or a
      precision.
  """
  plain = {
    "feature_group_count": 1,
    "lhs_dilation": (1,) * len(window_strides),
    "precision": None,
  }
  for name, value in plain.items():
    if options[name] != value:
      raise validate.error(name, options[name], str(value))
  return convolve(x, kernel, window_strides, padding, rhs_dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x, kernel, strides, pads, dilation):
  """XLA's convolution."""
  space = "HWDT"[: len(strides)]
  axes = f"N{space}C", f"{space}IO", f"N{space}C"
  return lax.conv_general_dilated(
    x,
    kernel,
    strides,
    pads,
    rhs_dilation=dilation,
    dimension_numbers=axes,
  )


def _forward(x, kernel, strides, pads, dilation):
  """Returns the convolution, and the arrays that its gradients need."""
  return _convolve(x, kernel, strides, pads, dilation), (x, kernel)


def _backward(strides, pads, dilation, saved, grad):
  """Gradients of inputs and kernel."""
  geometry = strides, pads, dilation

  def by(function):
    def gradients(x, kernel, grad):
      return jax.vjp(lambda x, w: function(x, w, *geometry), x, kernel)[1](grad)

    return gradients

  return lax.platform_dependent(
    *saved, grad, cpu=by(products), default=by(_convolve.__wrapped__)
  )


_convolve.defvjp(_forward, _backward)


def products(
  x: Array,
  kernel: Array,
  strides: Sequence[int],
  pads: Sequence[tuple[int, int]],
  dilation: Sequence[int],
) -> Array:
  """Convolves by matrix products, one per line of taps.

  Args:
    x: (batch, *space, in).
    kernel: (*sizes, in, out).
    strides: stride of each axis.
    pads: amounts before and after each axis.
    dilation: dilation of each axis.

  Returns:
    (*batch, *space', out), equal to `convolve` up to rounding.
  """
  *sizes, _, out = kernel.shape
  x = jnp.pad(x, [(0, 0), *pads, (0, 0)])
  reach = [(n - 1) * step for n, step in zip(sizes, dilation, strict=True)]
  ends = [n - far for n, far in zip(x.shape[1:-1], reach, strict=True)]

  def seen(taps):
    """Returns the inputs of one tap at each place, (batch, *space', in)."""
    places = [slice(None)]
    for tap, step, end, stride in zip(
      taps, dilation, ends, strides, strict=True
    ):
      places.append(slice(tap * step, tap * step + end, stride))
    return x[tuple(places)]

  total = 0
  for taps in itertools.product(*map(range, sizes[:-1])):
    line = [seen((*taps, last)) for last in range(sizes[-1])]
    weight = kernel[taps].reshape(-1, out)
    total = total + jnp.concatenate(line, axis=-1) @ weight
  return total
