"""Processor time of an engine's call that reads what follows a cached prefix.

  taskset -c 0 python -m benchmarks.prefix_rest
  taskset -c 0 python -m benchmarks.prefix_rest --rest 1 63 64 --slots 8

A prompt of `--prefix` tokens is in the cache. Requests of one token follow it
by `--rest` tokens each. The medians of processor time are printed: from a
request to its token, alone, and of the longest call while a row draws tokens.
"""

import argparse
import statistics
import time

import jax
import numpy as np

from jaxseq import generation
from jaxseq import nn

_VOCAB, _ROUNDS = 256, 7


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--mixers", nargs="+", default=["mamba2", "attention"])
  parser.add_argument("--prefix", type=int, default=320, help="its tokens")
  parser.add_argument("--rest", type=int, nargs="+", default=[1, 7, 63, 64])
  parser.add_argument("--width", type=int, default=256, help="d_model")
  parser.add_argument("--layers", type=int, default=4)
  parser.add_argument("--slots", type=int, default=4)
  return parser.parse_args()


def _measure(engine, prompt, rest, busy):
  """Milliseconds until the token, and of the longest call, of each round."""
  spent, longest = [], []
  for _ in range(_ROUNDS):
    others = [
      engine.submit(generation.Request(np.zeros(1, np.int32), 200))
      for _ in range(busy)
    ]
    while engine.waiting:
      engine.advance()
    number = engine.submit(generation.Request(prompt(rest), 1))
    begun, calls = time.process_time(), []
    found = False
    while not found:
      call = time.process_time()
      found = any(event.request == number for event in engine.advance())
      calls.append(time.process_time() - call)
    spent.append(1e3 * (time.process_time() - begun))
    longest.append(1e3 * max(calls))
    for other in others:
      engine.cancel(other)
  return statistics.median(spent), statistics.median(longest)


def main():
  flags = _parse()
  draw = np.random.default_rng(0)
  prefix = draw.integers(0, _VOCAB, flags.prefix)

  def prompt(rest):
    return np.concatenate([prefix, draw.integers(0, _VOCAB, rest)])

  for mixer in flags.mixers:
    stack = nn.StackConfig(mixer, d_model=flags.width, num_layers=flags.layers)
    network = nn.SequenceNetwork(nn.NetworkConfig(stack), _VOCAB, _VOCAB)
    variables = jax.jit(network.init)(jax.random.key(0), prefix[None, :4])
    engine = generation.Engine(
      network,
      variables,
      generation.EngineConfig(slots=flags.slots),
      cache=generation.PrefixCache(2**30),
    )
    engine.warm_up()
    engine.run([generation.Request(prefix, 1)])
    for rest in flags.rest:
      alone, _ = _measure(engine, prompt, rest, 0)
      _, call = _measure(engine, prompt, rest, 1)
      print(
        f"{mixer:<12} {rest:>4} tokens: {alone:8.1f} ms alone, "
        f"{call:8.1f} ms the longest call beside a row",
        flush=True,
      )


if __name__ == "__main__":
  main()
