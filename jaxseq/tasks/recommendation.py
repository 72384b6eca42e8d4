"""Recommendation of the next item, from the items that a user has taken.

A network reads a user's items one by one; the scores of all items after each
are the products of its output with their vectors, which are those that it reads
(SASRec, Kang & McAuley, arXiv:1808.09781; with a GRU it is GRU4Rec, with Mamba
Mamba4Rec). Training is the cross-entropy over all items, or one of the losses
of `item_losses`, which look at a sample. The first target of a part that is not
trained on is ranked among all items that the user has not taken, see
`tasks.ranking`. Beside the networks stand the floors of `item_floors`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import copy
import dataclasses
import functools
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
from jaxseq.tasks import item_network
from jaxseq.tasks import item_streams
from jaxseq.tasks import item_texts
from jaxseq.tasks import masked_network
from jaxseq.tasks import masking
from jaxseq.tasks import outputs
from jaxseq.tasks import ranking
from jaxseq.tasks import semantic_ids
from jaxseq.tasks import semantic_network
from jaxseq.tasks import task
from jaxseq.tasks.item_network import ItemNetwork
from jaxseq.training import per_seed
from jaxseq.training import supervised

# Of an arm: the metrics of each user of the test part.
USERS = "users.npz"
# Share of users that take an item which is new to all from which on it is told.
_COLD = 0.05
# Of the vectors that codes are made of.
_WIDTH = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of arms that a comparison may have for all of them.

  Attributes:
    repeats: whether items that a user has taken are recommended again.
    loss: "full", the cross-entropy over all items; "sampled", over a sample;
      "gbce", see `item_losses`; or "masked", that of hidden items, for networks
      that see both sides (BERT4Rec).
    share: of the items that "masked" hides.
    negatives: items of a sample, drawn uniformly for each history.
    calibration: t of "gbce".
    gaps: whether the mixer's step sizes are multiplied by the gaps between the
      items, which the data have with their option `gap`.
    items: by what items are read and scored: "ids", vectors of their own;
      "text", what a network makes of their words, see `item_texts`; or
      "semantic", codes of their words one after the other, see `semantic_ids`.
      Data have texts with an option of theirs.
    levels: codes of an item, beside the one that tells apart items which are
      alike in all others.
    codes: of a level.
    text_mixer: of the network that reads the words.
    temperature: what cosines of vectors are divided by, such as .05; None for
      products that are no cosines.
  """

  repeats: bool = False
  loss: Literal["full", "sampled", "gbce", "masked"] = "full"
  share: float = 0.2
  negatives: int = 256
  calibration: float = 0.75
  gaps: bool = False
  items: Literal["ids", "text", "semantic"] = "ids"
  levels: int = 3
  codes: int = 64
  text_mixer: str = "gru"
  temperature: float | None = None


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """The network and the training of one arm, with `Options`."""

  def __post_init__(self):
    super().__post_init__()
    _validate.at_least(self, negatives=1, levels=1, codes=2)
    _validate.number("calibration", self.calibration, 0, 1)
    _validate.number("share", self.share, 0, 1)
    if self.loss == "masked":
      masked_network.check_both_sides(self.network.stack)
      if self.gaps or self.items != "ids":
        expected = "another one with gaps, or items by their text"
        raise _validate.error("loss", "masked", expected)
    mixers.get(self.text_mixer)
    if self.temperature is not None:
      _validate.above_zero("temperature", self.temperature)
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


def make_network(
  arm: ArmConfig, splits: data.Splits
) -> ItemNetwork | semantic_network.SemanticNetwork:
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
  if arm.items != "ids" and not _texts(splits):
    expected = "'ids', or data with an option of texts"
    raise _validate.error("items", arm.items, expected)
  sizes = splits.info.vocab_size - 1, inputs.shape[1]
  if arm.items == "semantic":
    if arm.loss != "full" or arm.gaps or arm.temperature is not None:
      expected = "'ids' or 'text' with a loss over a sample, gaps or cosines"
      raise _validate.error("items", "semantic", expected)
    return semantic_network.SemanticNetwork(
      arm.network, *sizes, 1 + arm.levels, arm.codes, arm.repeats
    )
  return ItemNetwork(
    arm.network,
    *sizes,
    arm.repeats,
    arm.gaps,
    text_mixer=arm.text_mixer if arm.items == "text" else None,
    temperature=arm.temperature,
    masked=arm.loss == "masked",
  )


