"""Scores of token runs as keys to documents, and of the documents.

The scores of SEAL (arXiv:2204.10628, section 3.3), as its code computes them
with default options and without unigrams. A key scores higher the likelier it
is by the model and the rarer it is in the corpus.
"""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from jaxseq import validate
from jaxseq.data import fm_index

Key = tuple[int, ...]


def score_keys(
  index: fm_index.FMIndex,
  keys: Sequence[Sequence[int]],
  log_prob: Sequence[float] | np.ndarray,
  *,
  alpha: float = 2.0,
  smoothing: float = 5.0,
) -> np.ndarray:
  """Scores keys by their odds in the model against those in the corpus.

  With l the log probability of a key and c = ln((count + smoothing) /
  (tokens + smoothing)), its score is

      max(0, l + ln(1 - e^c) - c - ln(1 - e^l)) ** alpha.

  Args:
    index: index of the corpus.
    keys: runs of tokens.
    log_prob: (keys,) log probability of each by the model, at most 0.
    alpha: exponent.
    smoothing: added to counts.

  Returns:
    Scores (keys,) float64; 0 for keys that are not in the corpus.

  Raises:
    ValueError: if the numbers of keys and probabilities differ, or an option is
      out of range.
  """
  validate.number("alpha", alpha, 0)
  validate.number("smoothing", smoothing, 0)
  log_prob = np.asarray(log_prob, np.float64)
  validate.shape("log_prob", log_prob, (len(keys),))
  if len(log_prob) and not log_prob.max() <= 0:
    raise validate.error("log_prob", log_prob.max(), "numbers of at most 0")
  counts = np.array([index.count(key) for key in keys], np.int64)
  tokens = int(np.sum(index.lengths))
  # As published, so that the odds of probability 1 are finite.
  model = log_prob - 1e-10
  corpus = np.log((counts + smoothing) / (tokens + smoothing))
  odds = model + _log_rest(corpus) - corpus - _log_rest(model)
  return np.where(counts > 0, np.maximum(odds, 0) ** alpha, 0.0)


def score_documents(
  index: fm_index.FMIndex,
  keys: Sequence[Sequence[int]],
  scores: Sequence[float] | np.ndarray,
  *,
  beta: float = 0.8,
  end_token: int | None = None,
  most: int = 500,
  rare: int = 1500,
) -> dict[int, float]:
  """Scores documents by the keys they contain.

  Keys are processed by score, best first, and ties in the order of their
  tokens. Each claims its places in a document that no better key has claimed,
  and counts once if it claims any. Tokens of a key that also occur in better
  keys of the document are discounted: with share r of its distinct tokens new,
  it counts (1 - beta + beta * r) times its score.

  Args:
    index: index of the corpus.
    keys: runs of tokens; the last of equal ones counts.
    scores: (keys,) not negative, from `score_keys`.
    beta: discount of repeated tokens, from 0 to 1.
    end_token: the token that ends every document, which the published code
      reads before the document instead; None if documents have none.
    most: number of documents scored in full: those with the best sums of rare
      keys, each at places that no better key has claimed.
    rare: keys that occur more often select no documents, but count in the
      documents that other keys select.

  Returns:
    The score of each document with a rare key, best first.

  Raises:
    ValueError: if the numbers of keys and scores differ, or an option is out of
      range.
  """
  validate.number("beta", beta, 0, 1)
  validate.all_positive(most=most, rare=rare)
  scores = np.asarray(scores, np.float64)
  validate.shape("scores", scores, (len(keys),))
  # Ties in the order of tokens; sorting is stable.
  worth = {
    tuple(map(int, key)): float(score)
    for key, score in zip(keys, scores)
    if score > 0 and len(key)
  }
  rows = {key: index.rows(key) for key in worth}
  # As published: documents are selected by scores alone, with ties in order.
  chosen = _first_stage(index, worth, rows, beta, most, rare)
  ordered = dict(sorted(worth.items(), key=lambda item: (-item[1], item[0])))
  occurrences: dict[int, list[tuple[Key, list[int]]]] = {d: [] for d in chosen}
  for key in ordered:
    starts_of = _starts(index, key, rows[key], end_token, occurrences)
    for document, starts in starts_of.items():
      occurrences[document].append((key, starts))
  totals = {
    document: _total(index, document, matches, ordered, beta)
    for document, matches in occurrences.items()
  }
  return dict(sorted(totals.items(), key=lambda item: -item[1]))


def _log_rest(log):
  """Computes ln(1 - e^log) accurately, even near 0."""
  return np.log(-np.expm1(log))


def _first_stage(index, worth, rows, beta, most, rare):
  """Returns the documents with the best sums of rare keys, best first."""
  taken: set[int] = set()
  sums: dict[int, dict[Key, float]] = {}
  for key, score in sorted(worth.items(), key=lambda item: -item[1]):
    low, high = rows[key]
    if high - low > rare:
      continue
    documents, ends = index.places(rows[key])
    bases = np.asarray(index.beginnings)[documents]
    for document, base, end in zip(
      documents.tolist(), bases.tolist(), ends.tolist()
    ):
      held = sums.setdefault(document, {})
      span = range(base + end - len(key) + 1, base + end + 1)
      if taken.isdisjoint(span):
        taken.update(span)
        held.setdefault(key, score)
  totals = {d: _discounted(held.items(), beta) for d, held in sums.items()}
  return sorted(totals, key=lambda document: -totals[document])[:most]


def _starts(index, key, rows, end_token, documents):
  """The start places of a key in each of some documents, as read."""
  places: dict[int, list[int]] = {}
  numbers, ends = index.places(rows)
  lengths = np.asarray(index.lengths)[numbers]
  starts = ends - len(key) + 1
  # Without separators a run may begin in another document.
  within = starts >= 0
  if end_token is not None:
    within &= ends < lengths - 1
    starts = starts + 1
  within &= np.isin(numbers, list(documents))
  for number, start in zip(numbers[within].tolist(), starts[within].tolist()):
    places.setdefault(number, []).append(start)
  if end_token is not None and key[0] == end_token:
    for number in documents:
      tokens = index.document(number)[:-1]
      if tuple(tokens[: len(key) - 1].tolist()) == key[1:]:
        places.setdefault(number, []).append(0)
  return {number: sorted(starts) for number, starts in places.items()}


def _total(index, document, matches, worth: Mapping[Key, float], beta):
  """Returns the score of a document from its matches, best key first."""
  free = np.ones(int(index.lengths[document]), bool)
  held = {}
  for key, starts in matches:
    for start in starts:
      span = slice(start, start + len(key))
      if free[span].all():
        free[span] = False
        held[key] = worth[key]
  return _discounted(held.items(), beta)


def _discounted(held, beta):
  """Sums the scores of keys, best first, discounting repeated tokens."""
  seen: set[int] = set()
  total = 0.0
  for key, score in held:
    tokens = set(key)
    share = len(tokens - seen) / len(tokens)
    total += score * (1 - beta + beta * share)
    seen |= tokens
  return total
