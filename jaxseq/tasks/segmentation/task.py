"""Segmentation of documents: which paragraphs begin a section.

A network reads a document as a whole, one paragraph after the other, or pairs
of paragraphs, as in Aumiller et al., "Structural text segmentation of legal
documents", arXiv:2012.03619. A document is cut at its most probable places; the
number of cuts is the sum of its probabilities, the expected number.
"""

import dataclasses
import math
from typing import Any
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import data
from jaxseq import nn
from jaxseq import validate
from jaxseq.data.sources import paragraphs
from jaxseq.nn import dense
from jaxseq.nn import heads
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.tasks.segmentation import section_scores
from jaxseq.training import supervised
from jaxseq.types import Network
from jaxseq.types import PyTree

Reads = Literal["document", "neighbors", "pairs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of arms that a comparison can also set for all of them.

  Attributes:
    reads: "document": the layers of the network read all paragraphs in turn;
      "neighbors": each pair of consecutive paragraphs separately, without
      layers; "pairs": the same, but trained on any two paragraphs of a
      document, half of them of the same section.
  """

  reads: Reads = "document"


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """Options of an arm's network and training, with `Options`."""


@dataclasses.dataclass(frozen=True)
class Config(Options, base.DataComparison):
  """A comparison on documents, with `Options`."""


class SegmentNetwork(linen.Module):
  """A segmentation network over paragraphs, which are means of their words.

  Attributes:
    config: options of the layers, and the widths of the head.
    vocab_size: number of word classes, with 0 for the padding.
    reads: see `Options`.
    rate: cuts of a document per paragraph, without the first, which is the
      share of neighbors in different sections; for "pairs" it is one half.
  """

  config: nn.NetworkConfig
  vocab_size: int
  reads: Reads = "document"
  rate: float = 0.5

  @linen.compact
  def __call__(
    self,
    words: jax.Array,
    lengths: jax.Array | None = None,
    train: bool = False,
    others: jax.Array | None = None,
  ) -> jax.Array:
    """Returns logits (n, paragraphs) of section starts, or of pairs.

    Args:
      words: (n, paragraphs, words) integers, 0 in the padding.
      lengths: (n,) numbers of paragraphs; all if None.
      train: whether dropout is on.
      others: (n, paragraphs) integers, the paragraph that each is compared
        with; the previous one if None. Not for "document".
    """
    stack, neighbors = self.config.stack, others is None
    embed = dense.Embed(
      self.vocab_size,
      stack.d_model,
      embedding_init=linen.initializers.normal(0.3),
      name="embed",
    )
    x = heads.pool("mean", embed(words), (words > 0).sum(axis=-1))
    x = dense.dropout(x, stack.dropout, train, False)
    if self.reads == "document":
      layers = nn.SequenceModel(stack, name="stack")
      x, _ = layers(x, train=train, lengths=lengths)
    else:
      if others is None:
        others = jnp.maximum(jnp.arange(words.shape[-2]) - 1, 0)[None]
      other = jnp.take_along_axis(x, others[..., None], axis=-2)
      x = jnp.concatenate([x, other, jnp.abs(x - other)], axis=-1)
    widths = *self.config.head_widths, 1
    logits = heads.MLP(widths, "gelu", wide=True, name="head")(x)[..., 0]
    if self.reads == "pairs" and neighbors:
      logits += _logit(self.rate)
    return logits


class Problem(base.ArrayProblem):
  """Finding the first paragraphs of sections.

  Args:
    arm: network and batch size, in documents.
    splits: data as from `data.sources.paragraphs.load`.

  Raises:
    ValueError: if the data are not paragraphs, or the network pools.
  """

  validated = "pk"
  at_least = 32
  train_metrics = ()

  def __init__(self, arm: ArmConfig, splits: data.Splits):
    base.check_pooling(
      arm.network, False, "every paragraph may begin a section"
    )
    source = splits.info.preparation
    if not isinstance(source, paragraphs.ParagraphSource):
      expected = "documents of paragraphs"
      raise validate.error("the data", splits.info.description, expected)
    rate = section_scores.rate_of(splits.train)
    network = SegmentNetwork(arm.network, source.buckets + 1, arm.reads, rate)
    parts = base.parts(splits)
    super().__init__(arm, network, parts, len(splits.train.inputs))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    return self.network.init(key, jnp.ones((1, 2, 1), jnp.int32))

  def inputs(self, batch: data.ArrayDataset) -> tuple[Any, ...]:
    """Returns the words, and the numbers of paragraphs."""
    return batch.extras.words, batch.lengths

  def loss(
    self, variables: base.PyTree, batch: Any, carry: base.PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the mean binary cross-entropy of places, or of drawn pairs."""
    if self.arm.reads != "pairs":
      return super().loss(variables, batch, carry, key)
    key, draw = jax.random.split(key)
    others, differ, valid = drawn_pairs(draw, batch.targets > 0, batch.lengths)
    logits, collections, penalty = base.in_training(
      self.network, variables, key, *self.inputs(batch), others=others
    )
    value = _entropy(logits, differ, valid).mean() + penalty
    return value, supervised.Loss({}, collections, carry)

  def score(
    self, outputs: jax.Array, batch: data.ArrayDataset
  ) -> tuple[dict[str, jax.Array], jax.Array | int]:
    """Returns "test_loss" in nats, and the scores of cuts, per document."""
    true, lengths = batch.targets > 0, jnp.asarray(batch.lengths)
    time = true.shape[-1]
    places = masks.inside(time, lengths) & (jnp.arange(time) > 0)
    starts = section_scores.cuts(outputs, lengths)
    metrics = section_scores.scored(starts, true, lengths)
    metrics["test_loss"] = _entropy(outputs, true, places).mean()
    return metrics, len(batch.inputs)


def _logit(rate):
  """The logit of a share, clipped to be finite for shares of 0 and 1."""
  rate = min(max(rate, 1e-6), 1 - 1e-6)
  return math.log(rate / (1 - rate))


def _entropy(logits, labels, valid):
  """The binary cross-entropy of documents (n,), means over valid places."""
  values = optax.sigmoid_binary_cross_entropy(logits, labels)
  total = jnp.where(valid, values, 0).sum(axis=-1)
  return total / jnp.maximum(valid.sum(axis=-1), 1)


def drawn_pairs(
  key: jax.Array, starts: jax.Array, lengths: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draws a partner for each paragraph, half of them of the same section.

  Args:
    key: key of the draws.
    starts: (n, time) bool, see `section_scores.p_k`.
    lengths: (n,) numbers of paragraphs.

  Returns:
    The indices of the partners (n, time) int32; whether they are of another
    section; and whether there is such a pair.
  """
  time = starts.shape[-1]
  section = jnp.cumsum(starts, axis=-1)
  same = section[:, :, None] == section[:, None, :]
  differ, choice = jax.random.split(key)
  wanted = jax.random.bernoulli(differ, shape=starts.shape)
  inside = masks.inside(time, lengths)
  allowed = (same != wanted[..., None]) & inside[:, None, :]
  allowed &= ~jnp.eye(time, dtype=bool)
  noise = jax.random.uniform(choice, allowed.shape)
  others = jnp.argmax(jnp.where(allowed, noise, -1.0), axis=-1)
  return others, wanted, inside & allowed.any(axis=-1)


def arguments(network: Network, dataset: data.ArrayDataset) -> outputs.Arrays:
  """Returns "words" (n, time, words) int32 and "lengths" (n,) int32."""
  del network
  return {
    "words": np.asarray(dataset.extras.words, np.int32),
    "lengths": np.asarray(dataset.lengths, np.int32),
  }


def compute(
  network: SegmentNetwork, variables: PyTree, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "probability" (n, time) of section starts, and "starts"."""
  words, lengths = arguments["words"], arguments["lengths"]
  logits = network.apply(variables, words, lengths)
  starts = section_scores.cuts(logits, lengths)
  return {"probability": jax.nn.sigmoid(logits), "starts": starts}


def _predict(model, examples):
  """Returns a row for each paragraph."""
  arrays = model.outputs(examples.dataset)
  time = arrays["starts"].shape[1]
  shown = data.datasets.inside(examples.dataset, time)
  section = np.cumsum(arrays["starts"], axis=1) - 1
  columns = outputs.rows(examples.ids, shown, "paragraph")
  columns["section"] = section[shown]
  columns["probability"] = arrays["probability"][shown]
  if examples.labeled:
    targets = np.asarray(examples.dataset.targets)[shown]
    if (unknown := targets < 0).any():
      targets = targets.astype(object)
      targets[unknown] = None
    columns["target"] = targets
  return columns, arrays


TASK = task.Task(
  name="segmentation",
  arm=ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="pk",
  better="lower",
  unit="documents",
  columns={
    "pk": "P_k",
    "found": "cuts found",
    "mistakes": "mistakes",
    "exact": "exact",
    "test_loss": "nats",
    "valid_pk": "validation",
  },
  kind="segmentation",
  outputs=outputs.Outputs(
    network=SegmentNetwork,
    arguments=arguments,
    compute=compute,
    predict=_predict,
  ),
  baselines=lambda splits, config, part: section_scores.trivial(splits, part),
  own_files=task.OwnFiles(
    fields={"batch_size": 2},
    stack={"d_model": 32, "num_layers": 1, "dropout": 0.2},
  ),
)
