"""Recommendation of the next item, from the items of a user's history.

A network reads a user's items one by one; the scores of all items after each
are the products of its output with their embeddings, which are also its inputs
(SASRec, Kang & McAuley, arXiv:1808.09781; with a GRU it is GRU4Rec, with Mamba
Mamba4Rec). Training minimizes the cross-entropy over all items, or a sampled
loss of `tasks.losses`. In validation and test the last target is ranked among
all items that are not in the user's history, see `tasks.ranking`. The
baselines are those of `item_baselines`.
"""

import copy
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import losses
from jaxseq.tasks import masking
from jaxseq.tasks import outputs
from jaxseq.tasks import ranking
from jaxseq.tasks import task
from jaxseq.tasks.recommendation import answers as recommendation_answers
from jaxseq.tasks.recommendation import arms as recommendation_arms
from jaxseq.tasks.recommendation import baselines as item_baselines
from jaxseq.tasks.recommendation import item_wishes
from jaxseq.tasks.recommendation import metrics as item_metrics
from jaxseq.tasks.recommendation import network as item_network
from jaxseq.tasks.recommendation import semantic_network
from jaxseq.tasks.recommendation import sentence_network
from jaxseq.tasks.recommendation import sentence_stages
from jaxseq.tasks.recommendation.network import ItemNetwork
from jaxseq.training import per_seed
from jaxseq.training import supervised

# File in an arm's directory with the metrics of each user of the test part.
USERS = "users.npz"
# Share of users with a cold target above which their metric is reported.
_COLD = 0.05


@dataclasses.dataclass(frozen=True)
class Config(recommendation_arms.Options, base.DataComparison):
  """A comparison on histories of users, with `recommendation_arms.Options`."""


