"""Problems of recommendation: a class for each loss and form of items."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import data
from jaxseq import validate
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import losses
from jaxseq.tasks import masking
from jaxseq.tasks.recommendation import arms as recommendation_arms
from jaxseq.tasks.recommendation import item_linear
from jaxseq.tasks.recommendation import item_wishes
from jaxseq.tasks.recommendation import metrics as item_metrics
from jaxseq.tasks.recommendation import network as item_network
from jaxseq.tasks.recommendation import sentence_stages
from jaxseq.training import supervised


class Problem(base.ArrayProblem):
  """Predicting the next items of users, by the cross-entropy over all items.

  `make` returns the problem of an arm with another loss or form of items.

  Args:
    arm: network and batch size, in histories.
    splits: data as from `data.sources.interactions.make_splits`.

  Raises:
    ValueError: if the arm needs another class, the data are not histories of
      items, batches are larger than the training set, or the network pools.
  """

  validated = "ndcg_10"
  at_least = 128

  def __init__(self, arm: recommendation_arms.ArmConfig, splits: data.Splits):
    if not isinstance(self, _class_of(arm)):
      expected = f"the options of a {type(self).__name__}, or `make`"
      got = f"loss {arm.loss!r} and items {arm.items!r}"
      raise validate.error("arm", got, expected)
    network = recommendation_arms.make_network(arm, splits)
    parts = base.parts(splits)
    super().__init__(arm, network, parts, len(splits.train.inputs))
    # The variables of items, which are not trained.
    self.known = recommendation_arms.item_variables(arm, splits, network)
    self._later = None
    if getattr(network, "linear", False) and self.part == "validation":
      self._later = item_linear.refitted(splits, self.known["scores"])

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network, with item variables."""
    batch = base.first(self.data["train"])
    variables = self.network.init(
      key, *self.inputs(batch), **self._init_options(batch)
    )
    if self.known is not None:
      known = jax.tree.map(jnp.asarray, self.known)
      variables = {**variables, item_network.ITEMS: known}
    return variables

  def _init_options(self, batch):
    """The keyword arguments that create all variables."""
    return self.keywords(batch)

  def inputs(self, batch: data.ArrayDataset) -> tuple[jax.Array, jax.Array]:
    """Returns the items and the lengths."""
    return batch.inputs, batch.lengths

  def keywords(self, batch: data.ArrayDataset) -> dict[str, jax.Array]:
    """Returns the gaps, if the network reads them."""
    return {"gaps": batch.extras.gaps} if self.arm.gaps else {}

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
    return metrics, len(batch.inputs)

  def by_user(
    self, variables: base.PyTree, batch: data.ArrayDataset, cold: jax.Array
  ) -> dict[str, jax.Array]:
    """Returns `item_metrics.by_user` of the users of a batch for testing."""
    logits = self._ranked(self._for_test(variables), batch)
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
    metrics = self.measure(self._for_test(variables), data["test"])
    if self.part == "validation":
      valid = self.measure(variables, data["valid"])
      metrics[self.watched(self.validated)] = valid[self.validated]
    tallies = metrics[supervised.TALLIES] * len(data["test"].inputs)
    return {**metrics, supervised.TALLIES: tallies}

  def _for_test(self, variables):
    """The variables with scores that know the validation part, too."""
    if self._later is None:
      return variables
    scores = jax.tree.map(jnp.asarray, self._later)
    known = {**variables[item_network.ITEMS], "scores": scores}
    return {**variables, item_network.ITEMS: known}


