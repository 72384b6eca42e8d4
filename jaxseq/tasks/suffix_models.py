"""Models that count the symbols after a context: Markov chains and n-grams.

    model = suffix_models.Suffixes(train, classes, order=4)
    predictions = model.witten_bell(test)
    metrics = suffix_models.scores(predictions, targets)

A context is what stands before a symbol, `order` symbols at most; where there
are fewer, it begins with the beginning of the trace. Tax, Teinemaa & van Zelst
(arXiv:1811.00062) compare such models with networks on event logs.

Their released scripts differ from the definitions in two ways. Their score
leaves out symbols that are given no probability, so that a symbol which was
never seen after a context costs less the more certain a model is of another:
`scores` has it as "released", beside the Brier score. And where a context is
not known, their all-order Markov model looks for shorter ones only at the
beginning of a trace: `back_off(released=True)`.
"""

import numpy as np

from jaxseq import _validate
from jaxseq import data

# Contexts are numbers of 64 bits.
_LARGEST = 2**62


class Suffixes:
  """Counts of the symbols that follow each context, for orders up to one.

  Args:
    train: traces as of `data.sources.logs.make_splits`: inputs (n, time), 0 and
      then symbols from 1 on; targets (n, time), the symbols that follow.
    classes: number of symbols that may follow, the end among them.
    order: symbols of a context at most.

  Raises:
    ValueError: contexts are too many to be numbered.
  """

  def __init__(self, train: data.ArrayDataset, classes: int, order: int):
    _validate.integer("order", order, 1)
    if classes**order > _LARGEST:
      expected = f"so few that {classes} symbols have less than 2^62 contexts"
      raise _validate.error("order", order, expected)
    self.classes, self.order = classes, order
    targets = targets_of(train)
    self._tables = []
    for length in range(order + 1):
      known, rows = np.unique(self._keys(train, length), return_inverse=True)
      counts = np.zeros((len(known), classes))
      np.add.at(counts, (rows, targets), 1)
      self._tables.append((known, counts))

  def chain(self, traces: data.ArrayDataset) -> np.ndarray:
    """Returns the Markov chain's predictions (n, classes); 0 where unknown."""
    return _shares(self._counts(self.order, self._keys(traces, self.order)))

  def back_off(
    self, traces: data.ArrayDataset, *, released: bool = False
  ) -> np.ndarray:
    """Returns the shares after the longest context that is known.

    Args:
      traces: as in training.
      released: whether contexts that are shorter than `order` are known only at
        the beginning of a trace, as in the released script.

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
    distinct symbols that have followed it; the rest is that of the context one
    shorter, and of equal shares in the end. Witten & Bell, IEEE Transactions on
    Information Theory 37(4), 1991.
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
    """The contexts of some length, as numbers, before all symbols."""
    keys = np.zeros(traces.inputs.shape, np.int64)
    for back in range(length):
      earlier = np.pad(traces.inputs, [(0, 0), (back, 0)]).astype(np.int64)
      keys = keys + earlier[:, : keys.shape[1]] * self.classes**back
    return keys[data.datasets.inside(traces)]

  def _counts(self, length, keys):
    """The counts (n, classes) after contexts, in the table of a length."""
    known, counts = self._tables[length]
    rows = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where((known[rows] == keys)[:, None], counts[rows], 0)


def targets_of(traces: data.ArrayDataset) -> np.ndarray:
  """Returns the symbols (n,) that follow, from 0 on, of all traces."""
  return traces.targets[data.datasets.inside(traces)] - 1


def scores(predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
  """Returns the metrics of predictions.

  Args:
    predictions: (n, classes) probabilities; 0 throughout where a model has
      none.
    targets: (n,) what has followed.

  Returns:
    "brier", the mean of sum_c (p_c - y_c)^2; "released", the released score:
    the same over classes of a probability above 0 alone, 1 where there is none,
    divided by their number; "brier_mean", "brier" divided likewise; "accuracy";
    and "test_loss" in nats, if nothing that happened has a probability of 0.
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
  """The counts of each row as shares; 0 where there is none."""
  return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
