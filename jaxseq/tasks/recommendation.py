"""Recommendation of the next item, from the items that a user has taken.

A network reads a user's items one by one; the scores of all items after each
are the products of its output with their vectors, which are those that it reads
(SASRec, Kang & McAuley, arXiv:1808.09781; with a GRU it is GRU4Rec, with Mamba
Mamba4Rec). Training is the cross-entropy over all items. The first target of a
part that is not trained on is ranked among all items that the user has not
taken, see `tasks.ranking`.
"""

import dataclasses
from typing import Any

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq import nn
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import ranking
from jaxseq.tasks import task
from jaxseq.training import supervised

# Items that are recommended, and counted by metrics.
TOP = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of arms that a comparison may have for all of them.

  Attributes:
    repeats: whether items that a user has taken are recommended again.
  """

  repeats: bool = False


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """The network and the training of one arm, with `Options`."""


@dataclasses.dataclass(frozen=True)
class Config(Options, base.DataComparison):
  """A comparison on histories of users, with `Options`."""


class ItemNetwork(linen.Module):
  """A sequence network over items, which are scored by their own vectors.

  Attributes:
    config: of the network, which does not pool; `tie` is implied.
    num_items: how many there are, without padding.
    length: items that are read at most, the newest ones.
    repeats: see `Options`.
  """

  config: nn.NetworkConfig
  num_items: int
  length: int
  repeats: bool = False

  @linen.compact
  def __call__(
    self,
    items: jax.Array,
    lengths: jax.Array,
    train: bool = False,
    last: bool = False,
  ) -> jax.Array:
    """Scores all items as the next one.

    Args:
      items: (n, time) integers from 1 on, 0 behind the end.
      lengths: (n,) numbers of items, at least 1.
      train: whether dropout is on.
      last: whether only the newest `length` items are read, and only what comes
        after the last one is scored.

    Returns:
      Logits (n, time, num_items), or (n, num_items) with `last`; the first is
      that of item 1.
    """
    size = self.num_items + 1
    config = dataclasses.replace(self.config, tie=True)
    network = nn.SequenceNetwork(config, size, size, name="network")
    if not last:
      logits, _ = network(items, lengths=lengths, train=train)
      return logits[..., 1:]
    begin = jnp.maximum(lengths - self.length, 0)
    places = begin[:, None] + jnp.arange(self.length)
    read = jnp.take_along_axis(items, places, axis=1, mode="clip")
    counts = jnp.minimum(lengths, self.length)
    at = counts[:, None] - 1
    logits, _ = network(read, lengths=counts, train=train, at=at)
    return logits[:, 0, 1:]


def make_network(arm: ArmConfig, splits: data.Splits) -> ItemNetwork:
  """Returns the network of an arm.

  Raises:
    ValueError: if it pools, or the data are no histories of items.
  """
  base.check_pooling(arm.network, False, "every item is predicted")
  inputs, targets, lengths, _ = splits.train
  if inputs.ndim != 2 or targets.shape != inputs.shape or lengths is None:
    expected = "histories of items with lengths, (n, time), and next items"
    got = f"inputs {inputs.shape} and targets {targets.shape}"
    raise _validate.error("the data", got, expected)
  count = splits.info.vocab_size - 1
  return ItemNetwork(arm.network, count, inputs.shape[1], arm.repeats)


class Problem(base.ArrayProblem):
  """Predicting the next items of users.

  Args:
    arm: network and batch size, in histories.
    splits: as of `data.sources.interactions.make_splits`.

  Raises:
    ValueError: if the data are no histories of items, batches are larger than
      the training set, or the network pools.
  """

  validated = "ndcg_10"
  at_least = 128

  def __init__(self, arm: ArmConfig, splits: data.Splits):
    network = make_network(arm, splits)
    parts = base.parts(splits)
    super().__init__(arm, network, parts, len(splits.train.inputs))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the variables of the network."""
    return self.network.init(key, *self.inputs(base.first(self.data["train"])))

  def inputs(self, batch: data.ArrayDataset) -> tuple[jax.Array, jax.Array]:
    """Returns the items, and their numbers."""
    return batch.inputs, batch.lengths

  def score(
    self, outputs: jax.Array, batch: data.ArrayDataset
  ) -> tuple[dict[str, jax.Array], jax.Array]:
    """Returns "test_loss", the cross-entropy in nats, and "accuracy"."""
    loss, accuracy, count = base.cross_entropy(
      outputs, jnp.maximum(batch.targets - 1, 0), batch.targets > 0
    )
    return {"test_loss": loss, "accuracy": accuracy}, count

  def scores(
    self,
    variables: base.PyTree,
    batch: data.ArrayDataset,
    key: jax.Array | None = None,
  ) -> tuple[supervised.Metrics, int]:
    """Returns "test_loss" of the last targets, and metrics of their ranks.

    These are "ndcg_10", "hit_rate_10" and "mrr", among all items that are not
    in the whole history, unless items come again.
    """
    del key
    logits = self.network.apply(variables, *self.inputs(batch), last=True)
    return _ranked(logits, batch, self.network.repeats), len(batch.inputs)


