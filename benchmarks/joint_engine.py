"""Drafts and a cache of prefixes in one engine: neither, each, and both.

  python -m experiments.language_model --workdir=DIR \
    --config=configs/language_model/recycling.py:engine
  NPROC=1 python -m benchmarks.joint_engine python_source=DIR

The argument is a text of `jaxseq.data` and the directory of a run on it, all of
whose models continue the same prompts: some long beginnings, which are pieces
of the test text, each with several ends. Printed are the tokens that come with
a pass of the network for a row, the share of prompts whose beginning was found
in the cache, the tokens of prompts that were read, and the tokens that are
drawn in a second of the processor, reading included, the best of some turns.
Drafts are those of Token Recycling. The texts are compared: those of all four
ways are the same at any temperature, unless two tokens are nearer to each other
than float32 tells; how many differ is the last column.
"""

import argparse
import pathlib
import time

import numpy as np

from benchmarks import timing
import jaxseq
from jaxseq import data
from jaxseq import generation
from jaxseq.generation import recycling
from jaxseq.tasks import language

_WAYS = {"none": (), "drafts": ("drafts",), "cache": ("cache",)}
_WAYS["both"] = ("drafts", "cache")


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("run", metavar="TEXT=DIRECTORY")
  parser.add_argument("--stems", type=int, default=4, help="beginnings")
  parser.add_argument("--stem", type=int, default=512, help="their tokens")
  parser.add_argument("--ends", type=int, default=6, help="of each beginning")
  parser.add_argument("--end", type=int, default=32, help="their tokens")
  parser.add_argument("--length", type=int, default=64, help="tokens to draw")
  parser.add_argument("--slots", type=int, default=4)
  parser.add_argument(
    "--temperatures", type=float, nargs="+", default=[0.0, 0.7]
  )
  parser.add_argument("--repeats", type=int, default=3)
  return parser.parse_args()


def requests(
  text: np.ndarray, flags: argparse.Namespace, temperature: float
) -> list[generation.Request]:
  """Returns beginnings with ends, all first ends before all second ones."""
  count = flags.stems * flags.ends
  size = max(flags.stem, flags.end)
  places = np.linspace(0, len(text) - size, flags.stems + count, dtype=int)
  sampling = generation.Sampling(temperature=temperature)
  prompts = [
    np.concatenate(
      [
        text[(begin := places[i % flags.stems]) : begin + flags.stem],
        text[(end := places[flags.stems + i]) : end + flags.end],
      ]
    )
    for i in range(count)
  ]
  return [
    generation.Request(prompt, flags.length, sampling=sampling, seed=i)
    for i, prompt in enumerate(prompts)
  ]


def run(
  model: jaxseq.models.Model,
  asked: list[generation.Request],
  slots: int,
  way: tuple[str, ...],
) -> tuple[list[np.ndarray], dict[str, float]]:
  """Returns the texts of a new engine, and its numbers."""
  cache = generation.PrefixCache(2**28) if "cache" in way else None
  draft = None
  if "drafts" in way:
    draft = recycling.Recycling(recycling.SMALL_TREE, context=2)
  engine = generation.Engine(
    model.network,
    model.variables,
    generation.EngineConfig(slots=slots, lines=2, chunk=64, steps=8),
    cache=cache,
    drafts=draft,
  )
  engine.warm_up()
  start = time.process_time()
  rows = engine.run(asked)
  seconds = time.process_time() - start
  prompts = sum(len(each.prompt) for each in asked)
  numbers = {
    "tokens": engine.drawn / engine.passes,
    "hits": cache.hits / (cache.hits + cache.misses) if cache else 0.0,
    "read": engine.read / prompts,
    "rate": engine.drawn / seconds,
  }
  return [row.tokens for (row,) in rows], numbers


def compare(
  model: jaxseq.models.Model,
  asked: list[generation.Request],
  slots: int,
  repeats: int,
) -> dict[str, dict[str, float]]:
  """Returns the numbers of the ways, in turns, with the best of the rates."""
  best: dict[str, dict[str, float]] = {}
  plain: list[np.ndarray] = []
  for _ in range(repeats):
    for name, way in _WAYS.items():
      texts, numbers = run(model, asked, slots, way)
      plain = plain or texts
      same = [np.array_equal(a, b) for a, b in zip(plain, texts, strict=True)]
      numbers["differ"] = len(same) - sum(same)
      known = best.setdefault(name, numbers)
      known["rate"] = max(known["rate"], numbers["rate"])
  return best


def main():
  flags = _parse()
  name, _, directory = flags.run.partition("=")
  text = np.asarray(language.from_splits(data.load(name)).test.tokens)
  print(timing.machine())
  print(
    f"{'network':<10} {'T':>4} {'way':<7} {'tokens':>6} {'hits':>6} "
    f"{'read':>6} {'tokens/s':>9} {'differ':>6}"
  )
  for path in sorted(pathlib.Path(directory).glob("*/model.safetensors")):
    model = jaxseq.load(path)
    for temperature in flags.temperatures:
      asked = requests(text.reshape(-1), flags, temperature)
      rows = compare(model, asked, flags.slots, flags.repeats)
      for way, numbers in rows.items():
        print(
          f"{path.parent.name:<10} {temperature:>4} {way:<7} "
          f"{numbers['tokens']:6.2f} {numbers['hits']:6.0%} "
          f"{numbers['read']:6.0%} {numbers['rate']:9.0f} "
          f"{numbers['differ']:6.0f}",
          flush=True,
        )


if __name__ == "__main__":
  main()