class Problem(base.ArrayProblem):
  """Predicting the next items of users.

  Args:
    arm: network and batch size, in histories.
    splits: data as from `data.sources.interactions.make_splits`.

  Raises:
    ValueError: if the data are not histories of items, batches are larger than
      the training set, or the network pools.
  """

  validated = "ndcg_10"
  at_least = 128
  # One of the stages of `sentence_stages`.
  stage = sentence_stages.FIRST

  def __init__(self, arm: recommendation_arms.ArmConfig, splits: data.Splits):
    network = recommendation_arms.make_network(arm, splits)
    parts = base.parts(splits)
    super().__init__(arm, network, parts, len(splits.train.inputs))
    # The variables of items, which are not trained.
    self.known = recommendation_arms.item_variables(arm, splits, network)
    if arm.items == "semantic":
      self.kind = "semantic_ids"
    if arm.items == "sentences":
      self.kind, self.make_arm = "item_sentences", sentence_stages.Arm

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network, with item variables."""
    batch = base.first(self.data["train"])
    options = self.keywords(batch)
    if self.arm.items == "sentences" and self.arm.stages[0]:
      options["method"] = "everything"
    variables = self.network.init(key, *self.inputs(batch), **options)
    if self.known is not None:
      known = jax.tree.map(jnp.asarray, self.known)
      variables = {**variables, item_network.ITEMS: known}
    return variables

  def inputs(self, batch: data.ArrayDataset) -> tuple[jax.Array, jax.Array]:
    """Returns the items and the lengths."""
    return batch.inputs, batch.lengths

  def keywords(self, batch: data.ArrayDataset) -> dict[str, jax.Array]:
    """Returns the gaps, if the network reads them."""
    return {"gaps": batch.extras.gaps} if self.arm.gaps else {}

  def loss(
    self, variables: base.PyTree, batch: Any, carry: base.PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the objective on a batch, see `loss` of the options."""
    if self.arm.items == "sentences":
      objective = sentence_stages.next_item
      if self.stage == sentence_stages.PRETRAINING:
        objective = sentence_stages.pretraining
      value, metrics = objective(self.network, variables, batch, key)
      return value, supervised.Loss(metrics, {}, carry)
    if self.arm.items == "semantic":
      value, metrics, kept = self._by_codes(variables, batch, key)
    elif self.arm.loss == "full":
      return super().loss(variables, batch, carry, key)
    else:
      key, draw = jax.random.split(key)
      objectives = {"autoencode": self._rebuilt, "masked": self._hidden}
      objective = objectives.get(self.arm.loss, self._sampled)
      value, metrics, kept = objective(variables, batch, key, draw)
    collections, penalty = kept
    return value + penalty, supervised.Loss(metrics, collections, carry)

  def _by_codes(self, variables, batch, key):
    """The nats of all codes, per item; with wishes before the last item."""
    options = {}
    if self.network.wishes:
      key, cut, draw = jax.random.split(key, 3)
      lengths, target = sentence_stages.cut(batch, cut)
      batch = batch._replace(lengths=lengths)
      known = variables[item_network.ITEMS]
      options["words"] = item_wishes.draw(known, target, draw)
    arguments = *self.inputs(batch), batch.targets
    (nats, counted), *kept = base.in_training(
      self.network, variables, key, *arguments, method="nats", **options
    )
    # The nats of an item are those of all its tokens.
    items = counted.sum() / self.network.levels
    value = jnp.where(counted, nats, 0).sum() / jnp.maximum(items, 1)
    return value, {}, kept

  def _rebuilt(self, variables, batch, key, draw):
    """The cross-entropy of the reconstructed items."""
    del draw
    logits, *kept = base.in_training(
      self.network, variables, key, *self.inputs(batch)
    )
    value, accuracy = _told(logits, *self.inputs(batch))
    return value, {"train_rebuilt": accuracy}, kept

  def _hidden(self, variables, batch, key, draw):
    """The cross-entropy of masked items, from both sides."""
    # The last target is part of the history.
    items = jnp.concatenate([batch.inputs[:, :1], batch.targets], axis=1)
    options = {"share": self.arm.share, "hidden": 1.0, "random": 0.0}
    masked = masking.mask(draw, items, items > 0, 0, jnp.ones(1), **options)
    logits, *kept = base.in_training(
      self.network, variables, key, masked.inputs, batch.lengths + 1
    )
    value, _, _ = base.cross_entropy(
      logits, jnp.maximum(items - 1, 0), masked.scored
    )
    return value, {}, kept

  def _sampled(self, variables, batch, key, draw):
    """The loss of the next items against sampled ones."""
    count, items = self.arm.negatives, self.network.num_items
    shape = len(batch.inputs), count
    others = jax.random.randint(draw, shape, 1, items + 1)
    arguments = *self.inputs(batch), batch.targets, others
    (positive, negative), *kept = base.in_training(
      *(self.network, variables, key, *arguments),
      method="compare",
      **self.keywords(batch),
    )
    if self.arm.loss == "gbce":
      values = losses.gbce(positive, negative, items, self.arm.calibration)
    else:
      hit = others[:, None] == batch.targets[..., None]
      values = losses.sampled_softmax(positive, negative, -jnp.log(items), hit)
    counted = batch.targets > 0
    total = jnp.where(counted, values, 0).sum()
    return total / jnp.maximum(counted.sum(), 1), {}, kept

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
    """Returns `item_metrics.of_scores`, from the newest items of a history.

    Ranks are among all items that are not in the whole history, unless repeats
    are allowed.
    """
    del key
    logits = self._ranked(variables, batch)
    metrics = item_metrics.of_scores(logits, batch, self.network.repeats)
    if self.arm.loss == "autoencode":
      newest = self.network.newest(*self.inputs(batch))[:2]
      again = self.network.apply(variables, *newest)
      # A mean over items, whose number differs between batches.
      items = newest[1].mean()
      metrics["rebuilt"] = _told(again, *newest)[1] * items
      metrics["items"] = items
    return metrics, len(batch.inputs)

  def measure(
    self, variables: base.PyTree, examples: data.ArrayDataset
  ) -> supervised.Metrics:
    """Scores a part, see `scores`; "rebuilt" is the reconstruction accuracy."""
    metrics = super().measure(variables, examples)
    if "rebuilt" in metrics:
      metrics["rebuilt"] /= metrics.pop("items")
    return metrics

  def by_user(
    self, variables: base.PyTree, batch: data.ArrayDataset, cold: jax.Array
  ) -> dict[str, jax.Array]:
    """Returns `item_metrics.by_user` of the users of a batch."""
    logits = self._ranked(variables, batch)
    return item_metrics.by_user(logits, batch, self.network.repeats, cold)

  def _ranked(self, variables, batch):
    """The scores of all items after each history."""
    options = self.keywords(batch)
    return self.network.apply(
      variables, *self.inputs(batch), last=True, **options
    )

  def evaluate(
    self, variables: base.PyTree, data: base.PyTree
  ) -> supervised.Metrics:
    """Scores the parts that are not trained on, and counts recommendations."""
    metrics = super().evaluate(variables, data)
    tallies = metrics[supervised.TALLIES] * len(data["test"].inputs)
    return {**metrics, supervised.TALLIES: tallies}


def _told(logits, items, lengths):
  """Reconstruction cross-entropy and accuracy."""
  real = masks.inside(items.shape[1], lengths)
  return base.cross_entropy(logits, jnp.maximum(items - 1, 0), real)[:2]


