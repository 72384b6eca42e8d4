"""Segmentation of documents: at which paragraphs sections begin.

A network reads a document as a whole, one paragraph after the other, or pairs
of paragraphs, as in Aumiller et al., "Structural text segmentation of legal
documents", arXiv:2012.03619. Where it is cut are the likeliest places, as many
as documents of this length have on average, so that all that is compared cuts
as often; but for what cuts nowhere or everywhere.
"""

import dataclasses
from typing import Any
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import _validate
from jaxseq import data
from jaxseq import nn
from jaxseq.data.sources import paragraphs
from jaxseq.nn import dense
from jaxseq.nn import heads
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.training import supervised

Reads = Literal["document", "neighbors", "pairs"]
# Draws of cuts at random, which are averaged.
_DRAWS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of arms that a comparison may have for all of them.

  Attributes:
    reads: "document": the layers of the network read all paragraphs in turn;
      "neighbors": each pair of consecutive paragraphs by itself, with no
      layers; "pairs": likewise, but trained on any two paragraphs of a
      document, half of them of the same section.
  """

  reads: Reads = "document"


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """The network and the training of one arm, with `Options`."""


@dataclasses.dataclass(frozen=True)
class Config(Options, base.DataComparison):
  """A comparison on documents, with `Options`."""


class SegmentNetwork(linen.Module):
  """Paragraphs as means of their words, and what reads these.

  Attributes:
    config: the layers, and the widths of the read-out.
    vocab_size: numbers of words, with 0 for none.
    reads: see `Options`.
    rate: cuts of a document by its paragraphs but the first.
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
    """Returns logits (n, paragraphs) that a section begins, or of pairs.

    Args:
      words: (n, paragraphs, words) integers, 0 for none.
      lengths: (n,) numbers of paragraphs; all if None.
      train: whether dropout is on.
      others: (n, paragraphs) integers, the places of the paragraphs that each
        is compared with; that before it if None. Not of documents.
    """
    stack = self.config.stack
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
    return heads.MLP(widths, "gelu", wide=True, name="head")(x)[..., 0]


def cuts(
  scores: jax.Array, lengths: jax.Array, rate: float | jax.Array
) -> jax.Array:
  """Returns where documents are cut: at the highest scores.

  Args:
    scores: (n, time) of paragraphs; of the first one it says nothing.
    lengths: (n,) numbers of paragraphs.
    rate: cuts by paragraphs but the first.

  Returns:
    (n, time) bool, True at the first paragraphs of sections; that of a document
    is one.
  """
  time = scores.shape[-1]
  allowed = masks.inside(time, lengths) & (jnp.arange(time) > 0)
  order = jnp.argsort(jnp.where(allowed, -scores, jnp.inf), axis=-1)
  rank = jnp.argsort(order, axis=-1)
  count = jnp.round(rate * (lengths - 1))
  return (allowed & (rank < count[:, None])).at[:, 0].set(True)


def p_k(starts: jax.Array, true: jax.Array, lengths: jax.Array) -> jax.Array:
  """Returns (n,) P_k of documents (Beeferman et al., 1999), 0 if all is right.

  It is the share of paragraphs k apart which are in one section of the one
  segmentation and in two of the other; k is half the mean length of the true
  sections, rounded, and at least 1.

  Args:
    starts: (n, time) bool, True at the first paragraphs of sections.
    true: likewise.
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
    starts: see `p_k`; so are the others.
    true: see `p_k`.
    lengths: see `p_k`.

  Returns:
    "pk"; "found", the share of true cuts that were made; "mistakes", cuts too
    many and too few of a document; "exact", documents without any.
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
  """Returns the cuts of documents by their paragraphs but the first ones."""
  lengths = np.asarray(dataset.lengths)
  number = (np.asarray(dataset.targets) > 0).sum() - len(lengths)
  return float(number / max((lengths - 1).sum(), 1))


class Problem(base.ArrayProblem):
  """Finding the first paragraphs of sections.

  Args:
    arm: network and batch size, in documents.
    splits: as of `data.sources.paragraphs.load`.

  Raises:
    ValueError: if the data are others, or the network pools.
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
      raise _validate.error("the data", splits.info.description, expected)
    rate = rate_of(splits.train)
    network = SegmentNetwork(arm.network, source.buckets + 1, arm.reads, rate)
    parts = base.parts(splits)
    super().__init__(arm, network, parts, len(splits.train.inputs))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the variables of the network."""
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
    """Returns "test_loss" in nats, and what `scored` does, of documents."""
    true, lengths = batch.targets > 0, jnp.asarray(batch.lengths)
    time = true.shape[-1]
    places = masks.inside(time, lengths) & (jnp.arange(time) > 0)
    metrics = scored(cuts(outputs, lengths, self.network.rate), true, lengths)
    metrics["test_loss"] = _entropy(outputs, true, places).mean()
    return metrics, len(batch.inputs)


def _entropy(logits, labels, valid):
  """The binary cross-entropy of documents (n,), means over valid places."""
  values = optax.sigmoid_binary_cross_entropy(logits, labels)
  total = jnp.where(valid, values, 0).sum(axis=-1)
  return total / jnp.maximum(valid.sum(axis=-1), 1)


def drawn_pairs(
  key: jax.Array, starts: jax.Array, lengths: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draws another paragraph for each, half of them of the same section.

  Args:
    key: of what is drawn.
    starts: (n, time) bool, see `p_k`.
    lengths: (n,) numbers of paragraphs.

  Returns:
    The places of the others (n, time) int32; whether they are of another
    section; and where there is such a pair.
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


def floors(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns the metrics of cuts that need no training, by label.

  Args:
    splits: as of `Problem`.
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
  # Highest at whole multiples of the mean length of a section.
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
  """Returns (n, time) the cosine of each paragraph's words with those before.

  Args:
    words: (n, time, words) integers, 0 for none.
  """
  out = np.zeros(words.shape[:2], np.float32)
  for row, document in zip(out, words):
    before = None
    for place, paragraph in enumerate(document):
      names, counts = np.unique(paragraph[paragraph > 0], return_counts=True)
      here = dict(zip(names.tolist(), counts.tolist()))
      if before:
        shared = sum(n * before.get(name, 0) for name, n in here.items())
        norm = sum(n * n for n in here.values()) * sum(
          n * n for n in before.values()
        )
        row[place] = shared / max(norm, 1) ** 0.5
      before = here
  return out


def arguments(network: Any, dataset: data.ArrayDataset) -> outputs.Arrays:
  """Returns "words" (n, time, words) int32 and "lengths" (n,) int32."""
  del network
  return {
    "words": np.asarray(dataset.extras.words, np.int32),
    "lengths": np.asarray(dataset.lengths, np.int32),
  }


def compute(
  network: SegmentNetwork, variables: Any, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "probability" (n, time) of a beginning section, and "starts"."""
  words, lengths = arguments["words"], arguments["lengths"]
  logits = network.apply(variables, words, lengths)
  starts = cuts(logits, lengths, network.rate)
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
    columns["target"] = np.asarray(examples.dataset.targets)[shown]
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
  baselines=lambda splits, config, part: floors(splits, part),
)