def _texts(splits):
  """The texts of the items, if there are any."""
  return getattr(splits.info.preparation, "texts", None) or ()


def _known(arm, splits):
  """Arrays by name: the words or the codes of items; None if not read."""
  texts = _texts(splits)
  if arm.items == "text":
    return {"tokens": item_texts.tokens(texts)}
  if arm.items == "ids":
    return None
  width = min(_WIDTH, len(texts) - 1)
  fitted = semantic_ids.fit(
    jax.random.key(0),
    semantic_ids.word_vectors(texts, width),
    levels=arm.levels,
    codes=arm.codes,
  )
  ids = semantic_ids.identifiers(fitted.codes)
  if ids.max() >= arm.codes:
    expected = f"more than {ids.max()}, the number of items that are alike"
    raise _validate.error("codes", arm.codes, expected)
  none = np.zeros_like(ids[:1])
  tokens = semantic_ids.tokens_of(ids, arm.codes)
  return {"ids": np.concatenate([none, tokens])}


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
    # The variables of items, which are not trained.
    self.known = _known(arm, splits)
    if arm.items == "semantic":
      self.kind = "semantic_ids"

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the variables of the network, and what is known of items."""
    batch = base.first(self.data["train"])
    variables = self.network.init(
      key, *self.inputs(batch), **self.keywords(batch)
    )
    if self.known is not None:
      known = {name: jnp.asarray(x) for name, x in self.known.items()}
      variables = {**variables, item_network.ITEMS: known}
    return variables

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
    if self.arm.items == "semantic":
      (nats, counted), collections, penalty = base.in_training(
        *(self.network, variables, key, *self.inputs(batch), batch.targets),
        method="nats",
      )
      # The nats of an item are those of all its tokens.
      items = counted.sum() / self.network.levels
      value = jnp.where(counted, nats, 0).sum() / jnp.maximum(items, 1)
      return value + penalty, supervised.Loss({}, collections, carry)
    if self.arm.loss == "full":
      return super().loss(variables, batch, carry, key)
    key, draw = jax.random.split(key)
    if self.arm.loss == "masked":
      # The last target is an item of the history like all others.
      items = jnp.concatenate([batch.inputs[:, :1], batch.targets], axis=1)
      options = {"share": self.arm.share, "hidden": 1.0, "random": 0.0}
      masked = masking.mask(draw, items, items > 0, 0, jnp.ones(1), **options)
      arguments = masked.inputs, batch.lengths + 1
      logits, collections, penalty = base.in_training(
        self.network, variables, key, *arguments
      )
      value, _, _ = base.cross_entropy(
        logits, jnp.maximum(items - 1, 0), masked.scored
      )
      return value + penalty, supervised.Loss({}, collections, carry)
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

  def by_user(
    self, variables: base.PyTree, batch: data.ArrayDataset, cold: jax.Array
  ) -> dict[str, jax.Array]:
    """Returns `item_metrics.by_user` of the users of a batch."""
    logits = self.network.apply(
      variables, *self.inputs(batch), last=True, **self.keywords(batch)
    )
    return item_metrics.by_user(logits, batch, self.network.repeats, cold)

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


def second_stage(
  problem: Problem, variables: base.PyTree
) -> tuple[Problem, base.PyTree]:
  """Returns a problem that goes on with the items' vectors as they are.

  It is Recformer's second stage: the first one trains texts and histories, and
  its best variables are handed on.

  Args:
    problem: of items by their text.
    variables: trained on it.

  Returns:
    The problem, which starts from the variables without the texts' network; and
    these.
  """
  second = copy.copy(problem)
  second.network, variables = problem.network.freeze(variables)
  second.known = variables[item_network.ITEMS]
  second.init = lambda key: variables
  return second, variables


def _adapted(line, splits):
  """The task with what the data's floors say of each user."""
  floor = functools.cache(functools.partial(item_metrics.strongest, splits))

  def more(config, arm, source):
    del arm, source
    reference = functools.partial(floor, config.repeats)
    return functools.partial(_paired, splits, reference)

  figures = item_metrics.figures_of(splits)
  return dataclasses.replace(line, figures=figures, more=more)


