"""Structures of maximum expected accuracy, beside all there are."""

import functools

import jax
import numpy as np
import pytest

from experiments.masked_language import pair_structures
from experiments.masked_language import rna

decode = jax.jit(pair_structures.decode)


@functools.cache
def structures(n):
  """All structures of n bases, as tuples of pairs."""
  if n < 5:
    return ((),)
  found = list(structures(n - 1))  # The last base is alone, or paired with i.
  for i in range(n - 4):
    found += [
      (*before, (i, n - 1), *((i + 1 + a, i + 1 + b) for a, b in within))
      for before in structures(i)
      for within in structures(n - i - 2)
    ]
  return tuple(found)


def value(pairs, likely, gamma):
  """Expected accuracy by its definition."""
  n = len(likely)
  possible = np.triu(likely, rna.LOOP + 1)
  alone = np.maximum(1 - possible.sum(axis=0) - possible.sum(axis=1), 0)
  paired = {i for pair in pairs for i in pair}
  rest = sum(alone[i] for i in range(n) if i not in paired)
  return sum(2 * gamma * likely[pair] for pair in pairs) + rest


@pytest.mark.parametrize("gamma", [0.3, 1.0, 4.0])
def test_no_structure_is_better(x64, gamma):
  rng = np.random.default_rng(0)
  assert len(structures(13)) == 568
  for n, power in ((4, 1), (5, 1), (9, 1), (13, 1), (13, 3), (13, 9)):
    likely = rng.random((n, n)) ** power
    partners = np.asarray(decode(likely, np.ones(n, bool), gamma))
    pairs = [(i, j) for i, j in enumerate(partners.tolist()) if i < j]
    # It is one of them: one partner, no crossing, three bases in between.
    assert tuple(sorted(pairs)) in {tuple(sorted(x)) for x in structures(n)}
    assert all(partners[j] == i for i, j in pairs)
    best = max(value(x, likely, gamma) for x in structures(n))
    np.testing.assert_allclose(value(pairs, likely, gamma), best, rtol=1e-12)


def test_only_what_is_inside_is_paired():
  likely = np.ones((2, 3, 12, 12))
  inside = np.zeros((2, 3, 12), bool)
  inside[0, 1, 1:9] = inside[1, 2, 3:7] = True
  partners = np.asarray(decode(likely, inside))
  paired = partners >= 0
  assert (paired <= inside).all()
  # Of eight bases two pairs at most, of four none.
  assert paired[0, 1].sum() == 4
  assert paired.sum() == 4


def test_one_partner_and_gamma():
  likely = np.zeros((12, 12))
  likely[2, 3] = 0.9  # Neighbors.
  likely[0, 8] = likely[0, 9] = 0.6
  likely[1, 7] = 0.45

  def brackets(gamma):
    partners = np.asarray(decode(likely, np.ones(12, bool), gamma))
    return rna.brackets_of(partners)

  assert brackets(0.8) in ("(.......)...", "(........)..")
  assert brackets(1.5).count("(") == 2
  structure = "((.(...).)).(...)"
  assert rna.brackets_of(rna.partners_of(structure)) == structure
  with pytest.raises(ValueError, match="gamma: got 0, expected"):
    pair_structures.decode(likely, np.ones(12, bool), 0)
