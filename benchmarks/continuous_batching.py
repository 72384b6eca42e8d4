"""Ragged requests: slots that are filled again, or batches that wait.

  python -m benchmarks.continuous_batching
  python -m benchmarks.continuous_batching --mixers s5 attention --slots 32

Prompts and continuations have lengths of many kinds: both are drawn from an
exponential distribution. `generation.Engine` continues them with a number of
slots; the usual way takes as many requests at a time, pads the prompts to the
longest and generates until the longest continuation is there. Prints for each
mixer the tokens per second of both, of those that were asked for, the ratio,
and the share of the padded rows' steps that were of use. Seconds are those of
the processor, or with `--clock` those that pass. Both give the same tokens,
which is checked. Each runs once to compile, then both in turns; the best
counts.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from jaxseq import generation
from jaxseq import nn


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--mixers", nargs="+", default=["gru", "mamba2", "attention"]
  )
  parser.add_argument("--requests", type=int, default=256)
  parser.add_argument("--prompt", type=int, default=48, help="mean length")
  parser.add_argument("--length", type=int, default=64, help="mean length")
  parser.add_argument("--longest", type=int, default=512, help="of both")
  parser.add_argument("--slots", type=int, default=16)
  parser.add_argument("--width", type=int, default=128, help="d_model")
  parser.add_argument("--window", type=int, default=1024, help="of attention")
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--clock", action="store_true", help="seconds that pass")
  return parser.parse_args()


def _requests(flags):
  """Requests whose lengths are those of an exponential distribution."""
  rng = np.random.default_rng(0)

  def length(mean):
    return int(min(flags.longest, 1 + rng.exponential(mean)))

  return [
    generation.Request(
      rng.integers(256, size=length(flags.prompt)),
      length(flags.length),
      seed=seed,
    )
    for seed in range(flags.requests)
  ]


def _network(name, flags):
  """A network of bytes with a mixer, and its variables."""
  options = {"window": flags.window} if name == "attention" else {}
  stack = nn.StackConfig(
    name, d_model=flags.width, num_layers=2, mixer_options=options
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 256, 256)
  tokens = jnp.zeros((1, 4), jnp.int32)
  return network, jax.jit(network.init)(jax.random.key(1), tokens)


def _padded(network, variables, requests, slots):
  """Tokens of batches, each as long as its longest row; and their size."""
  rows, size = [], 0
  for first in range(0, len(requests), slots):
    batch = requests[first : first + slots]
    longest = max(request.length for request in batch)
    tokens, _ = generation.generate(
      network,
      variables,
      [request.prompt for request in batch],
      longest,
      jax.random.key(0),
      seeds=[request.seed for request in batch],
    )
    for request, row in zip(batch, np.asarray(tokens)):
      rows.append(row[: request.length])
    size += longest * slots
  return rows, size


def _compare(name, flags):
  """Best seconds of both ways, and how many steps of rows each took."""
  network, variables = _network(name, flags)
  requests = _requests(flags)
  engine = generation.Engine(
    network, variables, generation.EngineConfig(slots=flags.slots)
  )
  now = time.perf_counter if flags.clock else time.process_time
  best = [float("inf")] * 2
  for repeat in range(1 + flags.repeats):
    start = now()
    padded, size = _padded(network, variables, requests, flags.slots)
    middle = now()
    results = engine.run(requests)
    seconds = middle - start, now() - middle
    if repeat:
      best = list(map(min, best, seconds))
  for ours, row in zip(results, padded):
    if not np.array_equal(ours[0].tokens, row):
      raise SystemExit(f"{name}: the two ways generate different tokens")
  asked = sum(request.length for request in requests)
  return asked / best[0], asked / best[1], asked / size


def main():
  flags = _parse()
  print(timing.machine())
  print(f"{'mixer':<16} {'padded':>9} {'engine':>9} {'ratio':>6} {'of use':>7}")
  for name in flags.mixers:
    padded, engine, use = _compare(name, flags)
    ratio = engine / padded
    print(f"{name:<16} {padded:9.0f} {engine:9.0f} {ratio:6.2f} {use:7.2f}")


if __name__ == "__main__":
  main()
