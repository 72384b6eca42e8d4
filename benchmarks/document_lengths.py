"""Lengths of documents as training sets have them: a long tail.

Each sampler is called with a generator, a number of documents and the longest
length allowed, or None, and returns that many lengths, int64; one above the
limit is drawn again. A limit below the shortest document is a ValueError.
"""

from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
Sampler = Callable[[Rng, int, int | None], np.ndarray]

_K = 1024  # tokens

# Percent of the documents of English Wikipedia up to each length, counted on
# the million lengths that the published code of FlexSP brings (Wang et al.,
# arXiv:2412.01523). The ends, 64 and 1M, give the outer buckets the mean that
# their share of the tokens says.
_WIKI_EDGES = np.array([64, *(_K * 2.0 ** np.arange(-2, 9)), _K * _K])
_WIKI_PERCENT = np.array(
  [41.5, 21.1, 16.2, 10.9, 6.0, 2.8, 1.1, 0.35, 0.10, 0.023, 0.004, 0.0007]
)


def wiki(rng: Rng, count: int, limit: int | None = None) -> np.ndarray:
  """Lengths like English Wikipedia's: 96 % below 8K, mean 1014, median 347.

  Log-uniform inside each bucket of powers of two.
  """

  def draw(size):
    share = _WIKI_PERCENT / _WIKI_PERCENT.sum()
    bucket = rng.choice(len(share), size, p=share)
    return _log_uniform(rng, _WIKI_EDGES[bucket], _WIKI_EDGES[bucket + 1])

  return _below(draw, count, limit, 64)


def github_like(rng: Rng, count: int, limit: int | None = None) -> np.ndarray:
  """Lengths with the tail of GitHub's: 16.2 % of tokens beyond 128K.

  A lognormal distribution, at least 16, that has the two shares ByteScale gives
  (Ge et al., arXiv:2502.21231): 16.2 % of all tokens in documents beyond 128K,
  9.8 % beyond 256K. The rest of its shape is a guess.
  """

  def draw(size):
    return np.maximum(rng.lognormal(4.459, 2.258, size), 16)

  return _below(draw, count, limit, 16)


_BYTED_LOW = _K * np.array([0.125, 4, 32, 128, 2048])
_BYTED_HIGH = _K * np.array([4, 32, 128, 512, 2048])
_BYTED_SHARE = np.array([0.80, 0.17, 0.02, 0.0095, 0.0005])


def byted_like(rng: Rng, count: int, limit: int | None = None) -> np.ndarray:
  """Lengths like ByteDance's: 44 % of tokens in 1 % of the documents.

  Log-uniform between the lengths of which ByteScale tells the shares (Ge et
  al., arXiv:2502.21231); one document in 2000 has 2M tokens.
  """

  def draw(size):
    bucket = rng.choice(len(_BYTED_SHARE), size, p=_BYTED_SHARE)
    return _log_uniform(rng, _BYTED_LOW[bucket], _BYTED_HIGH[bucket])

  return _below(draw, count, limit, 128)


SAMPLERS: dict[str, Sampler] = {
  "wiki": wiki,
  "github_like": github_like,
  "byted_like": byted_like,
}


def _log_uniform(rng, low, high):
  return np.exp(rng.uniform(np.log(low), np.log(high)))


def _below(draw, count, limit, shortest):
  """Draws `count` whole lengths, those above the limit again."""
  if limit is not None and limit < shortest:
    raise ValueError(
      f"limit must be at least {shortest}, the shortest document; got {limit}."
    )
  lengths = np.round(draw(count)).astype(np.int64)
  while limit is not None and (above := lengths > limit).any():
    lengths[above] = np.round(draw(np.count_nonzero(above))).astype(np.int64)
  return lengths
