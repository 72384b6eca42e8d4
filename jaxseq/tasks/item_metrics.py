"""Metrics of recommended items, of networks and of floors alike."""

from collections.abc import Callable
from collections.abc import Iterator
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import item_floors
from jaxseq.tasks import ranking
from jaxseq.training import per_seed
from jaxseq.training import supervised

# Items that are recommended, and counted by metrics.
TOP = 10
# What is tried of EASE and item-kNN on the validation part, the default first.
REGULARIZATIONS = (500.0, 200.0, 100.0)
DECAYS = (0.95, 0.9, 0.8, 0.7)
# Scores at once of the floors.
_SCORES = 2**24


def of_scores(
  logits: jax.Array, batch: data.ArrayDataset, repeats: bool
) -> dict[str, jax.Array]:
  """Returns means over a batch of what scores say of the last targets.

  Args:
    logits: (n, items).
    batch: histories, whose last targets are ranked.
    repeats: whether items of the history compete.

  Returns:
    "test_loss", "ndcg_10", "hit_rate_10" and "mrr"; the tallies are the
    `ranking.exposure` of the best items, as shares of the batch.
  """
  last = batch.lengths[:, None] - 1
  target = jnp.take_along_axis(batch.targets, last, axis=1)[:, 0] - 1
  allowed = candidates(batch.inputs, batch.lengths, logits, repeats)
  place = ranking.ranks(logits, target, allowed)
  size, count = logits.shape
  masked = logits if allowed is None else jnp.where(allowed, logits, -jnp.inf)
  scores, best = lax.top_k(masked, min(TOP, count))
  exposed = ranking.exposure(best, jnp.isfinite(scores), count)
  return {
    "test_loss": base.cross_entropy(logits, target)[0],
    "ndcg_10": ranking.ndcg(place, TOP).mean(),
    "hit_rate_10": ranking.hit_rate(place, TOP).mean(),
    "mrr": ranking.reciprocal_rank(place).mean(),
    supervised.TALLIES: exposed / size,
  }


def candidates(
  items: jax.Array, lengths: jax.Array, logits: jax.Array, repeats: bool
) -> jax.Array | None:
  """Returns the mask (n, items) of what may be recommended; None if all may.

  Args:
    items: (n, time) histories, from 1 on.
    lengths: (n,) of them.
    logits: (n, items), for the number of items.
    repeats: whether those of the history may, too.
  """
  if repeats:
    return None
  count, size = logits.shape
  items = jnp.where(masks.inside(items.shape[1], lengths), items, 0)
  seen = jnp.zeros((count, size + 1), bool)
  return ~seen.at[jnp.arange(count)[:, None], items].set(True)[:, 1:]


def figures(
  exposure: Any, users: np.ndarray, total: int
) -> dict[str, per_seed.PerSeed]:
  """Returns "coverage" and "novelty" of what is recommended, lists over seeds.

  Args:
    exposure: (seeds, items), see `ranking.exposure`.
    users: see `ranking.novelty`.
    total: likewise.
  """
  return per_seed.of(
    {
      "coverage": ranking.coverage(exposure),
      "novelty": ranking.novelty(exposure, users, total),
    }
  )


def figures_of(splits: data.Splits) -> Callable[[Any], dict[str, Any]]:
  """Returns `figures` by what the users of a set had in training."""
  has = item_floors.histories(splits, "train").has
  users = np.asarray(has.sum(axis=0))
  return functools.partial(figures, users=users, total=has.shape[0])


def floor(
  scorer: item_floors.Scorer, splits: data.Splits, part: str, repeats: bool
) -> dict[str, float]:
  """Returns the metrics of a scorer on a part of the data.

  Args:
    scorer: one of `item_floors`.
    splits: as of `data.sources.interactions.make_splits`.
    part: "test" or "valid".
    repeats: see `of_scores`.

  Returns:
    Those of `of_scores` but for the loss, and of `figures`.
  """
  size, sums = len(getattr(splits, part).inputs), {}
  for scores, batch in _scored(scorer, splits, part):
    means = jax.device_get(_measure(scores, batch, repeats))
    for name, mean in means.items():
      sums[name] = sums.get(name, 0) + mean * len(scores)
  del sums["test_loss"]
  exposure = sums.pop(supervised.TALLIES)
  named = figures_of(splits)(exposure[None])
  return {name: float(total / size) for name, total in sums.items()} | {
    name: values[0] for name, values in named.items()
  }


_measure = jax.jit(of_scores, static_argnums=2)


def _scored(scorer, splits, part) -> Iterator[tuple[np.ndarray, Any]]:
  """Yields the scores of a part's users, and these, some at a time."""
  inputs, targets, lengths, _ = getattr(splits, part)
  rows = max(1, _SCORES // splits.info.vocab_size)
  for begin in range(0, len(inputs), rows):
    some = slice(begin, begin + rows)
    batch = data.ArrayDataset(inputs[some], targets[some], lengths[some])
    scores = scorer(batch.inputs, batch.lengths)
    yield scores.astype(np.float32), batch


def floors(
  splits: data.Splits, part: str, repeats: bool
) -> dict[str, dict[str, float]]:
  """Returns the metrics of all floors, by label.

  The options of item-kNN and EASE are the best on the validation part, if there
  is one. They are left out where all pairs of items would be too many.

  Args:
    splits: as of `floor`.
    part: "test" or "valid".
    repeats: see `of_scores`.
  """
  known = item_floors.histories(splits, part)

  def measured(scorer, part=part):
    return floor(scorer, splits, part, repeats)

  rows = {
    "most popular": measured(item_floors.popular(known)),
    "Markov": measured(item_floors.markov(known)),
  }
  if len(known.counts) > item_floors.DENSE:
    return rows
  wanted = tried = _choices(known)
  if part == "test" and splits.valid is not None:
    tried = _choices(item_floors.histories(splits, "valid"))
  for label, (make, options) in wanted.items():
    best = options[0]
    if splits.valid is not None:
      best = max(
        options,
        key=lambda one: measured(tried[label][0](*one), "valid")["ndcg_10"],
      )
    rows[label] = measured(make(*best))
  return rows


def _choices(known):
  """By label what makes a scorer, and the options of it that are tried."""

  @functools.cache
  def inverse(regularization):
    return item_floors.ease_inverse(known.has, regularization)

  def ease(regularization, decay):
    return item_floors.ease(known, decay, inverse=inverse(regularization))

  return {
    "item-kNN, recency": (
      functools.partial(item_floors.neighbors, known),
      [(decay,) for decay in (*DECAYS, 1.0)],
    ),
    "EASE": (ease, [(one, 1.0) for one in REGULARIZATIONS]),
    "EASE, recency": (
      ease,
      [(one, decay) for one in REGULARIZATIONS for decay in DECAYS],
    ),
  }
