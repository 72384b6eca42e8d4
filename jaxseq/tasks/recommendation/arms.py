"""Arms of a comparison on histories: options, network and item texts."""

import dataclasses
import inspect
from typing import Literal

import jax
import numpy as np

from jaxseq import data
from jaxseq import mixers
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks.masked_language import network as masked_network
from jaxseq.tasks.recommendation import item_linear
from jaxseq.tasks.recommendation import item_sentences
from jaxseq.tasks.recommendation import item_texts
from jaxseq.tasks.recommendation import item_wishes
from jaxseq.tasks.recommendation import semantic_ids
from jaxseq.tasks.recommendation import semantic_network
from jaxseq.tasks.recommendation import sentence_network
from jaxseq.tasks.recommendation.network import ItemNetwork

# The module's name in configs that were saved.
SAVED_AS = "recommendation_arms"

Network = (
  ItemNetwork
  | semantic_network.SemanticNetwork
  | sentence_network.SentenceNetwork
)
# Width of the vectors that codes are computed from.
_WIDTH = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of arms that a comparison can also set for all of them.

  Attributes:
    repeats: whether items of a user's history may be recommended again.
    loss: "full", the cross-entropy over all items; "sampled", over a sample;
      "gbce", see `tasks.losses`; "masked", that of masked items, for
      bidirectional networks (BERT4Rec); or "autoencode", that of the items of a
      history, reconstructed from one vector.
    share: share of the items that "masked" masks.
    negatives: items of a sample, drawn uniformly for each history.
    calibration: t of "gbce".
    gaps: whether the mixer's step sizes are multiplied by the gaps between the
      items, which data have with their option `gap`.
    from_ease: whether the network starts from the scores of EASE, and adds to
      them, see `item_linear`; not with more than 2,048 items.
    items: representation of items: "ids", learned vectors; "text", vectors that
      a network computes from their words, see `item_texts`; "semantic",
      sequences of codes of their words, see `semantic_ids`; or "sentences", the
      words of a history in one sentence that attention reads, see
      `sentence_network`. Data have texts with an option of theirs.
    levels: codes of an item, without the one that distinguishes items with
      equal codes.
    codes: number of codes of a level.
    wish: key of the attribute, such as "genres", whose words are a wish before
      the next item, with "semantic", see `item_wishes`; None for no wishes.
    text_mixer: mixer of the network that reads the words.
    temperature: divisor of the cosines of vectors, such as .05; None for
      dot products instead of cosines. Scores of sentences are cosines.
    sentences: options of sentences and their encoder; width, layers and dropout
      are those of the network's stack, and `temperature` is the one above, if
      any.
    stages: shares of the updates for pretraining, for the stage in which all
      items are encoded again after every evaluation, and for the stage in which
      they are constant, see `sentence_stages`. The variables that are best on
      validation are kept and measured, and no stage ends early.
  """

  repeats: bool = False
  loss: Literal["full", "sampled", "gbce", "masked", "autoencode"] = "full"
  share: float = 0.2
  negatives: int = 256
  calibration: float = 0.75
  gaps: bool = False
  from_ease: bool = False
  items: Literal["ids", "text", "semantic", "sentences"] = "ids"
  levels: int = 3
  codes: int = 64
  wish: str | None = None
  text_mixer: str = "gru"
  temperature: float | None = None
  sentences: item_sentences.Options = item_sentences.Options()
  stages: tuple[float, float, float] = (0.0, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """Options of an arm's network and training, with `Options`."""

  def __post_init__(self):
    super().__post_init__()
    validate.at_least(self, negatives=1, levels=1, codes=2)
    validate.fields(self, shares=("calibration", "share"))
    if self.loss == "masked":
      masked_network.check_both_sides(self.network.stack)
    elif self.loss != "autoencode":
      self.network.stack.refuse(
        "network.stack", bidirectional="the next item is predicted"
      )
    if self.from_ease and (self.loss, self.items) != ("full", "ids"):
      expected = "False but for the loss 'full' and the items 'ids'"
      raise validate.error("from_ease", True, expected)
    if self.loss in ("masked", "autoencode") and (
      self.gaps or self.items != "ids"
    ):
      expected = "another one with gaps, or items by their text"
      raise validate.error("loss", self.loss, expected)
    mixers.get(self.text_mixer)
    for share in self.stages:
      validate.number("stages", share, 0)
    if not self.stages[1]:
      raise validate.error("stages", self.stages, "a share of the second one")
    if self.temperature is not None:
      validate.above_zero("temperature", self.temperature)
    name = self.network.stack.mixer
    if (
      self.gaps
      and "gaps" not in inspect.signature(mixers.get(name).apply).parameters
    ):
      expected = f"False for the mixer {name!r}, which has no step sizes"
      raise validate.error("gaps", True, expected)


