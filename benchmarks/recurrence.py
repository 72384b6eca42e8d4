"""Times the methods of `linear_scan`: what `method="auto"` is decided from.

  python -m benchmarks.recurrence [--quick]

For each shape and dtype, forward and forward with gradient, the methods take
turns and the best of five is printed. The last column is the method that
`choose_method` takes on this platform.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from jaxseq.recurrence import linear

METHODS = ("sequential", "associative", "chunked")
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
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--quick", action="store_true", help="the first three shapes only"
  )
  quick = parser.parse_args().quick
  print(timing.machine())
  print(
    f"{'B, T, n':>16} {'dtype':>10} {'':>9}"
    + "".join(f"{name + ' ms':>16}" for name in METHODS)
    + "   auto"
  )
  for shape in SHAPES[:3] if quick else SHAPES:
    for dtype in (jnp.float32, jnp.complex64):
      arguments = problem(shape, dtype)
      for label, make in (("forward", forward), ("gradient", gradient)):
        results = timing.interleaved(
          [(make(method), arguments) for method in METHODS]
        )
        chosen = linear.choose_method(jax.default_backend(), shape[1])
        print(
          f"{', '.join(map(str, shape)):>16} {jnp.dtype(dtype).name:>10} "
          f"{label:>9}"
          + "".join(f"{1e3 * result.wall:16.2f}" for result in results)
          + f"   {chosen}",
          flush=True,
        )


if __name__ == "__main__":
  main()
