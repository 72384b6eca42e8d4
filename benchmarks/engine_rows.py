"""Tokens a second of an engine at several numbers of rows, of two trees.

  python -m benchmarks.engine_rows --trees ../before .
  python -m benchmarks.engine_rows --mixers gru attention --rows 1 4 16

Each tree runs in a process of its own, one after the other in turn; `--trees`
are directories that contain `jaxseq`. Every row continues a prompt of
`--prompt` tokens by `--length` tokens; the time is that from the first drawn
tokens to the last. The best of the rounds is printed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

_VOCAB = 256


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--trees", nargs="+", type=pathlib.Path, default=["."])
  parser.add_argument("--mixers", nargs="+", default=["gru", "attention"])
  parser.add_argument("--rows", nargs="+", type=int, default=[1, 4, 16])
  parser.add_argument("--prompt", nargs="+", type=int, default=[16, 1100])
  parser.add_argument("--length", type=int, default=64)
  parser.add_argument("--width", type=int, default=128, help="d_model")
  parser.add_argument("--layers", type=int, default=4)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--measure", help=argparse.SUPPRESS)
  return parser.parse_args()


def _engine(mixer, rows, flags):
  import jax

  from jaxseq import generation
  from jaxseq import nn

  stack = nn.StackConfig(mixer, d_model=flags.width, num_layers=flags.layers)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), _VOCAB, _VOCAB)
  first = jax.numpy.zeros((1, 4), "int32")
  variables = jax.jit(network.init)(jax.random.key(0), first)
  config = generation.EngineConfig(slots=rows, lines=rows)
  return generation.Engine(network, variables, config)


def _measure(mixer, rows, flags):
  """Best tokens a second, for each length of prompts."""
  import numpy as np

  from jaxseq import generation

  engine, found = _engine(mixer, rows, flags), []
  for size in flags.prompt:
    draw, best = np.random.default_rng(0), 0.0
    for _ in range(1 + flags.rounds):
      for _ in range(rows):
        prompt = draw.integers(0, _VOCAB, size)
        engine.submit(generation.Request(prompt, flags.length))
      drawn, begun = 0, 0.0
      while engine.busy:
        events = engine.advance()
        now = time.perf_counter()
        if not begun and events:
          begun = now  # These tokens came with the prompts.
        else:
          drawn += sum(len(event.tokens) for event in events)
      best = max(best, drawn / (now - begun))
    found.append(best)
  return found


def _run(tree, mixer, rows):
  """Runs this file's measurement with the package of a tree."""
  paths = f"{tree.resolve()}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
  output = subprocess.run(
    [sys.executable, __file__, *sys.argv[1:], f"--measure={mixer}:{rows}"],
    env=os.environ | {"PYTHONPATH": paths},
    stdout=subprocess.PIPE,
    check=True,
    text=True,
  ).stdout
  return json.loads(output.splitlines()[-1])


def main():
  flags = _parse()
  if flags.measure:
    mixer, rows = flags.measure.split(":")
    print(json.dumps(_measure(mixer, int(rows), flags)))
    return
  trees = [pathlib.Path(tree) for tree in flags.trees]
  print("mixer        rows prompt  tokens/s of each tree")
  for mixer in flags.mixers:
    for rows in flags.rows:
      found = zip(*(_run(tree, mixer, rows) for tree in trees), strict=True)
      for size, each in zip(flags.prompt, found, strict=True):
        numbers = " ".join(f"{one:10.0f}" for one in each)
        print(f"{mixer:<12} {rows:4} {size:6} {numbers}", flush=True)


if __name__ == "__main__":
  main()
