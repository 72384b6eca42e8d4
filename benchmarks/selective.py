"""The selective scan against its `associative_scan` form.

  python -m benchmarks.selective

Both compute the same outputs and last state, which a test checks; "gradient" is
the forward pass and the gradient with respect to all arguments. They take
turns; the best of the runs is printed.
"""

import argparse

import jax.numpy as jnp
import numpy as np

from benchmarks import selective_baseline
from benchmarks import timing
from jaxseq import recurrence


def problem(time, rows, width, states, seed=0):
  rng = np.random.default_rng(seed)
  dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), (rows, time, width)))
  arrays = (
    rng.normal(size=(rows, time, width)),
    dt,
    np.tile(-np.arange(1.0, states + 1), (width, 1)),
    rng.normal(size=(rows, time, states)),
    rng.normal(size=(rows, time, states)),
    rng.normal(size=(rows, width, states)),
    rng.normal(size=width),
  )
  return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def ours(x, delta, A, B, C, init, D):
  return recurrence.selective_scan(x, delta, A, B, C, init, D=D)


baseline = selective_baseline.selective_scan


def gradient(scan):
  return timing.value_and_gradients(scan, 7)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--times", type=int, nargs="+", default=[1024, 4096])
  flags = parser.parse_args()
  rows, width, states = 4, 256, 16
  print(timing.machine(), f"; B={rows}, D={width}, N={states}, float32", sep="")
  print(f"{'T':>6} {'':>8} {timing.pair_head()}")
  for time in flags.times:
    arguments = problem(time, rows, width, states)
    for label, wrap in (("forward", lambda f: f), ("gradient", gradient)):
      new, old = timing.interleaved(
        [(wrap(ours), arguments), (wrap(baseline), arguments)], flags.repeats
      )

      print(f"{time:>6} {label:>8} {timing.pair(old, new)}", flush=True)
  print("in each pair: the associative form, then selective_scan")


if __name__ == "__main__":
  main()
