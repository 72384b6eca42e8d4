"""Samplers against what is known of the data sets."""

import numpy as np
import pytest

from benchmarks import document_lengths

K = 1024


def draw(name, count=400_000, limit=None):
  rng = np.random.default_rng(0)
  return document_lengths.SAMPLERS[name](rng, count, limit)


def token_share(lengths, above):
  return lengths[lengths > above].sum() / lengths.sum()


def test_wiki():
  lengths = draw("wiki")
  # Log-uniform inside the buckets: means are not exactly the real ones.
  np.testing.assert_allclose(lengths.mean(), 1014, rtol=0.06)
  np.testing.assert_allclose(np.median(lengths), 347, rtol=0.06)
  np.testing.assert_allclose(np.quantile(lengths, 0.99), 10919, rtol=0.1)
  np.testing.assert_allclose(np.log(lengths).mean(), 5.95, rtol=0.02)
  np.testing.assert_allclose(np.log(lengths).std(), 1.26, rtol=0.1)
  assert (lengths < 8 * K).mean() > 0.96
  edges = np.array([256, 512, *(K * 2 ** np.arange(7))])
  documents = [41.5, 62.6, 78.8, 89.7, 95.7, 98.5, 99.6, 99.95, 100.05]
  actual = [100 * (lengths <= edge).mean() for edge in edges]
  # Three standard errors of a share of one half.
  np.testing.assert_allclose(actual, documents, atol=0.25)
  tokens = np.cumsum([5.5, 7.8, 11.6, 15.4, 16.7, 15.5, 12.3, 7.6, 4.5])
  actual = [100 * (1 - token_share(lengths, edge)) for edge in edges]
  np.testing.assert_allclose(actual, tokens, atol=2.5)


def test_github_like():
  # The tail is so long that its share of the tokens needs many documents.
  lengths = draw("github_like", 4_000_000)
  np.testing.assert_allclose(token_share(lengths, 128 * K), 0.162, rtol=0.05)
  np.testing.assert_allclose(token_share(lengths, 256 * K), 0.098, rtol=0.1)
  assert lengths.min() == 16


def test_byted_like():
  lengths = draw("byted_like", 1_000_000)
  np.testing.assert_allclose((lengths <= 4 * K).mean(), 0.8, atol=0.002)
  np.testing.assert_allclose((lengths >= 128 * K).mean(), 0.01, rtol=0.05)
  np.testing.assert_allclose(token_share(lengths, 128 * K - 1), 0.44, atol=0.02)
  share = token_share(lengths, 2048 * K - 1)
  np.testing.assert_allclose(share, 0.121, atol=0.015)
  np.testing.assert_allclose(lengths.mean(), 8.4 * K, rtol=0.03)
  assert lengths.max() == 2048 * K


@pytest.mark.parametrize("name", document_lengths.SAMPLERS)
def test_limit_and_generator(name):
  limited = draw(name, 3000, 2048)
  assert limited.shape == (3000,)
  assert limited.dtype == np.int64
  assert limited.max() <= 2048
  np.testing.assert_array_equal(limited, draw(name, 3000, 2048))
  # Drawn again, not cut off.
  assert (limited == 2048).mean() < 0.01
  with pytest.raises(ValueError, match="limit must be at least"):
    draw(name, 10, 3)