def _baselines(splits, config, part):
  """The metrics of the baselines, if there is such a part."""
  if getattr(splits, part) is None:
    return {}
  if part == "test" and not config.repeats:
    item_metrics.tell_taken(splits.test)
  rows = item_metrics.floors(splits, part, config.repeats)
  # Rows for the validation part have to be fast.
  if part == "test":
    scorer = item_baselines.factors(item_baselines.histories(splits, part))
    if scorer is not None:
      rows["ALS"] = item_metrics.floor(scorer, splits, part, config.repeats)
  return rows


def second_stage(
  problem: Problem, variables: base.PyTree
) -> tuple[Problem, base.PyTree]:
  """Returns a problem that continues training with constant item vectors.

  It is Recformer's second stage: the first one trains texts and histories, and
  its best variables are the initial ones of the second.

  Args:
    problem: problem of items by their text.
    variables: variables trained on it.

  Returns:
    The problem, which starts from the variables without the texts' network; and
    these variables.
  """
  second = copy.copy(problem)
  second.network, variables = problem.network.freeze(variables)
  second.known = variables[item_network.ITEMS]
  second.init = lambda key: variables
  return second, variables


def _adapted(line, splits):
  """The task with the strongest baseline's metrics of each user."""
  floor = functools.cache(functools.partial(item_metrics.strongest, splits))

  def more(config, arm, source):
    del source
    reference = functools.partial(floor, config.repeats)
    return functools.partial(_paired, splits, arm, reference)

  figures = item_metrics.figures_of(splits)
  return dataclasses.replace(line, figures=figures, more=more)


def _steered(splits, arm, program, variables):
  """The shares of recommended items that fulfill wishes, with and without."""
  has = recommendation_arms.wished(arm, splits)
  wishes = item_wishes.asked(has, len(splits.test.inputs))
  steering = functools.partial(item_wishes.steering, program.problem.network)
  shares = _of_users(program, steering, variables, splits, *wishes)
  return {name: per_seed.of(x.mean(axis=1)) for name, x in shares.items()}


def _paired(splits, arm, floor, program, variables, directory, trained):
  """Writes metrics of all users, and compares them with a baseline's."""
  # The file, with (seeds, users) arrays, is for paired tests of other arms.
  cold = jnp.asarray(item_metrics.cold_items(splits))
  function = functools.partial(program.problem.by_user, cold=cold)
  users = _of_users(program, function, variables, splits)
  if trained:
    np.savez(directory / USERS, **users)
  results, among_cold = {}, users["cold_hit_rate_10"]
  if arm.wish is not None:
    results |= _steered(splits, arm, program, variables)
  if np.isfinite(among_cold[0]).mean() > _COLD:
    results["cold_hit_rate_10"] = per_seed.of(np.nanmean(among_cold, axis=1))
  reference = floor()
  if reference is not None:
    mean, error = ranking.paired(users["ndcg_10"], reference)
    results["above_floor"] = per_seed.of(mean)
    results["above_floor_error"] = round(float(error), 4)
  return results


def _of_users(program, function, variables, splits, *arrays):
  """Arrays (seeds, users) by name, from a function of all test users."""
  pieces, begin = [], 0
  for batch in item_metrics.slices(splits, "test"):
    some = slice(begin, begin + len(batch.inputs))
    rows = (x[some] for x in arrays)
    pieces.append(program.measure(function, variables, batch, *rows))
    begin = some.stop
  return {
    name: np.concatenate([np.array(one[name]) for one in pieces], axis=1)
    for name in pieces[0]
  }


TASK = task.Task(
  name="recommendation",
  arm=recommendation_arms.ArmConfig,
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
    "rebuilt": "items rebuilt",
    "steered": "as wished",
    "unsteered": "as wished, unasked",
    "above_floor": "NDCG@10 above EASE, recency",
    "above_floor_error": "standard error by users",
  },
  kind="recommendation",
  outputs=outputs.Outputs(
    network=ItemNetwork,
    arguments=recommendation_answers.arguments,
    compute=recommendation_answers.compute,
    predict=recommendation_answers.predict,
    stream=recommendation_answers.Stream,
  ),
  baselines=_baselines,
  adapt=_adapted,
  own_files=task.OwnFiles(fields={"from_ease": True}),
)
# Models of other classes, without states of users: they read the whole history
# again with every item, and have no streams.
CODES, SENTENCES = (
  dataclasses.replace(TASK.outputs, network=network, stream=None)
  for network in (
    semantic_network.SemanticNetwork,
    sentence_network.SentenceNetwork,
  )
)
