"""Models that count the symbols after a context: Markov chains and n-grams.

    model = suffix_models.Suffixes(train, classes, order=4)
    predictions = model.witten_bell(test)
    metrics = suffix_models.scores(predictions, targets)

A context is the symbols before a symbol, at most `order`; if there are fewer,
it starts at the beginning of the trace. Tax, Teinemaa & van Zelst
(arXiv:1811.00062) compare such models with networks on event logs.

Their released scripts differ from the definitions in two ways. Their score
omits symbols of probability 0, so that a symbol that was never seen after a
context costs less if the model is more certain of another one: `scores` returns
it as "released", with the Brier score. And if a context is unknown, their
all-order Markov model looks for shorter ones only at the beginning of a trace:
`back_off(released=True)`.
"""

import numpy as np

from jaxseq import data
from jaxseq import validate

# Contexts are 64-bit integers.
_LARGEST = 2**62


class Suffixes:
  """Counts of the symbols after each context, for all orders up to `order`.

  Args:
    train: traces as from `data.sources.logs.make_splits`: inputs (n, time), 0
      and then symbols from 1 on; targets (n, time), the next symbols.
    classes: number of possible next symbols, including the end.
    order: maximum number of symbols of a context.

  Raises:
    ValueError: if there are more than 2^62 contexts.
  """

  def __init__(self, train: data.ArrayDataset, classes: int, order: int):
    validate.integer("order", order, 1)
    if classes**order > _LARGEST:
      expected = f"so few that {classes} symbols have less than 2^62 contexts"
      raise validate.error("order", order, expected)
    self.classes, self.order = classes, order
    targets = targets_of(train)
    self._tables = []
    for length in range(order + 1):
      known, rows = np.unique(self._keys(train, length), return_inverse=True)
      counts = np.zeros((len(known), classes))
      np.add.at(counts, (rows, targets), 1)
      self._tables.append((known, counts))

  def chain(self, traces: data.ArrayDataset) -> np.ndarray:
    """Returns the Markov chain's predictions (n, classes); 0 if unknown."""
    return _shares(self._counts(self.order, self._keys(traces, self.order)))

  def back_off(
    self, traces: data.ArrayDataset, *, released: bool = False
  ) -> np.ndarray:
    """Returns the shares after the longest known context.

    Args:
      traces: traces, as in training.
      released: whether contexts shorter than `order` are known only at the
        beginning of a trace, as in the released script.

    Returns:
      (n, classes), of all symbols and ends of the traces.
    """
    counts = self._counts(self.order, self._keys(traces, self.order))
    for length in reversed(range(self.order)):
      missing = counts.sum(axis=1) == 0
      keys = self._keys(traces, length)[missing]
      table = self.order if released else length
      counts[missing] = self._counts(table, keys)
    return _shares(counts)

  def witten_bell(self, traces: data.ArrayDataset) -> np.ndarray:
    """Returns n-grams' predictions (n, classes), interpolated over all orders.

    The weight of a context is its count n over n + t, with t the number of
    distinct symbols that have followed it; the rest goes to the context that is
    one shorter, and finally to a uniform distribution. Witten & Bell, IEEE
    Transactions on Information Theory 37(4), 1991.
    """
    shares = np.full((1, self.classes), 1 / self.classes)
    for length in range(self.order + 1):
      counts = self._counts(length, self._keys(traces, length))
      kinds = (counts > 0).sum(axis=1, keepdims=True)
      total = np.maximum(counts.sum(axis=1, keepdims=True) + kinds, 1)
      rest = np.where(kinds > 0, kinds / total, 1)
      shares = counts / total + rest * shares
    return shares

  def _keys(self, traces, length):
    """The contexts of some length before all symbols, as integers."""
    keys = np.zeros(traces.inputs.shape, np.int64)
    for back in range(length):
      earlier = np.pad(traces.inputs, [(0, 0), (back, 0)]).astype(np.int64)
      keys = keys + earlier[:, : keys.shape[1]] * self.classes**back
    return keys[data.datasets.inside(traces)]

  def _counts(self, length, keys):
    """The counts (n, classes) after contexts, from the table of a length."""
    known, counts = self._tables[length]
    rows = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where((known[rows] == keys)[:, None], counts[rows], 0)


def targets_of(traces: data.ArrayDataset) -> np.ndarray:
  """Returns the targets (n,) of all traces, counted from 0."""
  return traces.targets[data.datasets.inside(traces)] - 1


def scores(predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
  """Returns the metrics of predictions.

  Args:
    predictions: (n, classes) probabilities; all 0 if the model has no
      prediction.
    targets: (n,) the symbols that followed.

  Returns:
    "brier", the mean of sum_c (p_c - y_c)^2; "released", the released score:
    the same over classes of a probability above 0, 1 if there is no such class,
    divided by the number of classes; "brier_mean", "brier" divided by it, too;
    "accuracy"; and "test_loss" in nats, if no target has probability 0.
  """
  each = np.arange(len(targets))
  wrong = predictions.copy()
  wrong[each, targets] -= 1
  squares = wrong**2
  seen = np.where(predictions > 0, squares, 0).sum(axis=1)
  seen = np.where(predictions.any(axis=1), seen, 1)
  brier, classes = float(squares.sum(axis=1).mean()), predictions.shape[1]
  right = predictions.argmax(axis=1) == targets
  out = {
    "brier": brier,
    "brier_mean": brier / classes,
    "released": float(seen.mean()) / classes,
    "accuracy": float((right & predictions.any(axis=1)).mean()),
  }
  likely = predictions[each, targets]
  if likely.all():
    out["test_loss"] = float(-np.log(likely).mean())
  return out


def _shares(counts):
  """The counts of each row as shares; all 0 for an empty row."""
  return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
