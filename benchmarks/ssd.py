"""Chunked SSD, Mamba-2's recurrence, against its `associative_scan` form.

  python -m benchmarks.ssd

Both compute the same outputs and last state, which a test checks; "gradient" is
the forward pass and the gradient with respect to all arguments. They take
turns; the best of the runs is printed.
"""

import argparse
import functools

import jax.numpy as jnp
import numpy as np

from benchmarks import ssd_baseline
from benchmarks import timing
from jaxseq import recurrence


def problem(time, rows, heads, width, states, seed=0):
  """Step sizes and decays as Mamba-2 starts with; X includes the steps."""
  rng = np.random.default_rng(seed)
  dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), (rows, time, heads)))
  arrays = (
    dt[..., None] * rng.normal(size=(rows, time, heads, width)),
    -dt * rng.uniform(1, 16, heads),
    rng.normal(size=(rows, time, states)),
    rng.normal(size=(rows, time, states)),
    rng.normal(size=(rows, heads, states, width)),
  )
  return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def ours(X, log_decay, B, C, init, chunk_size=None):
  return recurrence.outer_scan_heads(
    C[:, :, None],
    B[:, :, None],
    X,
    log_decay[..., None],
    init,
    chunk_size=chunk_size,
  )


baseline = ssd_baseline.ssd


def gradient(scan):
  return timing.value_and_gradients(scan, 5)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--times", type=int, nargs="+", default=[1024])
  parser.add_argument(
    "--chunk_sizes",
    type=int,
    nargs="*",
    default=[],
    help="further chunk sizes to time, beside the default",
  )
  flags = parser.parse_args()
  rows, heads, width, states = 2, 8, 64, 64
  print(
    f"{timing.machine()}; B={rows}, {heads} heads x {width}, N={states}, "
    "float32"
  )
  print(f"{'T':>6} {'chunk':>7} {'':>8} {timing.pair_head()}")
  for time in flags.times:
    arguments = problem(time, rows, heads, width, states)
    for label, wrap in (("forward", lambda f: f), ("gradient", gradient)):
      sizes = [None, *flags.chunk_sizes]
      scans = [functools.partial(ours, chunk_size=size) for size in sizes]
      old, *others = timing.interleaved(
        [(wrap(scan), arguments) for scan in (baseline, *scans)],
        flags.repeats,
      )
      for size, new in zip(sizes, others):
        columns = f"{time:>6} {size or 'default':>7} {label:>8}"
        print(f"{columns} {timing.pair(old, new)}", flush=True)
  print("in each pair: the associative form, then outer_scan_heads")


if __name__ == "__main__":
  main()
