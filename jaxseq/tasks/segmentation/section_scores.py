"""Scores of segmentations: P_k, and baselines that need no training."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.nn import masks

# Number of random segmentations to average over.
_DRAWS = 20


def cuts(
  scores: jax.Array, lengths: jax.Array, rate: float | None = None
) -> jax.Array:
  """Cuts documents at the paragraphs with the highest scores.

  Args:
    scores: (n, time) of paragraphs; the first one is ignored.
    lengths: (n,) numbers of paragraphs.
    rate: cuts per paragraph, without the first ones. If None, scores are
      logits, and a document has the expected number of cuts, the rounded sum of
      its probabilities.

  Returns:
    (n, time) bool, True at the first paragraphs of sections, including that of
    the document.
  """
  time = scores.shape[-1]
  allowed = masks.inside(time, lengths) & (jnp.arange(time) > 0)
  order = jnp.argsort(jnp.where(allowed, -scores, jnp.inf), axis=-1)
  rank = jnp.argsort(order, axis=-1)
  if rate is None:
    count = jnp.where(allowed, jax.nn.sigmoid(scores), 0).sum(axis=-1)
  else:
    count = rate * (lengths - 1)
  count = jnp.round(count)
  return (allowed & (rank < count[:, None])).at[:, 0].set(True)


def p_k(starts: jax.Array, true: jax.Array, lengths: jax.Array) -> jax.Array:
  """Returns (n,) P_k of documents (Beeferman et al., 1999), 0 if perfect.

  It is the share of paragraphs at distance k which are in the same section in
  one segmentation and in different sections in the other; k is half the mean
  length of the true sections, rounded, and at least 1.

  Args:
    starts: (n, time) bool, True at the first paragraphs of sections.
    true: (n, time) bool, the true ones.
    lengths: (n,) numbers of paragraphs.
  """
  time = starts.shape[-1]
  inside = masks.inside(time, lengths)
  count = jnp.maximum((true & inside).sum(axis=-1), 1)
  k = jnp.clip(jnp.round(lengths / (2 * count)), 1, time - 1).astype(int)
  later = jnp.arange(time) + k[:, None]
  compared = later < lengths[:, None]

  def same(marks):
    section = jnp.cumsum(marks, axis=-1)
    at = jnp.minimum(later, time - 1)
    return section == jnp.take_along_axis(section, at, axis=-1)

  wrong = compared & (same(starts) != same(true))
  return wrong.sum(axis=-1) / jnp.maximum(compared.sum(axis=-1), 1)


def scored(
  starts: jax.Array, true: jax.Array, lengths: jax.Array
) -> dict[str, jax.Array]:
  """Returns the metrics of cuts, means over documents.

  Args:
    starts: see `p_k`.
    true: see `p_k`.
    lengths: see `p_k`.

  Returns:
    "pk"; "found", the share of true cuts that are found; "mistakes", the number
    of wrong and missing cuts per document; "exact", the share of documents
    without mistakes.
  """
  places = masks.inside(starts.shape[-1], lengths)
  places &= jnp.arange(starts.shape[-1]) > 0
  wanted = (true & places).sum(axis=-1)
  hits = (starts & true & places).sum(axis=-1)
  mistakes = ((starts != true) & places).sum(axis=-1)
  values = {
    "pk": p_k(starts, true, lengths),
    "found": jnp.where(wanted > 0, hits / jnp.maximum(wanted, 1), 1.0),
    "mistakes": mistakes,
    "exact": mistakes == 0,
  }
  return {name: jnp.mean(value * 1.0) for name, value in values.items()}


def rate_of(dataset: data.ArrayDataset) -> float:
  """Returns the number of cuts per paragraph, without the first ones."""
  lengths = np.asarray(dataset.lengths)
  number = (np.asarray(dataset.targets) > 0).sum() - len(lengths)
  return float(number / max((lengths - 1).sum(), 1))


def trivial(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns the metrics of segmentations without training, by label.

  Args:
    splits: data as from `data.sources.paragraphs.load`.
    part: "test" or "valid".
  """
  wanted = getattr(splits, part)
  if wanted is None:
    return {}
  true, lengths = jnp.asarray(wanted.targets > 0), jnp.asarray(wanted.lengths)
  rate = rate_of(splits.train)
  time = true.shape[1]

  def measured(score, share=rate):
    metrics = scored(cuts(jnp.asarray(score), lengths, share), true, lengths)
    return {name: float(value) for name, value in metrics.items()}

  zeros = np.zeros(true.shape, np.float32)
  rng = np.random.default_rng(0)
  draws = [measured(rng.random(true.shape)) for _ in range(_DRAWS)]
  # The scores peak at multiples of the mean length of a section.
  even = -np.abs((np.arange(time) * rate + 0.5) % 1 - 0.5) + zeros
  return {
    "no cuts": measured(zeros, 0.0),
    "all cuts": measured(zeros, 1.0),
    "random cuts": {
      name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]
    },
    "even cuts": measured(even),
    "cosine of words": measured(-similarity(wanted.extras.words)),
  }


def similarity(words: np.ndarray) -> np.ndarray:
  """Returns (n, time) the cosine of each paragraph's words with the previous.

  Args:
    words: (n, time, words) integers, 0 in the padding.
  """
  before = np.zeros_like(words)
  before[:, 1:] = words[:, :-1]

  def product(x, y):
    same = (x[..., None] == y[..., None, :]) & (x[..., None] > 0)
    return same.sum(axis=(-2, -1))

  def cosines(here, before):
    norms = product(here, here) * product(before, before)
    return product(here, before) / np.sqrt(np.maximum(norms, 1))

  # One document at a time, since there are many pairs of words.
  return np.array(list(map(cosines, words, before)), np.float32)