def make_network(arm: ArmConfig, splits: data.Splits) -> Network:
  """Returns the network of an arm.

  Raises:
    ValueError: if it pools, or the data are not histories of items.
  """
  base.check_pooling(arm.network, False, "every item is predicted")
  inputs, targets, lengths, _ = splits.train
  if inputs.ndim != 2 or targets.shape != inputs.shape or lengths is None:
    expected = "histories of items with lengths, (n, time), and next items"
    got = f"inputs {inputs.shape} and targets {targets.shape}"
    raise validate.error("the data", got, expected)
  if arm.gaps and splits.train.extras.gaps is None:
    raise validate.error("gaps", True, "False, or data with the option gap")
  represented = _REPRESENTATIONS[arm.items]
  if represented.has_texts and not _texts(splits):
    expected = "'ids', or data with an option of texts"
    raise validate.error("items", arm.items, expected)
  keys = getattr(splits.info.preparation, "keys", None) or ()
  wishes = keys if represented.has_wishes else ()
  if arm.wish is not None and arm.wish not in wishes:
    expected = f"None, or with items='semantic' one of {', '.join(keys)}"
    raise validate.error("wish", arm.wish, expected)
  return represented.network(arm, splits.info.vocab_size - 1, inputs.shape[1])


def item_variables(
  arm: ArmConfig, splits: data.Splits, network: Network
) -> dict[str, np.ndarray] | None:
  """Returns the untrained item data that an arm's network reads.

  Returns:
    "tokens", the words of each item; or "ids", the codes of each item, zeros in
    the first row; or `sentence_network.tables`; or `item_linear.fit`; None if
    items have learned vectors alone.

  Raises:
    ValueError: if more items have equal codes than a level has codes.
  """
  return _REPRESENTATIONS[arm.items].variables(arm, splits, network)


class _Ids:
  """Items by learned vectors, and perhaps by the scores of EASE."""

  has_texts = False
  has_wishes = False

  def network(self, arm, num_items, length, text_mixer=None):
    """The network of an arm that reads `length` of the items."""
    return ItemNetwork(
      arm.network,
      num_items,
      length,
      arm.repeats,
      arm.gaps,
      text_mixer=text_mixer,
      temperature=arm.temperature,
      masked=arm.loss == "masked",
      rebuilds=arm.loss == "autoencode",
      linear=arm.from_ease and num_items <= item_linear.MOST,
    )

  def variables(self, arm, splits, network):
    """The variables of items, see `item_variables`."""
    if not network.linear:
      return None
    return {"scores": item_linear.fit(splits, arm.repeats)}


class _Text(_Ids):
  """Items by vectors that a network computes from their words."""

  has_texts = True

  def network(self, arm, num_items, length):
    return super().network(arm, num_items, length, arm.text_mixer)

  def variables(self, arm, splits, network):
    return {"tokens": item_texts.tokens(_texts(splits))}


class _Semantic:
  """Items by sequences of codes of their words."""

  has_texts = True
  has_wishes = True

  def network(self, arm, num_items, length):
    _check_plain(arm, arm.temperature is None)
    return semantic_network.SemanticNetwork(
      arm.network,
      num_items,
      length,
      1 + arm.levels,
      arm.codes,
      arm.repeats,
      wishes=arm.wish is not None,
    )

  def variables(self, arm, splits, network):
    texts = _texts(splits)
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
      raise validate.error("codes", arm.codes, expected)
    none = np.zeros_like(ids[:1])
    tokens = semantic_ids.tokens_of(ids, arm.codes)
    variables = {"ids": np.concatenate([none, tokens])}
    if arm.wish is not None:
      variables |= item_wishes.tables(wished(arm, splits))
    return variables


class _Sentences:
  """Items by their words, in one sentence of a history."""

  has_texts = True
  has_wishes = False

  def network(self, arm, num_items, length):
    stack = arm.network.stack
    _check_plain(arm, True)
    if stack.mixer != "attention" or stack.dropout:
      got = f"mixer {stack.mixer!r}, dropout {stack.dropout}"
      expected = "attention without dropout for items by sentences"
      raise validate.error("network.stack", got, expected)
    options = dataclasses.replace(
      arm.sentences,
      items=min(arm.sentences.items, length),
      d_model=stack.d_model,
      num_layers=stack.num_layers,
      temperature=arm.temperature or arm.sentences.temperature,
    )
    return sentence_network.SentenceNetwork(options, num_items, arm.repeats)

  def variables(self, arm, splits, network):
    attributes = splits.info.preparation.attributes()
    return sentence_network.tables(attributes, network.options)


# The representations of `Options.items`.
_REPRESENTATIONS = {
  "ids": _Ids(),
  "text": _Text(),
  "semantic": _Semantic(),
  "sentences": _Sentences(),
}


def _check_plain(arm, fits):
  """Rejects options that only items with "ids" or "text" have."""
  if arm.loss != "full" or arm.gaps or not fits:
    expected = "'ids' or 'text' with a loss over a sample, gaps or cosines"
    raise validate.error("items", arm.items, expected)


def wished(arm: ArmConfig, splits: data.Splits) -> dict[str, np.ndarray]:
  """Returns the `item_wishes.members` of an arm with a `wish`."""
  return item_wishes.members(splits.info.preparation.attributes(), arm.wish)


def _texts(splits):
  """The texts of the items; empty if there are no texts."""
  return getattr(splits.info.preparation, "texts", None) or ()
