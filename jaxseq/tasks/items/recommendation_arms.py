"""Arms of a comparison on histories: options, network, and texts of items."""

import dataclasses
import inspect
from typing import Literal

import jax
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq import mixers
from jaxseq.tasks import base
from jaxseq.tasks import masked_network
from jaxseq.tasks.items import item_texts
from jaxseq.tasks.items import semantic_ids
from jaxseq.tasks.items import semantic_network
from jaxseq.tasks.items.item_network import ItemNetwork

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


def item_variables(
  arm: ArmConfig, splits: data.Splits
) -> dict[str, np.ndarray] | None:
  """Returns what a network reads of its items and does not train.

  Returns:
    "tokens", the words of each item; or "ids", the codes of each, with none in
    the first row; None where items have vectors of their own.

  Raises:
    ValueError: if more items are alike than a level has codes.
  """
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


def _texts(splits):
  """The texts of the items, if there are any."""
  return getattr(splits.info.preparation, "texts", None) or ()
