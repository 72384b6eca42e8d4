"""Next-token prediction on documents that the host reads from disk.

The rows of an update are computed from its number, see `token_rows`, in a
thread that runs in parallel to the devices, see `training.feeding`; each begins
with fresh states, so that no state is carried between updates. Validation and
test texts are in memory, and are scored as in `language`.
"""

from collections.abc import Mapping
import math
from typing import Any

import jax

from jaxseq import data
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks.language import task as language
from jaxseq.tasks.language import token_rows
from jaxseq.training import feeding
from jaxseq.training import supervised
from jaxseq.training.comparison import arms


class Problem(language.Problem):
  """Predicting each token of documents from those before it.

  Args:
    arm: network and batch size, the rows of an update.
    corpus: the text, whose training part are documents.
    length: elements of a row.
    seed: seed of the order of documents, which all seeds of the arm share.
    documents: whether rows contain whole documents; if not, they are windows
      over all documents.
    valid_tokens: see `language.Problem`.

  Raises:
    ValueError: if there are fewer rows than in a batch, or the network pools.
  """

  def __init__(
    self,
    arm: base.ArmConfig,
    corpus: language.Corpus,
    *,
    length: int,
    seed: int,
    documents: bool = False,
    valid_tokens: int = 65_536,
  ):
    self.part: arms.Part = "validation"
    base.check_pooling(arm.network, False, "every token is predicted")
    kind = token_rows.Packed if documents else token_rows.Windows
    self.rows = kind(corpus.train, length, corpus.vocab_size)
    self.length = length
    self.start = language.START
    self.network = language.make_network(arm, corpus)
    valid = language.first(corpus.valid, valid_tokens)
    self.data = {"valid": language.streams(valid, arm.batch_size)}
    self.source = feeding.Source(
      lambda numbers: self.rows.rows(seed, numbers),
      arm.batch_size,
      feeding.digest(corpus.digest),
    )
    # The digest identifies the file that a run was trained on.
    self.carry = self.source.digest

  def sample(
    self, key: jax.Array, update: jax.Array, data: base.PyTree
  ) -> token_rows.Batch:
    """Returns the rows of an update, (batch, length)."""
    del key
    return data["batches"].of(update)

  def loss(
    self,
    variables: base.PyTree,
    batch: token_rows.Batch,
    carry: base.PyTree,
    key: jax.Array,
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the mean cross-entropy in nats over the targets of a batch."""
    (logits, _), collections, penalty = base.in_training(
      self.network, variables, key, batch.tokens, None, batch.reset
    )
    value, accuracy, _ = base.cross_entropy(
      logits, batch.targets, batch.weight > 0
    )
    metrics = {
      "train_bits_per_token": value / math.log(2),
      "train_accuracy": accuracy,
    }
    return value + penalty, supervised.Loss(metrics, collections, carry)


def make(
  arm: base.ArmConfig, corpus: language.Corpus, config: Any
) -> language.Problem:
  """Returns the problem of an arm, for a text in memory or on disk.

  Raises:
    ValueError: see both problems; also if `jump_every` is set for a text on
      disk.
  """
  if not isinstance(corpus.train, token_rows.Documents):
    return language.TASK.problem(arm, corpus, config)
  if config.jump_every is not None:
    expected = "None, as rows of a token file begin with fresh states"
    raise validate.error("jump_every", config.jump_every, expected)
  return Problem(
    arm,
    corpus,
    length=config.length,
    seed=config.seed,
    documents=config.data_options.get("documents", False),
    valid_tokens=config.valid_tokens,
  )


def in_memory(splits: data.Splits, ready: Mapping[str, Any]) -> data.Splits:
  """Returns splits in memory, of which models need a training example."""
  del ready
  if splits.train.extras.document_offsets is None:
    return splits
  return splits._replace(train=splits.valid)
