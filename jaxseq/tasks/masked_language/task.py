"""Masked language models: masked letters predicted from both sides.

A share of the letters of each sequence is masked, and a bidirectional network
predicts them (BERT; see `masking`). Training puts masks, random letters and the
true ones at the chosen places, and evaluation masks only: letters that nothing
determines then cost at least their entropy.
"""

from collections.abc import Mapping
import dataclasses
import functools
import types
from typing import Any
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.nn import heads
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import masking
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.tasks.masked_language import network as masked_network
from jaxseq.tasks.masked_language import structformer
from jaxseq.tasks.masked_language import tree_scores
from jaxseq.tasks.masked_language.network import MaskedNetwork
from jaxseq.training import supervised
from jaxseq.types import PyTree

MASK = "<mask>"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of arms that a comparison can also set for all of them.

  Attributes:
    encoder: path of a masked language model of the same network, whose
      variables initialize training; "" for random ones.
    share: share of the letters that are chosen.
    positions: number of learned positions, the maximum length; 0 for none.
    token_dropout: whether masks are left out, see `masking.drop_masks`.
    parser: convolutions of the parser of a StructFormer, which replaces the
      stack's layers and has their width, number and dropout; 0 for no parser.
    parser_heads: heads of its attention.
    parser_learns: whether the parser is trained.
  """

  encoder: str = ""
  share: float = 0.15
  positions: int = 0
  token_dropout: bool = False
  parser: int = 0
  parser_heads: int = 4
  parser_learns: bool = True
  # Fields that earlier runs were saved with, at what they mean now.
  FORMER: ClassVar[Mapping[str, object]] = types.MappingProxyType(
    {
      "objective": "masked",
      "pair_width": 128,
      "pair_channels": 64,
      "pair_blocks": 3,
      "pair_gamma": 6.0,
    }
  )


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """Options of an arm's network and training, with `Options`."""

  def __post_init__(self):
    super().__post_init__()
    validate.number("share", self.share, 0, 1)
    validate.at_least(self, positions=0, parser=0, parser_heads=1)
    if self.parser and self.token_dropout:
      raise validate.error("token_dropout", True, "False with a parser")
    width = self.network.stack.d_model
    if self.parser and width % self.parser_heads:
      expected = f"a divisor of d_model {width}"
      raise validate.error("parser_heads", self.parser_heads, expected)


@dataclasses.dataclass(frozen=True)
class Config(Options, base.DataComparison):
  """A comparison on sequences of letters, with `Options`."""


def names_of(info: data.Info) -> tuple[str, ...]:
  """Returns the names of a set's tokens, including the mask.

  Raises:
    ValueError: if the data are not sequences with special tokens.
  """
  names = info.tokens or ()
  if MASK not in names:
    got = f"{len(names)} names of tokens"
    raise validate.error("the data", got, f"sequences with a token {MASK!r}")
  return names


def make_network(arm: ArmConfig, splits: data.Splits) -> MaskedNetwork:
  """Returns the network of an arm.

  Raises:
    ValueError: if it is unidirectional or pools, or the data do not fit.
  """
  names = names_of(splits.info)
  base.check_pooling(arm.network, False, "every letter may be asked for")
  parser = _parser(arm)
  if parser is None:
    masked_network.check_both_sides(arm.network.stack)
  time = max(part.inputs.shape[1] for part in splits[:3] if part is not None)
  if 0 < arm.positions < time:
    expected = f"0, or at least {time}, the tokens of the longest sequence"
    raise validate.error("positions", arm.positions, expected)
  return MaskedNetwork(
    arm.network,
    len(names),
    names.index(MASK),
    arm.positions,
    arm.token_dropout,
    parser,
  )


def _parser(arm):
  """The config of an arm's StructFormer, or None."""
  if not arm.parser:
    return None
  stack = arm.network.stack
  return structformer.Config(
    stack.d_model,
    stack.num_layers,
    arm.parser_heads,
    arm.parser,
    positions=arm.positions,
    dropout=stack.dropout,
    learn_parser=arm.parser_learns,
  )


def begun(
  variables: base.PyTree, encoder: base.PyTree | None, where: str
) -> base.PyTree:
  """Returns the initial variables: those of an encoder, if there is one.

  Args:
    variables: random variables of the network.
    encoder: variables of a trained model, or None.
    where: path of the model, for messages.

  Raises:
    ValueError: if the encoder's variables are those of another network.
  """
  if encoder is None:
    return variables

  def shapes(tree):
    return jax.tree.map(jnp.shape, dict(tree))

  if shapes(encoder) != shapes(variables):
    got = f"the variables of another network in {where!r}"
    raise validate.error("encoder", got, "those of the arm's network")
  return jax.tree.map(jnp.asarray, encoder)


