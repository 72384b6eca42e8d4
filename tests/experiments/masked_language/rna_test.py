"""RNA that is made, and the structures that count pairs alone."""

import numpy as np
import pytest

from experiments.masked_language import rna
from jaxseq import data
from jaxseq.data import datasets


def test_hairpins_pair_what_is_complementary():
  splits = data.load("rna", examples=40, length=30)
  tokens, partners = splits.train.inputs, splits.train.extras.partners
  assert tokens.shape == (26, 32)
  names = np.array(splits.info.tokens)
  for row, one in zip(tokens, partners):
    places = np.flatnonzero(one)
    # Stems of 6 to 9 pairs, which point at each other.
    assert 12 <= len(places) <= 18
    np.testing.assert_array_equal(one[one[places]], places)
    letters = zip(names[row[places]], names[row[one[places]]])
    assert {a + b for a, b in letters} <= {"AU", "UA", "CG", "GC"}
    inner = np.diff(places).max() - 1
    assert 4 <= inner <= 8
  even = data.load("rna", examples=400, length=30, planted=False)
  assert even.train.extras.partners is None
  counts = np.bincount(even.train.inputs[:, 1:-1].ravel())[4:8]
  np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.03)
  with pytest.raises(ValueError, match="length: got 20"):
    data.load("rna", length=20)
  with pytest.raises(ValueError, match="stem: got 6, .* of at least 9"):
    data.load("rna", stem=(9, 6))


def _best(sequence, i, j, known):
  """The most pairs of a part of a sequence, by the definition."""
  if j - i < 4:
    return 0
  if (i, j) not in known:
    values = [_best(sequence, i, j - 1, known)]
    for k in range(i, j - 3):
      if sequence[k] + sequence[j] in ("AU", "UA", "CG", "GC", "GU", "UG"):
        before = _best(sequence, i, k - 1, known)
        values.append(before + 1 + _best(sequence, k + 1, j - 1, known))
    known[i, j] = max(values)
  return known[i, j]


def test_structures_with_the_most_pairs():
  rng = np.random.default_rng(0)
  for length in (1, 5, 20, 31):
    sequence = "".join(rng.choice(list("ACGU"), length))
    partners = rna.nussinov(sequence)
    places = np.flatnonzero(partners >= 0)
    np.testing.assert_array_equal(partners[partners[places]], places)
    assert (abs(partners[places] - places) > 3).all()
    assert len(places) == 2 * _best(sequence, 0, length - 1, {})
    # Brackets match only if no pairs cross.
    signs = np.where(partners > np.arange(length), "(", ")")
    brackets = "".join(np.where(partners < 0, ".", signs))
    np.testing.assert_array_equal(rna.partners_of(brackets), partners)
  with pytest.raises(ValueError, match="brackets: got '1 open'"):
    rna.partners_of("((..)")


def test_counts_of_pairs_by_hand():
  ours, theirs = rna.partners_of("((...))..."), rna.partners_of("(.(...).).")
  # One of our two pairs is one of their two.
  values = rna.f1([ours, ours], [theirs, ours])
  assert values["precision"] == values["recall"] == values["f1"] == 0.5
  assert rna.f1([ours], [np.full(10, -1)])["f1"] == 0


def test_no_structure_without_its_program(monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "RNA", None)
  with pytest.raises(datasets.MissingData, match=r"pip install 'jaxseq\[rna\]"):
    data.load("rna", examples=8, structure="folded")


def test_structures_of_vienna():
  pytest.importorskip("RNA")
  splits = data.load("rna", examples=40, length=40, structure="folded", seed=1)
  planted = data.load("rna", examples=40, length=40, seed=1)
  true, found = (
    [row[1:-1] - 1 for row in part.train.extras.partners]
    for part in (planted, splits)
  )
  # Nearly all pairs of hairpins are in the structure of least energy.
  assert rna.f1(found, true)["recall"] > 0.8
