"""Recommendation of the next item, from the items that a user has taken.

A network reads a user's items one by one; the scores of all items after each
are the products of its output with their vectors, which are those that it reads
(SASRec, Kang & McAuley, arXiv:1808.09781; with a GRU it is GRU4Rec, with Mamba
Mamba4Rec). Training is the cross-entropy over all items, or one of the losses
of `item_losses`, which look at a sample. The first target of a part that is not
trained on is ranked among all items that the user has not taken, see
`tasks.ranking`. Beside the networks stand the floors of `item_floors`.
"""

import dataclasses
import inspect
from typing import Any
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq import mixers
from jaxseq.data import _time_stamps
from jaxseq.tasks import base
from jaxseq.tasks import item_losses
from jaxseq.tasks import item_metrics
from jaxseq.tasks import item_streams
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.tasks.item_network import ItemNetwork
from jaxseq.training import supervised


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of arms that a comparison may have for all of them.

  Attributes:
    repeats: whether items that a user has taken are recommended again.
    loss: "full", the cross-entropy over all items; "sampled", over a sample; or
      "gbce", see `item_losses`.
    negatives: items of a sample, drawn uniformly for each history.
    calibration: t of "gbce".
    gaps: whether the mixer's step sizes are multiplied by the gaps between the
      items, which the data have with their option `gap`.
  """

  repeats: bool = False
  loss: Literal["full", "sampled", "gbce"] = "full"
  negatives: int = 256
  calibration: float = 0.75
  gaps: bool = False


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """The network and the training of one arm, with `Options`."""

  def __post_init__(self):
    super().__post_init__()
    _validate.at_least(self, negatives=1)
    _validate.number("calibration", self.calibration, 0, 1)
    name = self.network.stack.mixer
    if (
      self.gaps
      and "gaps" not in inspect.signature(mixers.get(name).apply).parameters
    ):
      expected = f"False for the mixer {name!r}, which has no step sizes"
      raise _validate.error("gaps", True, expected)


@dataclasses.dataclass(frozen=True)
class Config(Options, base.DataComparison):
  """A comparison on histories of users, with `Options`."""


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
  if arm.gaps and splits.train.extras.gaps is None:
    raise _validate.error("gaps", True, "False, or data with the option gap")
  count = splits.info.vocab_size - 1
  return ItemNetwork(arm.network, count, inputs.shape[1], arm.repeats, arm.gaps)


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
    batch = base.first(self.data["train"])
    return self.network.init(key, *self.inputs(batch), **self.keywords(batch))

  def inputs(self, batch: data.ArrayDataset) -> tuple[jax.Array, jax.Array]:
    """Returns the items, and their numbers."""
    return batch.inputs, batch.lengths

  def keywords(self, batch: data.ArrayDataset) -> dict[str, jax.Array]:
    """Returns the gaps, where the network reads them."""
    return {"gaps": batch.extras.gaps} if self.arm.gaps else {}

  def loss(
    self, variables: base.PyTree, batch: Any, carry: base.PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the objective on a batch, see `Options.loss`."""
    if self.arm.loss == "full":
      return super().loss(variables, batch, carry, key)
    key, draw = jax.random.split(key)
    count, items = self.arm.negatives, self.network.num_items
    shape = len(batch.inputs), count
    others = jax.random.randint(draw, shape, 1, items + 1)
    (positive, negative), collections, penalty = base.in_training(
      self.network,
      variables,
      key,
      *self.inputs(batch),
      batch.targets,
      others,
      method="compare",
      **self.keywords(batch),
    )
    if self.arm.loss == "gbce":
      values = item_losses.gbce(positive, negative, items, self.arm.calibration)
    else:
      hit = others[:, None] == batch.targets[..., None]
      values = item_losses.sampled_softmax(
        positive, negative, -jnp.log(items), hit
      )
    counted = batch.targets > 0
    total = jnp.where(counted, values, 0).sum()
    value = total / jnp.maximum(counted.sum(), 1)
    return value + penalty, supervised.Loss({}, collections, carry)

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
    """Returns `item_metrics.of_scores`, by the newest items of a history.

    The ranks are among all items that are not in the whole history, unless
    items come again.
    """
    del key
    logits = self.network.apply(
      variables, *self.inputs(batch), last=True, **self.keywords(batch)
    )
    metrics = item_metrics.of_scores(logits, batch, self.network.repeats)
    return metrics, len(batch.inputs)

  def evaluate(
    self, variables: base.PyTree, data: base.PyTree
  ) -> supervised.Metrics:
    """Scores parts that are not trained on, and counts what is recommended."""
    metrics = super().evaluate(variables, data)
    tallies = metrics[supervised.TALLIES] * len(data["test"].inputs)
    return {**metrics, supervised.TALLIES: tallies}


def _baselines(splits, config, part):
  """The metrics of the floors, where there is such a part."""
  if getattr(splits, part) is None:
    return {}
  return item_metrics.floors(splits, part, config.repeats)


def _arguments(network, dataset):
  """Returns "items" (n, time) int32, "lengths" (n,) and perhaps "gaps"."""
  return outputs.present(
    items=np.asarray(dataset.inputs),
    lengths=dataset.lengths,
    gaps=dataset.extras.gaps if network.gaps else None,
  )


def compute(
  network: ItemNetwork, variables: Any, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "item" (n, k) int32 from 0 on, the best first, and their "score".

  k is `item_metrics.TOP`, or all items if they are fewer. The scores are log
  probabilities among all items; -inf where no item is left.
  """
  items, lengths = arguments["items"], arguments["lengths"]
  logits = network.apply(
    variables, items, lengths, last=True, gaps=arguments.get("gaps")
  )
  scores = jax.nn.log_softmax(logits)
  allowed = item_metrics.candidates(items, lengths, logits, network.repeats)
  if allowed is not None:
    scores = jnp.where(allowed, scores, -jnp.inf)
  scores, best = lax.top_k(scores, min(item_metrics.TOP, network.num_items))
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


def _stream(model):
  """Returns what answers an interaction: the items for its user, after it."""
  prepared, network = model.preparation, model.network
  users = item_streams.Users(network, model.variables)
  number = {name: n for n, name in enumerate(prepared.items, 1)}
  last: dict[str, np.ndarray] = {}

  def answer(row):
    user, item = row[prepared.user], row[prepared.item]
    if item not in number:
      raise _validate.error("item", item[:40], "an item of the training")
    gap = None
    if network.gaps:
      stamp = _time_stamps.parse([row[prepared.time]], lambda _: prepared.time)
      both = np.concatenate([last.get(user, stamp), stamp])
      last[user], gap = stamp, float(prepared.gaps(both)[1])
    users.update(user, number[item], gap)
    best, scores = users.recommend([user], item_metrics.TOP, network.repeats)
    shown = np.isfinite(scores[0])
    return {
      "user": user,
      "items": [prepared.items[n] for n in best[0][shown]],
      "scores": scores[0][shown].tolist(),
    }

  return answer


TASK = task.Task(
  name="recommendation",
  arm=ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="ndcg_10",
  better="higher",
  unit="histories",
  columns={
    "ndcg_10": "NDCG@10",
    "hit_rate_10": "HR@10",
    "mrr": "MRR",
    "coverage": "coverage",
    "novelty": "novelty (bits)",
  },
  kind="recommendation",
  outputs=outputs.Outputs(
    network=ItemNetwork,
    arguments=_arguments,
    compute=compute,
    predict=_predict,
    stream=_stream,
  ),
  baselines=_baselines,
  adapt=lambda line, splits: dataclasses.replace(
    line, figures=item_metrics.figures_of(splits)
  ),
)
