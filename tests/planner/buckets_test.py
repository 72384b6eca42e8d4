"""Dynamic programmes against all ways to cut."""

import itertools

import numpy as np
import pytest

from jaxseq.planner import buckets
from jaxseq.planner import lengths as lengths_lib


def all_cuts(count, pieces):
  for used in range(1, min(pieces, count) + 1):
    for inner in itertools.combinations(range(1, count), used - 1):
      cuts = (0, *inner, count)
      yield list(zip(cuts, cuts[1:]))


def rounding(lengths, cuts):
  return sum((lengths[j - 1] - lengths[i:j]).sum() for i, j in cuts)


def largest(lengths, cuts):
  return max(lengths[i:j].sum() for i, j in cuts)


@pytest.mark.parametrize("seed", range(12))
def test_both_equal_brute_force(seed):
  rng = np.random.default_rng(seed)
  count, pieces = rng.integers(1, 11), rng.integers(1, 6)
  lengths = rng.integers(1, 40, count)
  rising = np.sort(lengths)
  found = buckets.bucket(lengths, pieces)
  best = min(rounding(rising, cuts) for cuts in all_cuts(count, pieces))
  assert found.error == best
  parts = [lengths[members] for members in found.members]
  np.testing.assert_array_equal(np.concatenate(parts), rising)
  assert [part.max() for part in parts] == found.bounds.tolist()
  assert found.error == sum((part.max() - part).sum() for part in parts)

  batches = buckets.micro_batches(lengths, pieces)
  best = min(largest(rising, cuts) for cuts in all_cuts(count, pieces))
  parts = [lengths[members] for members in batches]
  assert max(part.sum() for part in parts) == best
  np.testing.assert_array_equal(np.concatenate(parts), rising)
  assert len(parts) <= pieces


def test_error_falls_with_the_number_of_buckets():
  lengths = lengths_lib.wiki(np.random.default_rng(0), 100, 2**16)
  distinct = len(np.unique(lengths))
  errors = [
    buckets.bucket(lengths, pieces).error
    for pieces in (1, 2, 4, 8, 16, 32, distinct)
  ]
  assert all(np.diff(errors) < 0)
  assert errors[-1] == 0
  # More buckets than lengths are not made.
  assert len(buckets.bucket([5, 5, 5, 9], 4).bounds) == 2


def test_sixteen_buckets_of_four_micro_batches_lose_little():
  # FlexSP reports 2.3 % for Wikipedia, and 22.1 % with equal widths.
  lengths = lengths_lib.wiki(np.random.default_rng(1), 512, 192 * 1024)
  optimal, equal = 0, 0
  for members in buckets.micro_batches(lengths, 4):
    part = lengths[members]
    optimal += buckets.bucket(part, 16).error
    edges = np.linspace(0, part.max(), 17)[1:]
    equal += (edges[np.searchsorted(edges, part)] - part).sum()
  np.testing.assert_allclose(optimal / lengths.sum(), 0.023, atol=0.003)
  assert equal > 2 * optimal


@pytest.mark.parametrize("function", [buckets.bucket, buckets.micro_batches])
def test_bad_arguments_are_named(function):
  with pytest.raises(ValueError, match="at least one"):
    function([], 2)
  with pytest.raises(ValueError, match="must be at least 1; got 0"):
    function([1, 2], 0)
