"""Pairs of the elements of sequences, such as bases in a structure of RNA.

The model is a masked language network, random or pretrained by its own task,
with `pair_heads.PairHead` on its features. Training minimizes the binary
cross-entropy over all pairs of letters; an evaluation decodes the structure of
each sequence (`pair_structures`), and counts the pairs over all sequences.
"""

import dataclasses
from typing import Any
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.masked_language import pair_heads
from experiments.masked_language import pair_structures
from experiments.masked_language import rna
from jaxseq import data
from jaxseq import validate
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import masked_language
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.tasks.masked_language.network import MaskedNetwork
from jaxseq.training import supervised
from jaxseq.types import PyTree

# The module of the arms of both objectives in configs that were saved.
SAVED_AS = "masked_language"
_COUNTS = ("hits", "predicted", "true")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of arms that a comparison can also set for all of them.

  Attributes:
    objective: "masked" language modeling, or "pairs".
    pair_width: width of `pair_heads.PairHead`.
    pair_channels: its channels.
    pair_blocks: its number of blocks, with the dilations 1, 2 and 4 in turn.
    pair_gamma: weight of pairs in decoded structures, see
      `pair_structures.decode`.
  """

  objective: Literal["masked", "pairs"] = "masked"
  pair_width: int = 128
  pair_channels: int = 64
  pair_blocks: int = 3
  pair_gamma: float = pair_structures.GAMMA


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, masked_language.ArmConfig):
  """Options of an arm of either objective, with `Options`."""

  def __post_init__(self):
    super().__post_init__()
    validate.at_least(self, pair_width=1, pair_channels=1, pair_blocks=0)
    validate.above_zero("pair_gamma", self.pair_gamma)


class PairNetwork(linen.Module):
  """A masked language network and a head of pairs.

  Attributes:
    encoder: the network, whose own head is not used.
    width: width of `pair_heads.PairHead`.
    channels: its channels.
    blocks: its number of blocks, with the dilations 1, 2 and 4 in turn.
    gamma: weight in `pair_structures.decode`; the network does not use it.
  """

  encoder: MaskedNetwork
  width: int = 128
  channels: int = 64
  blocks: int = 3
  gamma: float = pair_structures.GAMMA

  @linen.compact
  def __call__(
    self, tokens: jax.Array, lengths: jax.Array, train: bool = False
  ) -> jax.Array:
    """Maps (n, time) tokens and (n,) lengths to logits (n, time, time)."""
    x = self.encoder(tokens, lengths, train=train, features=True)
    dilations = tuple(2 ** (i % 3) for i in range(self.blocks))
    rate = self.encoder.config.stack.dropout
    head = pair_heads.PairHead(
      self.width, self.channels, dilations, rate, x.dtype, name="pairs"
    )
    return head(x, lengths, train)


class Problem(base.ArrayProblem):
  """Predicting pairs of letters.

  Args:
    arm: network and batch size, in sequences.
    splits: data as from `rna.load`, with partners.
    encoder: initial variables of the masked language network; random ones if
      None.

  Raises:
    ValueError: if the data have no pairs, or the network is unidirectional or
      pools.
  """

  validated = "f1"
  at_least = 32

  def __init__(
    self,
    arm: ArmConfig,
    splits: data.Splits,
    encoder: base.PyTree | None = None,
  ):
    network = PairNetwork(
      masked_language.make_network(arm, splits),
      arm.pair_width,
      arm.pair_channels,
      arm.pair_blocks,
      arm.pair_gamma,
    )
    train = splits.train
    if train.extras.partners is None or train.lengths is None:
      expected = "sequences with lengths and partners"
      raise validate.error("the data", "sequences without pairs", expected)
    super().__init__(arm, network, base.parts(splits), len(train.inputs))
    self._encoder = encoder

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    # The encoder's init also creates its own head, which is removed below.
    parts = jax.random.split(key)
    tokens, lengths = jnp.zeros((1, 2), jnp.int32), jnp.full(1, 2)
    variables = dict(self.network.init(parts[0], tokens, lengths))
    encoder = self.network.encoder.init(parts[1], tokens)
    encoder = masked_language.begun(encoder, self._encoder, self.arm.encoder)
    params = {**variables["params"], "encoder": dict(encoder["params"])}
    params["encoder"].pop("head")
    return {**variables, "params": params}

  def inputs(self, batch: data.ArrayDataset) -> tuple[Any, ...]:
    """Returns the tokens and the lengths."""
    return batch.inputs, batch.lengths

  def score(
    self, outputs: jax.Array, batch: data.ArrayDataset
  ) -> tuple[supervised.Metrics, jax.Array]:
    """Returns "test_loss", a mean over pairs, and the number of pairs."""
    counted = _counted(batch)
    partners = jnp.asarray(batch.extras.partners)
    true = partners[:, :, None] == jnp.arange(batch.inputs.shape[-1])
    values = optax.sigmoid_binary_cross_entropy(outputs, true)
    number = counted.sum()
    loss = jnp.where(counted, values, 0).sum() / jnp.maximum(number, 1)
    return {"test_loss": loss}, number

  def scores(
    self,
    variables: base.PyTree,
    batch: data.ArrayDataset,
    key: jax.Array | None = None,
  ) -> tuple[supervised.Metrics, jax.Array]:
    """Returns `score` with the counts of decoded pairs, for `measure`."""
    del key
    outputs = self.network.apply(variables, *self.inputs(batch))
    metrics, number = self.score(outputs, batch)
    counts = self.counts(outputs, batch)
    share = jnp.maximum(number, 1)
    return metrics | {k: x / share for k, x in counts.items()}, number

  def counts(
    self, outputs: jax.Array, batch: data.ArrayDataset
  ) -> dict[str, jax.Array]:
    """Returns the numbers of "hits", "predicted" and "true" pairs."""
    found = structures(outputs, batch.lengths, self.network.gamma)
    true = jnp.asarray(batch.extras.partners)
    places = jnp.arange(batch.inputs.shape[-1])
    sums = ((found == true) & (found > places)), found > places, true > places
    return {name: x.sum() for name, x in zip(_COUNTS, sums)}

  def measure(
    self, variables: base.PyTree, examples: base.PyTree
  ) -> supervised.Metrics:
    """Scores a part: "test_loss", and "f1", "precision", "recall"."""
    metrics = super().measure(variables, examples)
    hits, predicted, true = (metrics.pop(name) for name in _COUNTS)
    least = 1e-12
    return metrics | {
      "f1": 2 * hits / jnp.maximum(predicted + true, least),
      "precision": hits / jnp.maximum(predicted, least),
      "recall": hits / jnp.maximum(true, least),
    }


def _counted(batch):
  """Flags of the pairs of letters, the first one before the other."""
  inside = letters_inside(batch.inputs.shape[-1], batch.lengths)
  both = inside[:, :, None] & inside[:, None, :]
  return jnp.triu(both, 1)


def letters_inside(time: int, lengths: jax.Array) -> jax.Array:
  """Returns the mask (n, time) of letters, without the first and last token."""
  return masks.inside(time, lengths - 1) & (jnp.arange(time) > 0)


def structures(
  logits: jax.Array, lengths: jax.Array, gamma: float
) -> jax.Array:
  """Returns the decoded partners (n, time) of tokens, 0 for unpaired letters.

  Args:
    logits: (n, time, time), from `PairNetwork`.
    lengths: (n,) numbers of tokens.
    gamma: see `pair_structures.decode`.
  """
  inside = letters_inside(logits.shape[-1], lengths)
  found = pair_structures.decode(jax.nn.sigmoid(logits), inside, gamma)
  return jnp.maximum(found, 0)


def floors(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns the metrics of structures with the most pairs, by label.

  Args:
    splits: see `Problem`, of RNA.
    part: "test" or "valid".
  """
  wanted = getattr(splits, part)
  if wanted is None:
    return {}
  names = masked_language.names_of(splits.info)
  predicted, true = [], []
  for tokens, partners, length in zip(
    wanted.inputs, wanted.extras.partners, wanted.lengths
  ):
    predicted.append(
      rna.nussinov("".join(names[i] for i in tokens[1 : length - 1]))
    )
    true.append(partners[1 : length - 1] - 1)
  return {"Nussinov": rna.f1(predicted, true)}


