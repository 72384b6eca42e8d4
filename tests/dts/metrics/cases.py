"""Representations that several tests use."""

import itertools

import numpy as np

SETS = ("good", "mixed", "split")


def recorded(arrays):
  """Returns codes, factors, and both for testing, as (examples, columns)."""
  names = ("mus_train", "ys_train", "mus_test", "ys_test")
  return tuple(arrays[name].T for name in names)


def assert_golden(seen, arrays, atol):
  """Checks values by the names that the reference recorded them under."""
  for name, value in seen.items():
    np.testing.assert_allclose(value, arrays[name], atol=atol, err_msg=name)


def grid(sizes, repeats=1):
  """Returns every combination of levels (n, K), each equally often."""
  levels = list(itertools.product(*map(range, sizes)))
  return np.tile(np.array(levels), (repeats, 1))


def one_to_one(factors, rng):
  """Returns a code for each factor (n, K), increasing or not, in any order."""
  order = rng.permutation(factors.shape[1])
  codes = np.empty(factors.shape)
  for column, k in enumerate(order):
    values = np.cumsum(rng.uniform(0.2, 1.0, factors[:, k].max() + 1))
    codes[:, column] = rng.choice([-1, 1]) * values[factors[:, k]]
  return codes


def rotated(factors, rng):
  """Returns codes (n, K) each of which mixes all factors alike."""
  count = factors.shape[1]
  frequencies = np.outer(np.arange(count), np.arange(count) + 0.5)
  cosines = np.cos(np.pi * frequencies / count)
  # An orthogonal matrix (DCT-II) with no small entry in its first row.
  rotation = cosines / np.linalg.norm(cosines, axis=1, keepdims=True)
  scaled = (factors - factors.mean(0)) / factors.std(0)
  return scaled @ rotation.T + 1e-3 * rng.normal(size=factors.shape)
