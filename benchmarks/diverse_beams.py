r"""Diverse beams beside plain ones and samples, all of equal width.

  python -m experiments.language_model --workdir=runs/kjv_small \
    --config=configs/language_model/kjv.py:small
  python -m benchmarks.diverse_beams runs/kjv_small/gru/model.safetensors

A model of bytes continues prompts from the test text of the King James Bible.
Printed for each way to continue them, as means over prompts: the share of
different pairs and fours of bytes among all of a prompt's continuations
("distinct"); the oracle score, that of the continuation which is most like the
true one, by BLEU of up to four bytes; BLEU of the most probable continuation;
its log probability in nats a byte; in what share of the prompts it is at least
as probable as plain beams' (but for 1e-3 nats); and CPU seconds of all prompts.
"""

import argparse
import collections
import functools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
import jaxseq
from jaxseq import data
from jaxseq import generation
from jaxseq.tasks import language

_STRENGTHS = (0.0, 0.2, 0.5, 0.8)


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("model", help="file of a model of bytes")
  parser.add_argument("--prompts", type=int, default=200)
  parser.add_argument("--before", type=int, default=64, help="bytes of each")
  parser.add_argument("--length", type=int, default=40, help="bytes to write")
  parser.add_argument("--beams", type=int, default=6)
  parser.add_argument("--seed", type=int, default=0)
  return parser.parse_args()


def distinct(texts: np.ndarray, size: int) -> float:
  """Returns the share of different runs of tokens among all of several texts.

  Args:
    texts: (texts, length) tokens.
    size: tokens of a run.
  """
  runs = [
    tuple(row[i : i + size])
    for row in texts.tolist()
    for i in range(len(row) - size + 1)
  ]
  return len(set(runs)) / len(runs)


def bleu(text: np.ndarray, reference: np.ndarray, most: int = 4) -> float:
  """Returns BLEU of two texts of one length, with one added to the counts."""
  logs = 0.0
  for size in range(1, most + 1):
    counts, expected = (
      collections.Counter(
        tuple(x[i : i + size]) for i in range(len(x) - size + 1)
      )
      for x in (text.tolist(), reference.tolist())
    )
    hits = sum((counts & expected).values())
    logs += math.log((hits + 1) / (sum(counts.values()) + 1))
  return math.exp(logs / most)


def _prompts(flags):
  """Prompts of the test text, and what follows them."""
  text = language.from_splits(data.load("kjv")).test.tokens
  size = flags.before + flags.length
  rng = np.random.default_rng(flags.seed)
  starts = rng.choice(len(text) - size, flags.prompts, replace=False)
  rows = np.stack([text[start : start + size] for start in starts])
  return np.split(rows.astype(np.int32), [flags.before], axis=1)


def _row(texts, log_prob, plain, reference, seconds):
  """The numbers of a way to continue prompts."""
  best = np.argmax(log_prob, axis=1)
  scores = np.array(
    [
      [bleu(text, true) for text in each]
      for each, true in zip(texts, reference)
    ]
  )
  first = np.max(log_prob, axis=1)
  return (
    np.mean([distinct(each, 2) for each in texts]),
    np.mean([distinct(each, 4) for each in texts]),
    scores.max(axis=1).mean(),
    scores[np.arange(len(best)), best].mean(),
    first.mean() / texts.shape[-1],
    np.mean(first >= plain - 1e-3),
    seconds,
  )


def main():
  flags = _parse()
  model = jaxseq.load(flags.model)
  network, variables = model.network, jax.device_put(model.variables)
  prompts, reference = _prompts(flags)
  prefix = generation.read_prefix(network, variables, jnp.asarray(prompts))

  def timed(function):
    jax.block_until_ready(function())
    start = time.process_time()
    found = jax.block_until_ready(function())
    return found, time.process_time() - start

  def search(**options):
    search = functools.partial(
      generation.beam_search,
      *(network, variables, prefix, flags.length),
      beams=flags.beams,
      **options,
    )
    found, seconds = timed(search)
    shape = len(prompts), flags.beams
    tokens = np.asarray(found.tokens).reshape(*shape, flags.length)
    return tokens, np.asarray(found.log_prob).reshape(shape), seconds

  @jax.jit
  def log_probs(tokens):
    whole = jnp.concatenate(
      [
        jnp.broadcast_to(prompts[:, None], (*tokens.shape[:2], flags.before)),
        tokens,
      ],
      axis=-1,
    )
    logits, _ = network.apply(variables, whole[..., :-1])
    logs = jax.nn.log_softmax(logits[..., flags.before - 1 :, :])
    return jnp.take_along_axis(logs, tokens[..., None], -1)[..., 0].sum(-1)

  def sample():
    return generation.continue_prefix(
      *(network, variables, prefix, flags.length, jax.random.key(flags.seed)),
      count=flags.beams,
    )[0]

  tokens, log_prob, seconds = search()
  plain = log_prob.max(axis=1)
  rows = {"beams": _row(tokens, log_prob, plain, reference, seconds)}
  for groups in (flags.beams // 2, flags.beams):
    # Of groups of one beam all continuations carry the same penalties.
    for carry in (False, True)[: 1 + (groups < flags.beams)]:
      for strength in _STRENGTHS[carry:]:
        tokens, log_prob, seconds = search(
          groups=groups, strength=strength, carry_penalty=carry
        )
        name = f"{groups} groups, {strength}{', carried' if carry else ''}"
        rows[name] = _row(tokens, log_prob, plain, reference, seconds)
  tokens, seconds = timed(sample)
  tokens = jnp.moveaxis(tokens, 0, 1)
  rows["samples"] = _row(
    np.asarray(tokens), np.asarray(log_probs(tokens)), plain, reference, seconds
  )
  print(timing.machine())
  titles = "distinct-2", "distinct-4", "oracle", "first", "nats", "better", "s"
  print(f"{'':<24}" + "".join(f"{title:>11}" for title in titles))
  for name, row in rows.items():
    print(f"{name:<24}" + "".join(f"{x:11.3f}" for x in row))


if __name__ == "__main__":
  main()