class Problem(base.ArrayProblem):
  """Predicting masked letters of sequences.

  Args:
    arm: network and batch size, in sequences.
    splits: data as from `data.sources.letters.load`, with names of tokens;
      names in angle brackets, like the mask, are never masked. For sequences
      with partners the loss of paired letters is also reported.
    encoder: initial variables of the network; random ones if None.

  Raises:
    ValueError: if the data are not such sequences, or the network is
      unidirectional or pools.
  """

  validated = "test_loss"
  at_least = 128

  def __init__(
    self,
    arm: ArmConfig,
    splits: data.Splits,
    encoder: base.PyTree | None = None,
  ):
    network = make_network(arm, splits)
    super().__init__(arm, network, base.parts(splits), len(splits.train.inputs))
    names = names_of(splits.info)
    letters = masked_network.letters_of(names, splits.train.inputs)
    if len(letters) < 2:
      expected = "two letters or more"
      raise validate.error("the data", f"{len(letters)} letters", expected)
    self._letters = tuple(letters.tolist())
    self._special = tuple(map(masked_network.is_special, names))
    self._encoder = encoder

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    variables = self.network.init(key, jnp.zeros((1, 1), jnp.int32))
    return begun(variables, self._encoder, self.arm.encoder)

  def inputs(self, batch: data.ArrayDataset) -> tuple[Any, ...]:
    """Returns the tokens and the lengths."""
    return batch.inputs, batch.lengths

  def loss(
    self, variables: base.PyTree, batch: Any, carry: base.PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the mean cross-entropy of the chosen letters, in nats."""
    key, draw = jax.random.split(key)
    masked = self._masked(draw, batch)
    logits, collections, penalty = base.in_training(
      self.network, variables, key, masked.inputs, batch.lengths
    )
    value, accuracy, _ = base.cross_entropy(logits, batch.inputs, masked.scored)
    metrics = {"train_accuracy": accuracy}
    return value + penalty, supervised.Loss(metrics, collections, carry)

  def scores(
    self,
    variables: base.PyTree,
    batch: data.ArrayDataset,
    key: jax.Array | None = None,
  ) -> tuple[supervised.Metrics, jax.Array]:
    """Returns "test_loss" in nats and "accuracy" of masked letters."""
    key = jax.random.key(0) if key is None else key
    masked = self._masked(key, batch, hidden=1.0, random=0.0)
    logits = self.network.apply(variables, masked.inputs, batch.lengths)
    loss, accuracy, count = base.cross_entropy(
      logits, batch.inputs, masked.scored
    )
    metrics = {"test_loss": loss, "accuracy": accuracy}
    partners = batch.extras.partners
    if partners is not None:
      paired = masked.scored & (partners > 0)
      nats, _, number = base.cross_entropy(logits, batch.inputs, paired)
      share = number / jnp.maximum(count, 1)
      metrics |= {"paired_nats": nats * share, "paired_share": share}
    return metrics, count

  def measure(
    self, variables: base.PyTree, examples: base.PyTree
  ) -> supervised.Metrics:
    """Scores the examples of a part; "paired_loss" is that of paired letters.

    With a parser and true trees it adds the scores of `tree_scores`.
    """
    metrics = super().measure(variables, examples)
    if self.network.parser is not None and examples.extras.heads is not None:
      scores = self.average(examples, functools.partial(self._trees, variables))
      scores["uas"] /= scores.pop("words")
      metrics |= scores
    if "paired_nats" in metrics:
      nats, share = metrics.pop("paired_nats"), metrics.pop("paired_share")
      metrics["paired_loss"] = nats / jnp.maximum(share, 1e-9)
    return metrics

  def _trees(self, variables, batch, key):
    """Scores of the trees of a batch, and the number of sentences."""
    del key
    parse = self.network.apply(
      variables, batch.inputs, batch.lengths, method="parse"
    )
    parse = tree_scores.words_of(parse, batch.lengths - 2)
    heads = tree_scores.heads_of(parse)
    scores = tree_scores.scores(parse.distance, heads, batch)
    # A mean over words, whose number differs between batches.
    words = (batch.lengths - 2).mean()
    scores |= {"uas": scores["uas"] * words, "words": words}
    return scores, len(batch.inputs)

  def _masked(self, key, batch, **options):
    """A batch with some of its letters masked."""
    tokens = batch.inputs
    allowed = ~jnp.array(self._special)[tokens]
    if batch.lengths is not None:
      allowed &= masks.inside(tokens.shape[-1], batch.lengths)
    return masking.mask(
      key,
      tokens,
      allowed,
      self.network.mask_token,
      jnp.array(self._letters),
      share=self.arm.share,
      **options,
    )


def entropy(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns the loss of a model of letter frequencies, by its label.

  For sentences with trees it adds the scores of trivial trees.

  Args:
    splits: see `Problem`.
    part: "test" or "valid".
  """
  wanted = getattr(splits, part)
  if wanted is None:
    return {}
  names = names_of(splits.info)
  letters = masked_network.letters_of(names, splits.train.inputs)

  def counts(dataset):
    tokens = dataset.inputs[data.datasets.inside(dataset)]
    return np.bincount(tokens, minlength=len(names))[letters]

  # One is added to every count, so that no letter is impossible.
  seen = counts(splits.train) + 1.0
  nats = -np.log(seen / seen.sum())
  here = counts(wanted)
  total = max(here.sum(), 1)
  accuracy = here[np.argmax(seen)] / total
  row = {"test_loss": float(nats @ here / total), "accuracy": float(accuracy)}
  rows = {"letters by frequency": row}
  if wanted.extras.heads is not None:
    rows |= tree_scores.trivial(wanted)
  return rows


def compute(
  network: MaskedNetwork, variables: PyTree, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns the network's outputs for sequences.

  Returns:
    "probability" (n, time, tokens), of every token at every place, and
    "embedding" (n, d_model), the mean of the head's inputs over a sequence.
    With a parser "distance" (n, time), of the boundary after each token, and
    "head" (n, time), the index of its head, -1 for the root; both are
    meaningless for the first and the last token.
  """
  tokens, lengths = arguments["tokens"], arguments["lengths"]
  read = functools.partial(network.apply, variables, tokens, lengths)
  arrays = {
    "probability": jax.nn.softmax(read()),
    "embedding": heads.pool("mean", read(features=True), lengths),
  }
  if network.parser is not None:
    parse = read(method="parse")
    time = tokens.shape[-1]
    words = masks.inside(time, lengths - 1) & (jnp.arange(time) > 0)
    parse = parse._replace(
      height=jnp.where(words, parse.height, -jnp.inf),
      head=jnp.where(words[..., None, :], parse.head, -1),
    )
    arrays["distance"] = parse.distance
    arrays["head"] = tree_scores.heads_of(parse)
  return arrays


def _predict(model, examples):
  """Returns a row for each mask; without masks, one for each embedding."""
  dataset = examples.dataset
  arrays = model.outputs(dataset)
  names = model.preparation.tokens
  of_words = getattr(model.preparation, "words", False)
  tokens = np.asarray(dataset.inputs)
  masked = tokens == model.network.mask_token
  each = {}
  if of_words:
    each["unknown"] = (tokens == names.index("<unk>")).sum(axis=1)
  if model.network.parser is not None:
    each |= _trees_of(arrays, dataset, names)
  if not masked.any():
    vectors = arrays["embedding"]
    columns = {"id": np.array(examples.ids), **each}
    for i in range(vectors.shape[1]):
      columns[f"embedding_{i}"] = vectors[:, i]
    return columns, arrays
  letters = np.array([not masked_network.is_special(x) for x in names])
  likely = np.where(letters, arrays["probability"], 0)
  best = likely.argmax(axis=-1)
  columns = outputs.rows(examples.ids, masked, "position")
  # Positions do not count the initial token.
  columns["position"] = columns["position"] - 1
  columns["word" if of_words else "letter"] = np.array(names)[best][masked]
  columns["probability"] = likely.max(axis=-1)[masked]
  example, _ = np.nonzero(masked)
  columns |= {name: values[example] for name, values in each.items()}
  return columns, arrays


def _trees_of(arrays, dataset, names):
  """The columns "tree", in brackets, and "heads", from 1 on, 0 for the root."""
  trees, heads = [], []
  for tokens, length, distance, head in zip(
    np.asarray(dataset.inputs),
    outputs.tokens(None, dataset)["lengths"],
    arrays["distance"],
    arrays["head"],
  ):
    words = slice(1, length - 1)
    leaves = [names[token] for token in tokens[words]]
    trees.append(tree_scores.bracketed(leaves, distance[words]))
    heads.append(" ".join(str(max(place, 0)) for place in head[words]))
  return {"tree": np.array(trees), "heads": np.array(heads)}


TASK = task.Task(
  name="masked_language",
  arm=ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="test_loss",
  better="lower",
  unit="sequences",
  columns={
    "test_loss": "nats",
    "accuracy": "accuracy",
    "paired_loss": "nats in pairs",
    "uf1": "UF1",
    "uf1_left": "UF1, a word to the left",
    "uf1_right": "UF1, a word to the right",
    "uas": "UAS",
  },
  kind="masked_language",
  outputs=outputs.Outputs(
    network=MaskedNetwork,
    arguments=outputs.tokens,
    compute=compute,
    predict=_predict,
  ),
  baselines=lambda splits, config, part: entropy(splits, part),
  own_files=task.OwnFiles(
    stack={
      # Masked letters are predicted from both sides.
      "bidirectional": True,
      # Two layers are needed to find which letters belong together.
      "num_layers": 2,
      "d_model": 64,
      "dropout": 0.0,
    }
  ),
)
