r"""Verses of the King James Bible, found by pieces of them, beside BM25.

  python -m benchmarks.retrieval
  python -m experiments.language_model --workdir=runs/kjv_small \
    --config=configs/language_model/kjv.py:small
  python -m benchmarks.retrieval --model runs/kjv_small/gru/model.safetensors

The first command draws pieces of a verse at random places and looks for the
verse among all: by an FM-index, with the scores of SEAL for keys and documents,
each piece as likely as not; and by BM25 of the pieces' words, and of runs of
five bytes. With a model the query is the first half of a verse of the test
text, and what is looked for its second half, among the second halves of all
verses: by what beams write that are constrained to these halves, each beginning
of theirs a key with the model's own probability of it; and by BM25 of the first
half's words. Printed is the share of the queries whose verse, or one with the
same text, is first, or among the first 10 or 100; of equal scores the wrong
ones count as first. All that beams write is looked up in the index.
"""

import argparse
import collections
import math
import re
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from experiments.retrieval import ngram_scores
import jaxseq
from jaxseq import generation
from jaxseq.data import fm_index
from jaxseq.data import text
from jaxseq.generation import substrings

_RANKS = (1, 10, 100)


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--model", help="file of a model of bytes")
  parser.add_argument("--queries", type=int, default=200)
  parser.add_argument("--pieces", type=int, default=10, help="of a verse")
  parser.add_argument("--size", type=int, default=12, help="bytes of a piece")
  parser.add_argument("--beams", type=int, default=15)
  parser.add_argument("--length", type=int, default=16, help="bytes of a beam")
  parser.add_argument("--shortest", type=int, default=4, help="bytes of a key")
  parser.add_argument("--seed", type=int, default=0)
  return parser.parse_args()


class BM25:
  """Okapi BM25 (Robertson and Zaragoza, 2009) of lists of terms.

  Args:
    documents: terms of each.
    k1: saturation of counts.
    b: share of the lengths' influence.
  """

  def __init__(self, documents, k1: float = 1.2, b: float = 0.75):
    places = collections.defaultdict(list)
    lengths = np.array([len(document) for document in documents])
    for number, document in enumerate(documents):
      for term, count in collections.Counter(document).items():
        places[term].append((number, count))
    norm = k1 * (1 - b + b * lengths / lengths.mean())
    self.count = len(documents)
    self.weights = {}
    for term, found in places.items():
      number, count = np.array(found).T
      idf = math.log(1 + (self.count - len(found) + 0.5) / (len(found) + 0.5))
      weight = idf * count * (k1 + 1) / (count + norm[number])
      self.weights[term] = number, weight

  def scores(self, terms) -> np.ndarray:
    """Returns the score of each document for a query's terms."""
    scores = np.zeros(self.count)
    for term in terms:
      if term in self.weights:
        number, weight = self.weights[term]
        scores[number] += weight
    return scores


def words(content: bytes) -> list[bytes]:
  """Returns the words of a text, in lower case."""
  return re.findall(rb"[a-z0-9]+", content.lower())


def runs(content: bytes, size: int = 5) -> list[bytes]:
  """Returns all runs of some bytes."""
  return [content[i : i + size] for i in range(len(content) - size + 1)]


def rank(scores: np.ndarray, right: np.ndarray) -> int:
  """Returns the place of the best right document, behind equal wrong ones."""
  best = scores[right].max()
  wrong = np.ones(len(scores), bool)
  wrong[right] = False
  return 1 + int(np.sum(scores[wrong] >= best))


def _verses():
  """Places and texts of all verses."""
  lines = text.kjv_bytes().splitlines()
  places, contents = zip(*(line.split(b" ", 1) for line in lines))
  return places, [content.strip() for content in contents]


def _same(contents):
  """Numbers of the documents with each text."""
  same = collections.defaultdict(list)
  for number, content in enumerate(contents):
    same[content].append(number)
  return {content: np.array(found) for content, found in same.items()}


def _dense(found, count):
  """Scores of all documents; those that no key is in come last."""
  scores = np.full(count, -1.0)
  scores[list(found)] = list(found.values())
  return scores


def _recalls(ranks):
  return [np.mean([found <= most for found in ranks]) for most in _RANKS]


def _table(title, ranks, seconds):
  print(f"\n{title}")
  print(" " * 24 + "".join(f"{f'in {m}':>8}" for m in _RANKS) + "   ms/query")
  for name, found in ranks.items():
    cells = "".join(f"{x:8.3f}" for x in _recalls(found))
    print(f"{name:<24}{cells}{1000 * seconds[name] / len(found):11.1f}")


