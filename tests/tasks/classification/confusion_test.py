"""Confusion, figures of classes, and calibration, beside scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks.classification import confusion

metrics = pytest.importorskip("sklearn.metrics")

CLASSES = ("ant", "bee", "cat", "dog")


def _drawn(seed=0, size=200):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(size, 4)).astype(np.float32) * 2
  # Nobody is ever taken for a dog, and there is no cat.
  logits[:, 3] = -20
  return logits, rng.choice([0, 1, 3], size)


def _figures(*drawn):
  counts = [jax.jit(confusion.count)(*map(jnp.asarray, x)) for x in drawn]
  stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *counts)
  return confusion.figures(stacked, CLASSES)


def test_classes_as_scikit_learn_has_them():
  both = _drawn(0), _drawn(1)
  found = _figures(*both)
  for seed, (logits, labels) in enumerate(both):
    chosen = logits.argmax(axis=1)
    table = metrics.confusion_matrix(labels, chosen, labels=range(4))
    np.testing.assert_array_equal(found["confusion"][seed], table)
    expected = metrics.precision_recall_fscore_support(
      labels, chosen, labels=range(4), zero_division=np.nan
    )
    keys = ("precision", "recall", "f1", "support")
    for key, values in zip(keys, expected):
      for name, value in zip(CLASSES, values):
        row = found["classes"][name]
        if key == "support":
          assert seed or row[key] == value
        elif key != "f1" or name != "cat":
          # Counts are small integers: exact but for the last division.
          np.testing.assert_allclose(row[key][seed], value, rtol=1e-12)
    assert np.isnan(found["classes"]["cat"]["f1"][seed])
    assert found["classes"]["dog"]["f1"][seed] == 0
    assert np.isnan(found["classes"]["dog"]["precision"][seed])


def test_calibration():
  logits, labels = _drawn()
  found = _figures((logits, labels))
  confidence = jax.nn.softmax(jnp.asarray(logits)).max(axis=1)
  right = logits.argmax(axis=1) == labels
  bounds = np.linspace(0, 1, confusion.NUM_BINS + 1)
  ece = 0.0
  for i, (low, high) in enumerate(zip(bounds, bounds[1:])):
    inside = np.asarray((confidence > low) & (confidence <= high))
    bins = found["calibration"]
    assert bins["count"][0][i] == inside.sum()
    if inside.any():
      mean = float(np.mean(confidence[inside]))
      # Sums of float32 numbers below 1.
      np.testing.assert_allclose(bins["confidence"][0][i], mean, rtol=1e-5)
      np.testing.assert_allclose(
        bins["accuracy"][0][i], right[inside].mean(), rtol=1e-5
      )
      ece += inside.mean() * abs(mean - right[inside].mean())
    else:
      assert np.isnan(bins["accuracy"][0][i])
  np.testing.assert_allclose(found["ece"][0], ece, rtol=1e-4)


def test_certain_and_right_is_calibrated():
  labels = np.arange(4)
  found = _figures((100 * np.eye(4, dtype=np.float32), labels))
  assert found["ece"] == [0.0]
  assert found["calibration"]["count"][0][-1] == 4


def test_the_table():
  results = {"gru": _figures(_drawn()), "s5": _figures(_drawn(1))}
  headings, rows = confusion.rows(results, 9)
  assert headings == ["class", "examples", "F1 of gru", "F1 of s5"]
  assert [row[0] for row in rows] == list(CLASSES)
  assert rows[2] == ["cat", "0", "-", "-"]
  headings, rows = confusion.rows({"gru": results["gru"]}, 2)
  assert headings == ["class", "examples", "precision", "recall", "F1"]
  # Those of the lowest F1; what is undefined is not low.
  assert rows[0][0] == "dog"
  assert rows[0][2:] == ["-", "0.000", "0.000"]
  assert len(rows) == 2
  assert rows[1][0] in ("ant", "bee")
