"""Next-token prediction on documents of very different lengths, with plans.

Every document is read from a fresh state: its inputs are `language.START` and
its tokens, and each token is a target. The planner assigns the documents of an
update to devices (`jaxseq.planner`). The loss is the mean over all targets of
the update, so that it does not depend on the plan.
"""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np
import optax

from experiments.documents import document_plans
from jaxseq import mixers
from jaxseq import validate
from jaxseq.planner import planned
from jaxseq.planner import rows
from jaxseq.tasks import base
from jaxseq.tasks import language
from jaxseq.training.comparison import arms


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of networks on the documents of one text.

  Attributes:
    max_length: largest number of elements of a document, including the start
      token; longer ones are divided.
    valid_tokens: bytes of the validation documents that an evaluation reads.
    plan: options of the plans.
    devices: number of devices; 0 for all, in one process the largest power of
      two.
    num_seeds: 1, because a run uses all devices.
  """

  _: dataclasses.KW_ONLY
  max_length: int = 8192
  valid_tokens: int = 65_536
  plan: document_plans.PlanConfig = arms.free(document_plans.PlanConfig())
  devices: int = arms.free(0)
  num_seeds: int = 1

  def __post_init__(self):
    super().__post_init__()
    validate.fields(self, positive=("max_length", "valid_tokens", "batch_size"))
    if self.num_seeds != 1:
      raise validate.error(
        "num_seeds",
        self.num_seeds,
        "1: a run takes all devices; start one with another seed",
      )
    if not self.mesh.trivial:
      raise validate.error(
        "mesh",
        self.mesh,
        "none, as the planner groups the devices; config.devices says how many",
      )
    if self.early_stopping:
      raise validate.error(
        "early_stopping",
        self.early_stopping,
        "0, as the last variables alone are kept",
      )


def from_text(
  text: language.Text | document_plans.Documents, max_length: int
) -> document_plans.Documents:
  """Returns the documents of a text (n,).

  A document has at most `max_length` elements, including `START`; longer ones
  are divided.

  Raises:
    ValueError: if `max_length` leaves no room for a token.
  """
  validate.integer("max_length", max_length, 2)
  if isinstance(text, document_plans.Documents):
    ends = text.offsets
  else:
    ends = np.append(np.flatnonzero(text.starts), len(text.tokens))
  pieces = [
    np.arange(start, end, max_length - 1)
    for start, end in zip(ends[:-1], ends[1:])
  ]
  return document_plans.Documents(
    text.tokens, np.concatenate([*pieces, ends[-1:]])
  )


def first(
  documents: document_plans.Documents, tokens: int
) -> document_plans.Documents:
  """Returns the first documents, with at most `tokens` tokens; at least one.

  Args:
    documents: the documents.
    tokens: largest number of tokens.
  """
  count = np.searchsorted(documents.offsets, tokens, side="right") - 1
  return documents._replace(offsets=documents.offsets[: max(count, 1) + 1])


def draw(seed: int, update: int, count: int, size: int) -> np.ndarray:
  """Returns the documents of an update, from epochs in random order.

  Args:
    seed: seed of the run.
    update: number of updates made.
    count: number of documents.
    size: number of documents of an update.

  Returns:
    (size,) int64. No document is repeated before all others were read.
  """
  epochs, places = np.divmod(update * size + np.arange(size), count)
  orders = {
    epoch: np.random.default_rng([seed, epoch]).permutation(count)
    for epoch in set(epochs)
  }
  return np.array([orders[e][p] for e, p in zip(epochs, places)])


class Problem:
  """Prediction of each token of a document.

  Args:
    arm: network, optimizer, and documents per update.
    corpus: the text.
    plan: options of the plan.
    max_length: largest number of elements of a document; longer ones are
      divided.
    seed: seed of the order of the documents.
    valid_tokens: number of tokens of the validation part that an evaluation
      reads.
    devices: devices of all processes.

  Raises:
    ValueError: if there are too few documents, or an option is wrong.
  """

  def __init__(
    self,
    arm: base.ArmConfig,
    corpus: language.Corpus,
    plan: document_plans.PlanConfig,
    *,
    max_length: int,
    seed: int,
    valid_tokens: int,
    devices: Sequence[jax.Device],
  ):
    self.documents = from_text(corpus.train, max_length)
    count = len(self.documents.lengths)
    if arm.batch_size > count:
      raise validate.error(
        "batch_size",
        arm.batch_size,
        f"at most {count}, the number of training documents; set "
        "--config.batch_size",
      )
    self.planner = document_plans.make_planner(
      plan, arm.network, max_length, devices
    )
    self.network = language.make_network(arm, corpus)
    self.corpus, self.devices = corpus, tuple(devices)
    self.batch_size, self.max_length = arm.batch_size, max_length
    self.seed, self.valid_tokens = seed, valid_tokens
    longest_row = self.planner.chunks[-1] * self.planner.num_devices
    self.options = tuple(
      _scheme(mixer, longest_row) for mixer in arm.network.stack.mixers
    )

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the variables of the network."""
    return self.network.init(key, np.zeros((1, 1), np.int32))

  def token_loss(
    self, variables: base.PyTree, wave: rows.Wave, axis: str
  ) -> jax.Array:
    """Returns the sum of the losses, in nats, of a device's part of a wave."""
    logits, _ = self.network.apply(
      variables,
      wave.tokens,
      None,
      wave.reset,
      options=tuple(each | {"axis": axis} for each in self.options),
    )
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, wave.targets)
    return (nats * wave.mask).sum()

  def make_step(self, update: int) -> planned.Step:
    """Returns the batch of an update by its number."""
    count = len(self.documents.lengths)
    chosen = draw(self.seed, update, count, self.batch_size)
    return self.planner.lay_out(self.documents, chosen)

  def valid(self) -> list[rows.Batch]:
    """Returns the validation documents that an evaluation reads."""
    return self._held_out(self.corpus.valid, self.valid_tokens)

  def test(self) -> list[rows.Batch]:
    """Returns all test documents."""
    return self._held_out(self.corpus.test, len(self.corpus.test.tokens))

  def _held_out(self, text, tokens):
    """Returns batches of the first documents of a part."""
    part = first(from_text(text, self.max_length), tokens)
    rows = np.arange(len(part.lengths))
    return [
      self.planner.lay_out(part, rows[start : start + self.batch_size]).batch
      for start in range(0, len(rows), self.batch_size)
    ]


def _scheme(mixer, longest_row):
  """Returns the options of a mixer's exchange inside a group."""
  if mixers.module_of(mixer) is not mixers.get("attention"):
    return {}
  # Attention over a whole row exchanges only within its group; with a shorter
  # window it passes keys from device to device, and groups wait for each other.
  whole = mixer.window >= longest_row - 1
  return {"scheme": "gather" if whole else "halo"}