def _from_pieces(flags, contents):
  """Finds verses by random pieces of them."""
  start = time.process_time()
  index = fm_index.build(contents, 256)
  print(
    f"index of {len(contents)} verses, {len(index)} symbols: "
    f"{time.process_time() - start:.1f} CPU s"
  )
  with tempfile.TemporaryDirectory() as folder:
    index.save(folder)
    index = fm_index.load(folder)
    held = sum(
      getattr(index, name).nbytes
      for name in ("text", "suffix_array", "bwt", "starts", "checkpoints")
    )
    print(f"{held / 1e6:.1f} MB, memory-mapped")
    same = _same(contents)
    by_words = BM25([words(content) for content in contents])
    by_runs = BM25([runs(content) for content in contents])
    long = [i for i, c in enumerate(contents) if len(c) >= 2 * flags.size]
    rng = np.random.default_rng(flags.seed)
    ranks, seconds = collections.defaultdict(list), collections.Counter()
    for number in rng.choice(long, flags.queries, replace=False):
      content = contents[number]
      starts = rng.integers(0, len(content) - flags.size + 1, flags.pieces)
      pieces = [content[i : i + flags.size] for i in sorted(set(starts))]

      def note(name, begin, scores, content=content):
        seconds[name] += time.process_time() - begin
        ranks[name].append(rank(scores, same[content]))

      begin = time.process_time()
      keys = ngram_scores.score_keys(index, pieces, [-np.log(2)] * len(pieces))
      found = ngram_scores.score_documents(index, pieces, keys)
      note("FM-index", begin, _dense(found, len(contents)))
      begin = time.process_time()
      terms = [word for piece in pieces for word in words(piece)]
      note("BM25, words", begin, by_words.scores(terms))
      begin = time.process_time()
      terms = [run for piece in pieces for run in runs(piece)]
      note("BM25, five bytes", begin, by_runs.scores(terms))
  title = f"verses from {flags.pieces} pieces of {flags.size} bytes"
  _table(title, ranks, seconds)


def _halves(contents):
  """First and second halves of verses, parted at the space next the middle."""
  found = []
  for content in contents:
    spaces = [i for i, byte in enumerate(content) if byte == ord(" ")]
    middle = len(content) // 2
    cut = min(spaces or [middle], key=lambda i: abs(i - middle))
    found.append((content[:cut], content[cut:]))
  return zip(*found)


def _from_model(flags, places, contents):
  """Finds second halves of verses by what a model writes after the first."""
  model = jaxseq.load(flags.model)
  network, variables = model.network, jax.device_put(model.variables)
  firsts, seconds_of = _halves(contents)
  index = fm_index.build(seconds_of, 256)
  constraint = substrings.within(index)
  # The last 5 % of the text, which the model was not trained on.
  late = range(len(contents) - len(contents) // 20, len(contents))
  long = [i for i in late if len(contents[i]) >= 60]
  rng = np.random.default_rng(flags.seed)
  numbers = np.sort(rng.choice(long, flags.queries, replace=False))
  prompts = [list(b"\n" + places[i] + b" " + firsts[i]) for i in numbers]
  prefix = generation.read_prefix(network, variables, prompts)
  same = _same(seconds_of)

  @jax.jit
  def log_probs(prefix, tokens):
    """Log probabilities of all beginnings of beams, without the constraint."""
    states = jax.tree.map(
      lambda x: jnp.repeat(x[:, None], flags.beams, axis=1), prefix.states
    )
    logits, _ = network.apply(variables, tokens[..., :-1], states)
    first = jnp.broadcast_to(
      prefix.logits[:, None, None], (*tokens.shape[:2], 1, 256)
    )
    logs = jax.nn.log_softmax(jnp.concatenate([first, logits], axis=2))
    each = jnp.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]
    return jnp.cumsum(each, axis=-1)

  ranks, seconds = {}, {}
  searches = {
    "plain": {},
    "5 groups, 0.5": {"groups": 5, "strength": 0.5},
    "masked, not normalized": {"renormalize": False},
  }
  occurring = written = 0
  for name, options in searches.items():
    begin = time.process_time()
    found = generation.beam_search(
      *(network, variables, prefix, flags.length),
      beams=flags.beams,
      constraint=constraint,
      end_at_match=False,
      **options,
    )
    beams = generation.ranked(found)
    logs = np.asarray(log_probs(prefix, beams.tokens), np.float64)
    there = np.asarray(beams.log_prob) > -np.inf
    ranks[name] = []
    for row, number in enumerate(numbers):
      keys = {}
      for tokens, log, ok in zip(
        np.asarray(beams.tokens[row], np.uint8), logs[row], there[row]
      ):
        for size in range(flags.shortest, flags.length + 1):
          if ok:
            keys[bytes(tokens[:size])] = min(log[size - 1], 0.0)
      occurring += sum(index.count(key) > 0 for key in keys)
      written += len(keys)
      scores = ngram_scores.score_keys(index, list(keys), list(keys.values()))
      scored = ngram_scores.score_documents(index, list(keys), scores)
      scores = _dense(scored, len(contents))
      ranks[name].append(rank(scores, same[seconds_of[number]]))
    seconds[name] = time.process_time() - begin
  bm25 = BM25([words(content) for content in seconds_of])
  begin = time.process_time()
  ranks["BM25, words"] = [
    rank(bm25.scores(words(firsts[i])), same[seconds_of[i]]) for i in numbers
  ]
  seconds["BM25, words"] = time.process_time() - begin
  print(f"\n{occurring} of {written} keys occur in the corpus")
  _table("second halves of verses from the first", ranks, seconds)


def main():
  flags = _parse()
  print(timing.machine())
  places, contents = _verses()
  if flags.model is None:
    _from_pieces(flags, contents)
  else:
    _from_model(flags, places, contents)


if __name__ == "__main__":
  main()