def _ranked(logits, batch, repeats):
  """Means over a batch of what the scores (n, items) say of last targets."""
  last = batch.lengths[:, None] - 1
  target = jnp.take_along_axis(batch.targets, last, axis=1)[:, 0] - 1
  place = ranking.ranks(
    logits, target, _allowed(batch.inputs, batch.lengths, logits, repeats)
  )
  return {
    "test_loss": base.cross_entropy(logits, target)[0],
    "ndcg_10": ranking.ndcg(place, TOP).mean(),
    "hit_rate_10": ranking.hit_rate(place, TOP).mean(),
    "mrr": ranking.reciprocal_rank(place).mean(),
  }


def _allowed(items, lengths, logits, repeats):
  """The mask (n, items) of what may be recommended; None if all may."""
  if repeats:
    return None
  count, size = logits.shape
  items = jnp.where(masks.inside(items.shape[1], lengths), items, 0)
  seen = jnp.zeros((count, size + 1), bool)
  return ~seen.at[jnp.arange(count)[:, None], items].set(True)[:, 1:]


def popular(splits: data.Splits, part: str, repeats: bool) -> dict[str, float]:
  """Scores the items by how often they are a target in training.

  Returns:
    The metrics of `Problem.scores`, but for the loss.
  """
  count = splits.info.vocab_size - 1
  targets = splits.train.targets
  counts = np.bincount(targets[targets > 0] - 1, minlength=count)
  counts = jnp.asarray(counts, jnp.float32)

  def score(batch):
    size = len(batch.inputs)
    return _ranked(jnp.tile(counts, (size, 1)), batch, repeats), size

  metrics = base.average_over(score, getattr(splits, part), Problem.at_least)
  return {k: float(x) for k, x in metrics.items() if k != "test_loss"}


def _baselines(splits, config, part):
  """The metrics of the most popular items, where there is such a part."""
  if getattr(splits, part) is None:
    return {}
  return {"most popular": popular(splits, part, config.repeats)}


def _arguments(network, dataset):
  """Returns "items" (n, time) int32 and "lengths" (n,)."""
  del network
  return {"items": np.asarray(dataset.inputs), "lengths": dataset.lengths}


def compute(
  network: ItemNetwork, variables: Any, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "item" (n, `TOP`) int32 from 0 on, the best first, and "score".

  The scores are log probabilities among all items; -inf where no item is left.
  """
  items, lengths = arguments["items"], arguments["lengths"]
  logits = network.apply(variables, items, lengths, last=True)
  scores = jax.nn.log_softmax(logits)
  allowed = _allowed(items, lengths, logits, network.repeats)
  if allowed is not None:
    scores = jnp.where(allowed, scores, -jnp.inf)
  scores, best = lax.top_k(scores, min(TOP, network.num_items))
  return {"item": best.astype(jnp.int32), "score": scores}


def _predict(model, examples):
  """Returns a row for each item that is recommended to a user."""
  arrays = model.outputs(examples.dataset)
  shown = np.isfinite(arrays["score"])
  count = model.network.num_items
  names = np.array(model.preparation.items or tuple(map(str, range(count))))
  columns = outputs.rows(examples.ids, shown, "rank")
  columns["rank"] = columns["rank"] + 1
  columns["item"] = names[arrays["item"]][shown]
  columns["score"] = arrays["score"][shown]
  return columns, arrays


TASK = task.Task(
  name="recommendation",
  arm=ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="ndcg_10",
  better="higher",
  unit="histories",
  columns={"ndcg_10": "NDCG@10", "hit_rate_10": "HR@10", "mrr": "MRR"},
  kind="recommendation",
  outputs=outputs.Outputs(
    network=ItemNetwork,
    arguments=_arguments,
    compute=compute,
    predict=_predict,
  ),
  baselines=_baselines,
)
