"""Many clients of `experiments.serve` at once, beside one after the other.

  python -m benchmarks.serving --checkpoint=DIR/ARM
  python -m benchmarks.serving --checkpoint=DIR/ARM --clients 1 16 64 256

Starts the server in a process of its own, and asks it for continuations with
the public client library `openai`, by the given numbers of clients at a time;
one is one by one. Prompts are beginnings of the King James Bible's verses, and
the lengths are ragged. Prints requests and tokens per second, and the median
and the 99th percentile of the seconds that an answer takes. Every answer is
compared with what `generation.generate` gives: none may be lost or another.
"""

import argparse
import asyncio
import contextlib
import pathlib
import re
import subprocess
import sys
import time

import jax
import numpy as np
import openai

from benchmarks import timing
from experiments import serve
from jaxseq import generation
from jaxseq.data import text


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
  parser.add_argument("--clients", type=int, nargs="+", default=[1, 64])
  parser.add_argument("--requests", type=int, default=192)
  parser.add_argument("--length", type=int, default=48, help="mean tokens")
  parser.add_argument("--slots", type=int, default=32)
  parser.add_argument("--temperature", type=float, default=0.8)
  return parser.parse_args()


def _requests(flags):
  """Prompts, and the most tokens of each answer."""
  rng = np.random.default_rng(0)
  verses = text.kjv_bytes().decode().splitlines()
  chosen = rng.choice(len(verses), flags.requests, replace=False)
  prompts = [verses[i][: int(rng.integers(4, 80))] for i in chosen]
  lengths = 1 + rng.exponential(flags.length, flags.requests).astype(int)
  return prompts, np.minimum(lengths, 512).tolist()


@contextlib.contextmanager
def _server(flags):
  """Runs the server; yields its address."""
  process = subprocess.Popen(
    [
      *(sys.executable, "-m", "experiments.serve", "--port=0"),
      f"--checkpoint={flags.checkpoint}",
      f"--slots={flags.slots}",
    ],
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    for line in process.stderr:
      found = re.search(r"running on (http://\S+)", line)
      if found:
        break
    else:
      raise SystemExit("the server has not started")
    yield found.group(1)
  finally:
    process.terminate()
    process.communicate()


async def _ask(address, flags, prompts, lengths, clients):
  """Returns the answers, the seconds of each, and of all."""
  gate = asyncio.Semaphore(clients)

  async def one(client, i):
    async with gate:
      start = time.perf_counter()
      answer = await client.completions.create(
        model="",
        prompt=prompts[i],
        max_tokens=lengths[i],
        temperature=flags.temperature,
        seed=i,
      )
      return answer, time.perf_counter() - start

  async with openai.AsyncOpenAI(
    base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=600
  ) as client:
    start = time.perf_counter()
    jobs = [one(client, i) for i in range(len(prompts))]
    answers, seconds = zip(*await asyncio.gather(*jobs))
    return answers, seconds, time.perf_counter() - start


def _expected(flags, prompts, lengths):
  """Texts of whole batches."""
  network, variables, codec, *_ = serve.load(flags.checkpoint)
  tokens, _ = generation.generate(
    network,
    variables,
    [codec.encode(prompt) for prompt in prompts],
    max(lengths),
    jax.random.key(0),
    seeds=range(len(prompts)),
    temperature=flags.temperature,
  )
  rows = zip(np.asarray(tokens), lengths)
  return [codec.decode(row[:length]) for row, length in rows]


def main():
  flags = _parse()
  print(timing.machine())
  prompts, lengths = _requests(flags)
  expected = _expected(flags, prompts, lengths)
  print("clients  requests/s  tokens/s    p50 s   p99 s")
  with _server(flags) as address:
    # Compiles what there is.
    asyncio.run(_ask(address, flags, prompts[:4], lengths[:4], 4))
    for clients in flags.clients:
      answers, seconds, total = asyncio.run(
        _ask(address, flags, prompts, lengths, clients)
      )
      found = [answer.choices[0].text for answer in answers]
      if found != expected:
        wrong = sum(a != b for a, b in zip(found, expected))
        raise SystemExit(f"{wrong} answers are not those of whole batches")
      p50, p99 = np.percentile(seconds, [50, 99])
      print(
        f"{clients:7d} {len(prompts) / total:11.2f} "
        f"{sum(lengths) / total:9.0f} {p50:8.2f} {p99:7.2f}",
        flush=True,
      )


if __name__ == "__main__":
  main()
