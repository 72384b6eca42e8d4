"""Confusion matrices and calibration of classifiers.

`count` counts batches on the device; `figures` computes metrics from the counts
of all seeds: those of each class, and the calibration (Guo et al.,
arXiv:1706.04599).
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.training import per_seed

# Number of bins of confidences, between 0 and 1.
NUM_BINS = 15


class Counts(NamedTuple):
  """Counts of examples, or shares of all.

  Attributes:
    classes: (classes, classes), by true class (rows) and predicted class
      (columns).
    bins: (NUM_BINS,), examples by confidence, the probability of the predicted
      class, in bins of equal width.
    confidence: (NUM_BINS,), sum of the confidences in a bin.
    right: (NUM_BINS,), correct predictions in a bin.
  """

  classes: Any
  bins: Any
  confidence: Any
  right: Any


def count(logits: jax.Array, labels: jax.Array) -> Counts:
  """Counts a batch.

  Args:
    logits: (n, classes).
    labels: (n,) integers.

  Returns:
    The counts, float32.
  """
  size = logits.shape[-1]
  chosen = jnp.argmax(logits, axis=-1)
  confidence = jax.nn.softmax(logits.astype(jnp.float32)).max(axis=-1)
  place = jnp.ceil(confidence * NUM_BINS).astype(jnp.int32) - 1
  place = jax.nn.one_hot(jnp.clip(place, 0, NUM_BINS - 1), NUM_BINS)
  truth, taken = jax.nn.one_hot(labels, size), jax.nn.one_hot(chosen, size)
  return Counts(
    jnp.einsum("ni,nj->ij", truth, taken),
    place.sum(axis=0),
    confidence @ place,
    (chosen == labels).astype(jnp.float32) @ place,
  )


def figures(
  counts: Counts, classes: Sequence[str] | None = None
) -> dict[str, Any]:
  """Returns the metrics of all seeds for the results.

  Args:
    counts: with a leading axis of seeds.
    classes: names of the classes; numbers if None.

  Returns:
    Lists over seeds: "ece", the expected calibration error; "confusion",
    `Counts.classes`; "calibration", mean "confidence" and "accuracy" of each
    bin, NaN if it is empty, and its "count"; and under "classes", by name,
    "precision" (NaN if the class was never predicted), "recall" and "f1" (NaN
    without examples), and "support", the number of examples.
  """
  table = np.rint(np.asarray(counts.classes)).astype(int)
  bins = np.rint(np.asarray(counts.bins)).astype(int)
  names = classes or [str(i) for i in range(table.shape[-1])]
  right = np.diagonal(table, axis1=1, axis2=2)
  support, chosen = table.sum(axis=2), table.sum(axis=1)
  # A class without examples has no recall, whatever was predicted.
  occurring = np.where(support > 0, support, 0)
  per_class = {
    "precision": _share(right, chosen),
    "recall": _share(right, occurring),
    "f1": _share(2 * right, np.where(support > 0, support + chosen, 0)),
  }
  confidence = _share(np.asarray(counts.confidence, float), bins)
  accuracy = _share(np.asarray(counts.right, float), bins)
  gaps = np.nan_to_num(np.abs(confidence - accuracy)) * bins
  return {
    "ece": per_seed.of(gaps.sum(axis=1) / bins.sum(axis=1)),
    "confusion": per_seed.of(table),
    "calibration": {
      "confidence": per_seed.of(confidence),
      "accuracy": per_seed.of(accuracy),
      "count": per_seed.of(bins),
    },
    "classes": {
      name: {
        **{key: per_seed.of(value[:, i]) for key, value in per_class.items()},
        "support": int(support[0, i]),
      }
      for i, name in enumerate(names)
    },
  }


def _share(part, whole):
  """Returns part / whole, NaN if the whole is 0."""
  return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def rows(
  results: Mapping[str, Mapping[str, Any]], most: int
) -> tuple[list[str], list[list[str]]]:
  """Returns a table of the classes.

  Args:
    results: of the arms, with the `figures` of each.
    most: largest number of classes; those of the lowest F1 if there are more.

  Returns:
    The headings, and a row for each class: its support, and for each arm the
    mean of F1 over seeds; for a single arm also precision and recall.
  """
  classes = {
    name: x["classes"] for name, x in results.items() if "classes" in x
  }
  first = next(iter(classes.values()))

  def means(name, key):
    return [_mean(arm[name][key]) for arm in classes.values()]

  names = list(first)
  if len(names) > most:
    names = sorted(names, key=lambda name: _lowest(means(name, "f1")))[:most]
  keys = {"precision": "precision", "recall": "recall", "f1": "F1"}
  if len(classes) > 1:
    keys = {"f1": "F1"}
  headings = ["class", "examples"]
  for arm in classes:
    of_arm = f" of {arm}" if len(classes) > 1 else ""
    headings += [f"{label}{of_arm}" for label in keys.values()]
  table = []
  for name in names:
    row = [name, f"{first[name]['support']:,}"]
    for arm in classes.values():
      row += [_text(_mean(arm[name][key])) for key in keys]
    table.append(row)
  return headings, table


def _lowest(values):
  finite = [value for value in values if np.isfinite(value)]
  return min(finite, default=np.inf)


def _mean(values):
  finite = [value for value in values if np.isfinite(value)]
  return float(np.mean(finite)) if finite else float("nan")


def _text(value):
  return f"{value:.3f}" if np.isfinite(value) else "-"
