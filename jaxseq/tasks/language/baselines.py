"""Bits per token of texts by counting, for networks to beat.

An n-gram model is interpolated by the rule of Witten and Bell (1991): a context
counts against shorter ones as often as it has occurred, and the shorter ones
as often as it had a token after it for the first time.
"""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

# Maximum number of training tokens that are counted, the first ones.
_MOST = 2**22
# Maximum number of tokens of a context.
_ORDERS = 5
# Runs of tokens are numbers below this.
_CODES = 2**62


class _Counts(NamedTuple):
  """Runs of a length, and their contexts, in sorted order.

  Attributes:
    runs: (runs,) int64, codes of all runs.
    counts: (runs,) how often each occurs.
    contexts: (contexts,) codes of the runs without their last tokens.
    total: (contexts,) how often each context occurs.
    kinds: (contexts,) how many different tokens follow each.
  """

  runs: np.ndarray
  counts: np.ndarray
  contexts: np.ndarray
  total: np.ndarray
  kinds: np.ndarray


def _codes(tokens, order, size):
  """The codes of the runs of order + 1 tokens, one for each last token."""
  codes = tokens[order:].astype(np.int64)
  for back in range(1, order + 1):
    codes += tokens[order - back : -back].astype(np.int64) * size**back
  return codes


def _counted(tokens, order, size):
  """Counts all runs of order + 1 tokens."""
  runs, counts = np.unique(_codes(tokens, order, size), return_counts=True)
  # A context is the leading digits, so that equal ones are neighbors.
  contexts, begins = np.unique(runs // size, return_index=True)
  total = np.add.reduceat(counts, begins)
  kinds = np.diff(np.append(begins, len(runs)))
  return _Counts(runs, counts, contexts, total, kinds)


def _found(values, keys, wanted):
  """The values of wanted keys; 0 for those that are not there."""
  place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
  return np.where(keys[place] == wanted, values[place], 0)


def witten_bell(
  train: np.ndarray, text: np.ndarray, size: int, orders: int = _ORDERS
) -> list[float]:
  """Returns the bits per token of a text with contexts of 0, 1, ... tokens.

  Args:
    train: (n,) tokens that are counted.
    text: (m,) tokens that are scored, at the beginning with shorter contexts.
    size: number of different tokens.
    orders: tokens of the longest context; fewer if runs of them have no code.
  """
  probability = np.full(len(text), 1 / size)
  bits = []
  for order in range(orders + 1):
    too_short = min(len(train), len(text)) <= order
    if order and (too_short or size ** (order + 1) >= _CODES):
      break
    known = _counted(train, order, size)
    codes = _codes(text, order, size)
    count = _found(known.counts, known.runs, codes)
    total = _found(known.total, known.contexts, codes // size)
    kinds = _found(known.kinds, known.contexts, codes // size)
    lower = probability[order:]
    # An unknown context leaves the probability as it is.
    interpolated = (count + kinds * lower) / np.maximum(total + kinds, 1)
    probability[order:] = np.where(total > 0, interpolated, lower)
    bits.append(float(-np.log2(probability).mean()))
  return bits


def rows(corpus: Any, part: str) -> Mapping[str, Mapping[str, float]]:
  """Returns the bits per token of frequencies, and of the best contexts.

  The length of the contexts is the best on the validation part. Contexts do not
  end where documents do.

  Args:
    corpus: a `language.Corpus`.
    part: "valid", or "test" for both parts.
  """
  size = corpus.vocab_size
  train = np.asarray(corpus.train.tokens[:_MOST])
  parts = {"bits_per_token": corpus.valid.tokens}
  if part == "test":
    parts["test_bits"] = corpus.test.tokens
  bits = {
    name: witten_bell(train, np.asarray(text), size)
    for name, text in parts.items()
  }
  best = int(np.argmin(bits["bits_per_token"]))
  labels = {"frequencies": 0, f"n-grams (Witten-Bell), order {best}": best}
  return {
    label: {name: values[order] for name, values in bits.items()}
    for label, order in labels.items()
    if all(order < len(values) for values in bits.values())
  }
