"""Metrics of recommended items, for networks and baselines."""

from collections.abc import Callable
from collections.abc import Iterator
import functools
import itertools
from typing import Any

from absl import logging
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import ranking
from jaxseq.tasks.recommendation import baselines as item_baselines
from jaxseq.training import per_seed
from jaxseq.training import supervised

# Number of recommended items, which metrics also use.
TOP = 10
# Options of EASE and item-kNN tried on the validation part, the default first.
REGULARIZATIONS = (500.0, 200.0, 100.0)
DECAYS = (0.95, 0.9, 0.8, 0.7)
# Share of targets already in the history, above which a warning is logged.
_TAKEN = 0.01
# Maximum number of scores at once of the baselines.
_SCORES = 2**24


def of_scores(
  logits: jax.Array, batch: data.ArrayDataset, repeats: bool
) -> dict[str, jax.Array]:
  """Returns a batch's mean metrics of scores for the last targets.

  Args:
    logits: (n, items).
    batch: histories, whose last targets are ranked.
    repeats: whether items of the history are candidates.

  Returns:
    "test_loss", "ndcg_10", "hit_rate_10" and "mrr"; the tallies are the
    `ranking.exposure` of the best items, divided by the batch size.
  """
  size, count = logits.shape
  scores, best = top(logits, batch.inputs, batch.lengths, repeats)
  exposed = ranking.exposure(best, jnp.isfinite(scores), count)
  users = by_user(logits, batch, repeats)
  return {
    "test_loss": base.cross_entropy(logits, _targets(batch))[0],
    **{name: values.mean() for name, values in users.items()},
    supervised.TALLIES: exposed / size,
  }


def by_user(
  logits: jax.Array,
  batch: data.ArrayDataset,
  repeats: bool,
  cold: jax.Array | None = None,
) -> dict[str, jax.Array]:
  """Returns "ndcg_10", "hit_rate_10" and "mrr" of each user of a batch, (n,).

  Args:
    logits: (n, items).
    batch: histories, whose last targets are ranked.
    repeats: whether items of the history are candidates.
    cold: (items,) bool, see `cold_items`; adds "cold_hit_rate_10", which ranks
      the target among cold items only; NaN for targets that are not cold.
  """
  target = _targets(batch)
  allowed = candidates(batch.inputs, batch.lengths, logits, repeats)
  place = ranking.ranks(logits, target, allowed)
  users = {
    "ndcg_10": ranking.ndcg(place, TOP),
    "hit_rate_10": ranking.hit_rate(place, TOP),
    "mrr": ranking.reciprocal_rank(place),
  }
  if cold is not None:
    place = ranking.ranks(logits, target, allowed & cold)
    hits = ranking.hit_rate(place, TOP)
    users["cold_hit_rate_10"] = jnp.where(cold[target], hits, jnp.nan)
  return users


def cold_items(splits: data.Splits) -> np.ndarray:
  """Returns the mask (items,) of items that nobody has in training."""
  return item_baselines.histories(splits, "train").counts == 0


def tell_taken(test: data.ArrayDataset) -> None:
  """Warns if more than a few targets are already in their user's history.

  Recommendations without repeats omit them, but as targets they compete.

  Args:
    test: histories, whose last targets are ranked.
  """
  last = np.take_along_axis(test.targets, test.lengths[:, None] - 1, axis=1)
  taken, count = int((test.inputs == last).any(axis=1).sum()), len(last)
  if taken > _TAKEN * count:
    logging.warning(
      "%d of %d test targets had been taken before by their users: they count "
      "in the metrics, but lists leave such items out; --config.repeats=True "
      "lets both have them",
      taken,
      count,
    )


def _targets(batch):
  """The last targets (n,) of histories, counted from 0."""
  last = batch.lengths[:, None] - 1
  return jnp.take_along_axis(batch.targets, last, axis=1)[:, 0] - 1


def candidates(
  items: jax.Array, lengths: jax.Array, logits: jax.Array, repeats: bool
) -> jax.Array:
  """Returns the mask (n, items) of items that may be recommended.

  Args:
    items: (n, time) histories, counted from 1.
    lengths: (n,) lengths of the histories.
    logits: (n, items), with the shape of the mask.
    repeats: whether items of the history may be recommended.
  """
  count, size = logits.shape
  free = jnp.ones((count, size + 1), bool)
  if not repeats:
    items = jnp.where(masks.inside(items.shape[1], lengths), items, 0)
    free = free.at[jnp.arange(count)[:, None], items].set(False)
  return free[:, 1:]


def top(
  scores: jax.Array, items: jax.Array, lengths: jax.Array, repeats: bool
) -> tuple[jax.Array, jax.Array]:
  """Returns the `TOP` best scores (n, k), and the numbers of their items.

  The arguments are those of `candidates`. Scores are -inf if no item is left; k
  is smaller than `TOP` if there are fewer items.
  """
  allowed = candidates(items, lengths, scores, repeats)
  scores = jnp.where(allowed, scores, -jnp.inf)
  return lax.top_k(scores, min(TOP, scores.shape[1]))


