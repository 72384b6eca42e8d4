"""Times the methods of `softmax_outer_scan` and `softmax_scan`.

  python -m benchmarks.softmax [--quick]

What `method="auto"` is decided from. For each shape, forward and forward with
gradient, the methods take turns and the best of five is printed. D is the
number of key channels; without it the shape is that of `softmax_scan`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from jaxseq import recurrence
from jaxseq.recurrence.platform import choice

# Rows, time, D, width of the values.
SHAPES = (
  (8, 128, None, 64),
  (8, 1024, None, 64),
  (8, 1024, 32, 32),
  (8, 1, 32, 32),
  (64, 1024, None, 64),
  (2, 8192, 64, 64),
)


def problem(shape):
  """Random logits, as far apart as those of a fresh layer."""
  rng = np.random.default_rng(0)
  rows, time, dk, dv = shape
  sizes = [()] if dk is None else [(dk,)] * 3
  inputs = [rng.normal(size=(rows, time, *size)) for size in sizes]
  inputs.append(rng.normal(size=(rows, time, dv)))
  return tuple(jnp.asarray(x, jnp.float32) for x in inputs)


def forward(method, dk):
  scan = (
    recurrence.softmax_scan if dk is None else recurrence.softmax_outer_scan
  )
  return lambda *inputs: scan(*inputs, method=method)[0]


def gradient(method, dk):
  run = forward(method, dk)

  def loss(*inputs):
    return jnp.sum(run(*inputs) ** 2)

  return jax.grad(loss, argnums=(0, 1) if dk is None else (0, 1, 2, 3))


def main():
  shapes = timing.shapes_of_flags(__doc__, SHAPES, 4)
  for outer in (False, True):
    op = "softmax_outer" if outer else "linear"
    methods = (*timing.METHODS, "decays") if outer else timing.METHODS
    some = [shape for shape in shapes if (shape[2] is not None) == outer]
    timing.print_methods_head(f"{'B, T, D, E':>18} {'':>9}", methods)
    for shape in some:
      sizes = (1, shape[1], 1, 1) if outer else (1, shape[1], 1)
      platform = jax.default_backend()
      chosen, _ = choice.choose(op, platform, None, jnp.float32, sizes)
      for label, make in (("forward", forward), ("gradient", gradient)):
        columns = f"{', '.join(map(str, shape)):>18} {label:>9}"
        of_width = functools.partial(make, dk=shape[2])
        timing.print_methods(columns, of_width, problem(shape), chosen, methods)


if __name__ == "__main__":
  main()
