"""What a mixture of experts costs, forward and with its gradient.

  python -m benchmarks.experts
  PYTHONPATH=../before python benchmarks/experts.py   # of another checkout

A line for each number of experts and of rows: milliseconds by the clock, the
best of several runs. The numbers of experts take turns.
"""

import argparse

import jax
import jax.numpy as jnp

from benchmarks import timing
from jaxseq.nn import experts


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--experts", nargs="+", default=["8:2", "64:4", "256:8"], help="of active"
  )
  parser.add_argument("--rows", nargs="+", type=int, default=[1, 256])
  parser.add_argument("--width", type=int, default=256)
  parser.add_argument("--repeats", type=int, default=10)
  return parser.parse_args()


def main():
  flags = _parse()
  pairs, names = [], []
  for each in flags.experts:
    routing = experts.Routing(*map(int, each.split(":")))
    module = experts.Experts(routing, flags.width)

    def loss(variables, x, module=module):
      return jnp.sum(module.apply(variables, x) ** 2)

    for rows in flags.rows:
      x = jax.random.normal(jax.random.key(1), (rows, flags.width))
      variables = jax.jit(module.init)(jax.random.key(0), x)
      pairs += [
        (module.apply, (variables, x)),
        (jax.grad(loss), (variables, x)),
      ]
      names.append((each, rows))
  found = [1e3 * one.wall for one in timing.interleaved(pairs, flags.repeats)]
  print("experts   rows   forward ms   gradient ms")
  for (each, rows), forward, gradient in zip(names, found[::2], found[1::2]):
    print(f"{each:7} {rows:6} {forward:12.2f} {gradient:13.2f}")


if __name__ == "__main__":
  main()
