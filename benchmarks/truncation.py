"""Processor time of the truncation of logits by top-p.

  taskset -c 0 python -m benchmarks.truncation

Logits are normal numbers of `--scale`: the larger it is, the fewer tokens have
the share `--top_p`. Prints the best milliseconds for each vocabulary and number
of rows.
"""

import argparse
import time

import jax
import jax.numpy as jnp

from jaxseq.generation import token_sampling

_ROUNDS, _CALLS = 3, 10


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--rows", type=int, nargs="+", default=[1, 8])
  parser.add_argument(
    "--vocab", type=int, nargs="+", default=[256, 4096, 32_000, 128_000]
  )
  parser.add_argument("--scale", type=float, default=5.0)
  parser.add_argument("--top_p", type=float, default=0.9)
  flags = parser.parse_args()
  function = jax.jit(token_sampling.process_logits)
  for rows in flags.rows:
    for vocab in flags.vocab:
      logits = jax.random.normal(jax.random.key(0), (rows, vocab))
      options = [token_sampling.Sampling(top_p=flags.top_p)] * rows
      controls = token_sampling.make_controls(options, vocab)
      arguments = flags.scale * logits, jax.tree.map(jnp.asarray, controls)
      function(*arguments).block_until_ready()
      best = float("inf")
      for _ in range(_ROUNDS):
        start = time.process_time()
        for _ in range(_CALLS):
          function(*arguments).block_until_ready()
        best = min(best, (time.process_time() - start) / _CALLS)
      print(f"{rows:>3} rows {vocab:>7} tokens {1e3 * best:8.2f} ms")


if __name__ == "__main__":
  main()