class SampledProblem(Problem):
  """Next items with a cross-entropy over a sample of the items."""

  def loss(
    self, variables: base.PyTree, batch: Any, carry: base.PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the loss of the next items against sampled ones."""
    key, draw = jax.random.split(key)
    count, items = self.arm.negatives, self.network.num_items
    shape = len(batch.inputs), count
    others = jax.random.randint(draw, shape, 1, items + 1)
    arguments = *self.inputs(batch), batch.targets, others
    (positive, negative), *kept = base.in_training(
      *(self.network, variables, key, *arguments),
      method="compare",
      **self.keywords(batch),
    )
    values = self._compared(positive, negative, others, batch)
    counted = batch.targets > 0
    total = jnp.where(counted, values, 0).sum()
    return _loss(total / jnp.maximum(counted.sum(), 1), {}, kept, carry)

  def _compared(self, positive, negative, others, batch):
    """The losses of scored targets against other items."""
    hit = others[:, None] == batch.targets[..., None]
    shift = -jnp.log(self.network.num_items)
    return losses.sampled_softmax(positive, negative, shift, hit)


class GbceProblem(SampledProblem):
  """Next items with the calibrated loss over a sample, see `losses.gbce`."""

  def _compared(self, positive, negative, others, batch):
    items = self.network.num_items
    return losses.gbce(positive, negative, items, self.arm.calibration)


class MaskedProblem(Problem):
  """Masked items of histories, predicted from both sides (BERT4Rec)."""

  def loss(
    self, variables: base.PyTree, batch: Any, carry: base.PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the cross-entropy of masked items."""
    key, draw = jax.random.split(key)
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
    return _loss(value, {}, kept, carry)


class AutoencodeProblem(Problem):
  """Histories that are reconstructed from one vector."""

  def loss(
    self, variables: base.PyTree, batch: Any, carry: base.PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the cross-entropy of the reconstructed items."""
    key, _ = jax.random.split(key)
    logits, *kept = base.in_training(
      self.network, variables, key, *self.inputs(batch)
    )
    value, accuracy = _reconstruction(logits, *self.inputs(batch))
    return _loss(value, {"train_rebuilt": accuracy}, kept, carry)

  def scores(
    self,
    variables: base.PyTree,
    batch: data.ArrayDataset,
    key: jax.Array | None = None,
  ) -> tuple[supervised.Metrics, int]:
    """Returns the metrics of `Problem`, and "rebuilt" times "items"."""
    metrics, count = super().scores(variables, batch, key)
    newest = self.network.newest(*self.inputs(batch))[:2]
    again = self.network.apply(variables, *newest)
    # A mean over items, whose number differs between batches.
    items = newest[1].mean()
    metrics["rebuilt"] = _reconstruction(again, *newest)[1] * items
    metrics["items"] = items
    return metrics, count

  def measure(
    self, variables: base.PyTree, examples: data.ArrayDataset
  ) -> supervised.Metrics:
    """Scores a part; "rebuilt" is the reconstruction accuracy."""
    metrics = super().measure(variables, examples)
    metrics["rebuilt"] /= metrics.pop("items")
    return metrics


class SemanticProblem(Problem):
  """Next items as sequences of codes, see `semantic_ids`."""

  kind = "semantic_ids"

  def loss(
    self, variables: base.PyTree, batch: Any, carry: base.PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the nats of all codes, per item.

    With wishes they are those of the codes after one of the items.
    """
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
    return _loss(value, {}, kept, carry)


class SentenceProblem(Problem):
  """Next items by the words of histories, in stages of training."""

  kind = "item_sentences"
  make_arm = sentence_stages.Arm
  # One of the stages of `sentence_stages`.
  stage = sentence_stages.FIRST

  def _init_options(self, batch):
    options = super()._init_options(batch)
    if self.arm.stages[sentence_stages.PRETRAINING]:
      options["method"] = "everything"
    return options

  def loss(
    self, variables: base.PyTree, batch: Any, carry: base.PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the objective of the stage on a batch."""
    objective = sentence_stages.next_item
    if self.stage == sentence_stages.PRETRAINING:
      objective = sentence_stages.pretraining
    value, metrics = objective(self.network, variables, batch, key)
    return value, supervised.Loss(metrics, {}, carry)


_BY_LOSS = {
  "full": Problem,
  "sampled": SampledProblem,
  "gbce": GbceProblem,
  "masked": MaskedProblem,
  "autoencode": AutoencodeProblem,
}
# Forms of items with losses of their own.
_BY_ITEMS = {"semantic": SemanticProblem, "sentences": SentenceProblem}


def make(arm: recommendation_arms.ArmConfig, splits: data.Splits) -> Problem:
  """Returns the problem of an arm on some data, see `Problem`."""
  return _class_of(arm)(arm, splits)


def _class_of(arm):
  """The class of an arm's problem."""
  return _BY_ITEMS.get(arm.items, _BY_LOSS[arm.loss])


def _loss(value, metrics, kept, carry):
  """The results of `loss`, with what `base.in_training` returns besides."""
  collections, penalty = kept
  return value + penalty, supervised.Loss(metrics, collections, carry)


def _reconstruction(logits, items, lengths):
  """Reconstruction cross-entropy and accuracy."""
  real = masks.inside(items.shape[1], lengths)
  return base.cross_entropy(logits, jnp.maximum(items - 1, 0), real)[:2]