def _paired(splits, floor, program, variables, directory, trained):
  """Writes metrics of all users, and compares them with those of a floor."""
  # The file, with (seeds, users) arrays, is for pairs with other arms.
  cold = item_metrics.cold_items(splits)
  pieces = [
    program.measure(program.problem.by_user, variables, batch, cold)
    for batch in item_metrics.slices(splits, "test")
  ]
  users = {
    name: np.concatenate([np.array(one[name]) for one in pieces], axis=1)
    for name in pieces[0]
  }
  if trained:
    np.savez(directory / USERS, **users)
  results, among_cold = {}, users["cold_hit_rate_10"]
  if np.isfinite(among_cold[0]).mean() > _COLD:
    results["cold_hit_rate_10"] = per_seed.of(np.nanmean(among_cold, axis=1))
  reference = floor()
  if reference is not None:
    mean, error = ranking.paired(users["ndcg_10"], reference)
    results["above_floor"] = per_seed.of(mean)
    results["above_floor_error"] = round(float(error), 4)
  return results


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


class Stream:
  """Answers interactions: the items for a user, after all that they took.

  Args:
    model: of recommendation, a `models.Model`.
  """

  def __init__(self, model: Any):
    self._prepared, self._repeats = model.preparation, model.network.repeats
    self._users = item_streams.Users(model.network, model.variables)
    self._number = {name: n for n, name in enumerate(self._prepared.items)}
    self._last: dict[str, np.ndarray] = {}

  def __call__(self, row: Mapping[str, str]) -> dict[str, Any]:
    """Returns `recommend` for the user of a row, after its item."""
    self.update(row)
    return self.recommend(row[self._prepared.user])

  def update(self, row: Mapping[str, str]) -> None:
    """Reads one more item of a user, in constant time.

    Args:
      row: the entries of an interaction by the columns of the training's table.

    Raises:
      KeyError: if an entry is not there.
      ValueError: if the item was not in the training, or the time is none.
    """
    prepared = self._prepared
    user, number = row[prepared.user], self._place(row[prepared.item])
    gap = None
    if self._users.network.gaps:
      stamp = _time_stamps.parse([row[prepared.time]], lambda _: prepared.time)
      both = np.concatenate([self._last.get(user, stamp), stamp])
      self._last[user], gap = stamp, float(prepared.gaps(both)[1])
    self._users.update(user, number + 1, gap)

  def recommend(
    self,
    user: str,
    k: int = item_metrics.TOP,
    *,
    repeats: bool | None = None,
    items: Sequence[str] | None = None,
  ) -> dict[str, Any]:
    """Returns the best "items" of a "user", by name, and their "scores".

    Args:
      user: who has taken something.
      k: items; there are fewer where no other is left.
      repeats: whether what was taken may come again; as in training if None.
      items: those that may be recommended; all if None.

    Raises:
      ValueError: if the user, or one of the items, is not known.
    """
    allowed = None
    if items is not None:
      allowed = np.zeros(len(self._number), bool)
      allowed[[self._place(name) for name in items]] = True
    repeats = self._repeats if repeats is None else repeats
    (best,), (scores,) = self._users.recommend([user], k, repeats, allowed)
    shown = np.isfinite(scores)
    return {
      "user": user,
      "items": [self._prepared.items[n] for n in best[shown]],
      "scores": scores[shown].tolist(),
    }

  def _place(self, name):
    """The number of an item, from 0 on."""
    if name not in self._number:
      expected = "an item of the training"
      raise _validate.error("item", str(name)[:40], expected)
    return self._number[name]


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
    "cold_hit_rate_10": "HR@10 among new items",
    "above_floor": "NDCG@10 above EASE, recency",
    "above_floor_error": "standard error by users",
  },
  kind="recommendation",
  outputs=outputs.Outputs(
    network=ItemNetwork,
    arguments=_arguments,
    compute=compute,
    predict=_predict,
    stream=Stream,
  ),
  baselines=_baselines,
  adapt=_adapted,
)
