"""Gradients of convolutions in a loop, by XLA and as matrix products.

  python -m benchmarks.convolution [--repeats=3]

CPU milliseconds of an update of one layer, kernel and inputs, inside of a
`lax.scan`: layers of the Atari encoders on 32 frames, of a residual block, and
of a parser that reads 64 sentences. "all" are XLA's gradients, "products" those
of `nn.convolutions`.
"""

import argparse

import jax
from jax import lax
import jax.numpy as jnp

from benchmarks import timing
from jaxseq.nn import convolutions

_UPDATES = 3
_LAYERS = {
  "8 x 8, strides of 4": ((32, 84, 84, 4), (8, 8, 4, 32), 4),
  "4 x 4, strides of 2": ((32, 20, 20, 32), (4, 4, 32, 64), 2),
  "3 x 3": ((32, 9, 9, 64), (3, 3, 64, 64), 1),
  "3 x 3, residual": ((16, 42, 42, 32), (3, 3, 32, 32), 1),
  "9, words": ((64, 20, 64), (9, 64, 64), 1),
}


def _xla(x, kernel, strides, padding):
  """The convolution with XLA's gradients."""
  space = "HW"[: len(strides)]
  axes = f"N{space}C", f"{space}IO", f"N{space}C"
  return lax.conv_general_dilated(
    x, kernel, strides, padding, dimension_numbers=axes
  )


def _updates(function, strides):
  """Updates of kernel and inputs, one after the other."""

  def loss(pair, x):
    kernel, scale = pair
    return jnp.tanh(function(x * scale, kernel, strides, "VALID")).sum()

  def update(pair, x):
    grads = jax.grad(loss)(pair, x)
    return jax.tree.map(lambda p, g: p - 1e-3 * g, pair, grads), None

  return lambda pair, xs: lax.scan(update, pair, xs)[0]


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=3)
  flags = parser.parse_args()
  print(timing.machine())
  print(f"{'CPU ms of an update':<24}{'all':>9}{'products':>10}{'ratio':>8}")
  for name, (shape, sizes, stride) in _LAYERS.items():
    strides = (stride,) * (len(shape) - 2)
    xs = jax.random.normal(jax.random.key(0), (_UPDATES, *shape))
    kernel = 0.05 * jax.random.normal(jax.random.key(1), sizes)
    arguments = (kernel, jnp.ones(shape[1:])), xs
    pairs = [
      (_updates(function, strides), arguments)
      for function in (_xla, convolutions.convolve)
    ]
    xla, house = (
      1e3 * measured.cpu / _UPDATES
      for measured in timing.interleaved(pairs, flags.repeats)
    )
    print(f"{name:<24}{xla:9.1f}{house:10.1f}{xla / house:8.1f}")


if __name__ == "__main__":
  main()
