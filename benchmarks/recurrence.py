"""Times the methods of `linear_scan`: what `method="auto"` is decided from.

  python -m benchmarks.recurrence [--quick]

For each shape and dtype, forward and forward with gradient, the methods take
turns and the best of five is printed. The last column is the method that
`kernels.choice` takes on this platform.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.platform import choice

SHAPES = (
  (1, 1024, 64),
  (1, 16384, 64),
  (8, 1024, 64),
  (8, 1024, 256),
  (8, 16384, 64),
  (64, 256, 64),
)


def problem(shape, dtype):
  rng = np.random.default_rng(0)
  rows, time, n = shape
  a = rng.uniform(0.9, 0.999, n)
  b = rng.normal(size=shape)
  if dtype == jnp.complex64:
    a = a * np.exp(1j * rng.normal(size=n))
  reset = rng.uniform(size=(rows, time)) < 0.01
  return jnp.asarray(a, dtype), jnp.asarray(b, dtype), jnp.asarray(reset)


def forward(method):
  def run(a, b, reset):
    return linear.linear_scan(a, b, reset=reset, method=method)

  return run


def gradient(method):
  run = forward(method)

  def loss(a, b, reset):
    h, final = run(a, b, reset)
    return jnp.sum(jnp.abs(h) ** 2) + jnp.sum(jnp.real(final))

  return jax.grad(loss, argnums=(0, 1))


def main():
  shapes = timing.shapes_of_flags(__doc__, SHAPES, 3)
  timing.print_methods_head(f"{'B, T, n':>16} {'dtype':>10} {'':>9}")
  for shape in shapes:
    where = jax.default_backend(), None, jnp.float32, shape
    chosen, _ = choice.choose("linear", *where)
    for dtype in (jnp.float32, jnp.complex64):
      arguments = problem(shape, dtype)
      for label, make in (("forward", forward), ("gradient", gradient)):
        sizes, name = ", ".join(map(str, shape)), jnp.dtype(dtype).name
        columns = f"{sizes:>16} {name:>10} {label:>9}"
        timing.print_methods(columns, make, arguments, chosen)


if __name__ == "__main__":
  main()