def figures_of(splits: data.Splits) -> Callable[[Any], dict[str, Any]]:
  """Returns a function that computes "coverage" and "novelty".

  It takes the `ranking.exposure`, (seeds, items).
  """
  has = item_baselines.histories(splits, "train").has
  users, total = np.asarray(has.sum(axis=0)), has.shape[0]
  return lambda exposure: per_seed.of(
    {
      "coverage": ranking.coverage(exposure),
      "novelty": ranking.novelty(exposure, users, total),
    }
  )


def floor(
  scorer: item_baselines.Scorer, splits: data.Splits, part: str, repeats: bool
) -> dict[str, float]:
  """Returns the metrics of a scorer on a part of the data.

  Args:
    scorer: one of `item_baselines`.
    splits: data as from `data.sources.interactions.make_splits`.
    part: "test" or "valid".
    repeats: see `of_scores`.

  Returns:
    The metrics of `of_scores` except the loss, and those of `figures_of`.
  """
  size, sums = len(getattr(splits, part).inputs), {}
  for batch, scores in _scored(scorer, splits, part):
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
_by_user = jax.jit(by_user, static_argnums=2)


def slices(splits: data.Splits, part: str) -> Iterator[data.ArrayDataset]:
  """Yields the users of a part, in batches of limited size."""
  users = getattr(splits, part)
  users = users._replace(extras=data.Extras(gaps=users.extras.gaps))
  rows = max(1, _SCORES // splits.info.vocab_size)
  for begin in range(0, len(users.inputs), rows):
    yield data.take(users, slice(begin, begin + rows))


def _scored(scorer, splits, part):
  """Yields the users of a part, in batches, and a scorer's scores."""
  for batch in slices(splits, part):
    scores = scorer(batch.inputs, batch.lengths)
    yield batch, scores.astype(np.float32)


def floors(
  splits: data.Splits, part: str, repeats: bool
) -> dict[str, dict[str, float]]:
  """Returns the metrics of all baselines, by label.

  The options of item-kNN and EASE are the best on the validation part, if there
  is one. Both are omitted if there are more than `item_baselines.DENSE` items.

  Args:
    splits: see `floor`.
    part: "test" or "valid".
    repeats: see `of_scores`.
  """
  histories = item_baselines.histories(splits, part)
  scorers = {
    "most popular": item_baselines.popular(histories),
    "Markov": item_baselines.markov(histories),
    **_chosen(splits, part, repeats),
  }
  return {
    label: floor(scorer, splits, part, repeats)
    for label, scorer in scorers.items()
  }


def of_users(
  scorer: item_baselines.Scorer, splits: data.Splits, part: str, repeats: bool
) -> np.ndarray:
  """Returns NDCG@10 of a scorer for each user of a part, (n,), see `floor`."""
  values = [
    _by_user(scores, batch, repeats)["ndcg_10"]
    for batch, scores in _scored(scorer, splits, part)
  ]
  return np.concatenate(values)


def strongest(splits: data.Splits, repeats: bool) -> np.ndarray | None:
  """Returns NDCG@10 of "EASE, recency" for each user of the test part, (n,).

  None if there are more than `item_baselines.DENSE` items.

  Args:
    splits: see `floor`.
    repeats: see `of_scores`.
  """
  scorer = _chosen(splits, "test", repeats).get("EASE, recency")
  if scorer is None:
    return None
  return of_users(scorer, splits, "test", repeats)


def _chosen(splits, part, repeats):
  """The scorers with options, at the best options on validation."""
  histories = item_baselines.histories(splits, part)
  if len(histories.counts) > item_baselines.DENSE:
    return {}
  wanted = tried = _choices(histories)
  if part == "test" and splits.valid is not None:
    tried = _choices(item_baselines.histories(splits, "valid"))
  scorers = {}
  for label, (make, options) in wanted.items():
    best = options[0]
    if splits.valid is not None:
      best = max(
        options,
        key=lambda one: floor(tried[label][0](*one), splits, "valid", repeats)[
          "ndcg_10"
        ],
      )
    scorers[label] = make(*best)
  return scorers


def _choices(histories):
  """Functions that make scorers, by label, and the options to try."""
  neighbors = functools.partial(item_baselines.neighbors, histories)
  # All decays of a regularization share its inverse.
  inverse = functools.cache(
    functools.partial(item_baselines.ease_inverse, histories.has)
  )

  def ease(regularization, decay):
    return item_baselines.ease(
      histories, decay, inverse=inverse(regularization)
    )

  return {
    "item-kNN, recency": (neighbors, [(one,) for one in (*DECAYS, 1.0)]),
    "EASE": (ease, [(one, 1.0) for one in REGULARIZATIONS]),
    "EASE, recency": (ease, [*itertools.product(REGULARIZATIONS, DECAYS)]),
  }