def compute(
  network: PairNetwork, variables: PyTree, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns the probabilities of pairs of tokens, and the decoded structures.

  Returns:
    "pairs" (n, time, time), the probabilities, and "partners" (n, time), see
    `structures`.
  """
  tokens, lengths = arguments["tokens"], arguments["lengths"]
  logits = network.apply(variables, tokens, lengths)
  partners = structures(logits, lengths, network.gamma)
  return {"pairs": jax.nn.sigmoid(logits), "partners": partners}


def _predict(model, examples):
  """Returns a row for each pair of the structures; one of -1 if no pairs."""
  arrays = model.outputs(examples.dataset)
  lengths = outputs.tokens(None, examples.dataset)["lengths"]
  # From 0 on, as letters count.
  partners = arrays["partners"] - 1
  brackets = np.array(
    [
      rna.brackets_of(row[1 : length - 1])
      for row, length in zip(partners, lengths)
    ]
  )
  places = np.arange(partners.shape[1]) - 1
  opened = partners > places
  # A sequence without pairs has the row of its first token, not a letter.
  opened[:, 0] = ~opened[:, 1:].any(axis=1)
  example, first = np.nonzero(opened)
  second = partners[example, first]
  paired = first > 0
  chances = arrays["pairs"][example, first, second + 1]
  columns = {
    "id": outputs.labels(examples.ids)[example],
    "position": np.where(paired, first - 1, -1),
    "partner": second,
    "probability": np.where(paired, chances, np.nan),
    "structure": brackets[example],
  }
  return columns, arrays


TASK = task.Task(
  name="pairs",
  arm=ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="f1",
  better="higher",
  unit="sequences",
  columns={
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "test_loss": "nats",
  },
  kind="pairs",
  outputs=outputs.Outputs(
    network=PairNetwork,
    arguments=outputs.tokens,
    compute=compute,
    predict=_predict,
  ),
  baselines=lambda splits, config, part: floors(splits, part),
)
