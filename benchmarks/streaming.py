"""What a token costs in a stream: time per step, and bytes of state.

  python -m benchmarks.streaming
  python -m benchmarks.streaming --mixers mamba attention --contexts 1024

A mixer reads `context` tokens in pieces with the state carried, and is then
timed step by step. Attention is given a window of the whole context: it has to
keep all of it, and is the only one to which the length makes a difference. Its
reading would take an hour at 262,144 tokens: its cache is filled with random
numbers instead.
"""

import argparse
import functools
import time

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from jaxseq import mixers

_PIECE = 1024  # tokens read at once before the timing


def prepare(name, context, rows, d_model, seed=0):
  """Returns a mixer's bound functions, its parameters and its state.

  The state is that after `context` random tokens; of attention, a cache full
  of random numbers.
  """
  module = mixers.get(name)
  options = {"window": context} if name == "attention" else {}
  config = mixers.make_config(name, d_model=d_model, **options)
  params = jax.jit(module.init, static_argnums=1)(jax.random.key(seed), config)
  apply = jax.jit(functools.partial(module.apply, config), donate_argnums=2)
  state = module.initial_state(config, (rows,))
  if name == "attention":
    leaves, structure = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    state = structure.unflatten(
      jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves)
    )
    return (
      module,
      config,
      params,
      state._replace(length=jnp.full((rows,), float(context))),
    )
  piece = min(_PIECE, context)
  for key in jax.random.split(jax.random.key(seed + 1), context // piece):
    x = jax.random.normal(key, (rows, piece, d_model))
    _, state = apply(params, x, state)
  return module, config, params, jax.block_until_ready(state)


def state_bytes(state) -> int:
  """Counts the bytes of a state, per row of the batch."""
  return sum(leaf.nbytes // leaf.shape[0] for leaf in jax.tree.leaves(state))


def seconds_per_step(module, config, params, state, x, repeats):
  """Returns the best time per step; x is (steps, rows, d_model)."""

  @functools.partial(jax.jit, donate_argnums=1)
  def run(params, state, x):
    def body(state, x_t):
      y, state = module.step(config, params, x_t, state)
      return state, y

    return lax.scan(body, state, x)

  best = float("inf")
  for _ in range(repeats + 1):
    start = time.perf_counter()
    state, _ = jax.block_until_ready(run(params, state, x))
    best = min(best, time.perf_counter() - start)
  return best / len(x)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--mixers", nargs="+", default=mixers.names())
  parser.add_argument(
    "--contexts", type=int, nargs="+", default=[1024, 16384, 262144]
  )
  parser.add_argument("--rows", type=int, default=1)
  parser.add_argument("--d_model", type=int, default=64)
  parser.add_argument("--steps", type=int, default=256)
  parser.add_argument("--repeats", type=int, default=5)
  flags = parser.parse_args()
  print(
    timing.machine(),
    f"; B={flags.rows}, d_model={flags.d_model}, float32",
    sep="",
  )
  heads = "".join(f"{context:>12,}" for context in flags.contexts)
  print(f"{'':>16} microseconds per token {'':>12} bytes of state")
  print(f"{'context':>16}{heads}   {heads}")
  for name in flags.mixers:
    times, sizes = [], []
    for context in flags.contexts:
      *bound, state = prepare(name, context, flags.rows, flags.d_model)
      x = np.random.default_rng(2).normal(
        size=(flags.steps, flags.rows, flags.d_model)
      )
      sizes.append(state_bytes(state))
      times.append(
        seconds_per_step(*bound, state, x.astype(np.float32), flags.repeats)
      )
    cells = "".join(f"{1e6 * seconds:>12.1f}" for seconds in times)
    print(
      f"{name:>16}{cells}   {''.join(f'{size:>12,}' for size in sizes)}",
      flush=True,
    )


if __name__ == "__main__":
  main()
