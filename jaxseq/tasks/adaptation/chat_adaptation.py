"""Adapting networks to chats, or to preferences between their answers.

Chats are read in packed rows (`instruction`), pairs of answers side by side
(`preference`), with the network before adaptation as reference. The methods are
those of `tasks.adaptation`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.data import chats
from jaxseq.tasks import base
from jaxseq.tasks import losses
from jaxseq.tasks.adaptation import instruction
from jaxseq.tasks.adaptation import preference
from jaxseq.tasks.adaptation import task as adaptation
from jaxseq.training import supervised
from jaxseq.types import PyTree


class Rows(NamedTuple):
  """Chats in rows, see `instruction.Batch`; the weight is float32."""

  tokens: np.ndarray
  targets: np.ndarray
  reset: np.ndarray
  weight: np.ndarray


def rows(
  examples: Sequence[chats.Example], length: int, **options: Any
) -> Rows:
  """Packs chats, see `instruction.pack`."""
  batch = instruction.pack(examples, length, **options)
  return Rows(
    batch.tokens,
    batch.targets,
    batch.reset,
    np.asarray(batch.weight, np.float32),
  )


def opened(
  examples: Sequence[chats.Example], adapted: adaptation.Base
) -> list[chats.Example]:
  """Returns chats with the network's start token in front."""
  if not adapted.opens:
    return list(examples)
  return [
    chats.Example(
      each.text,
      np.concatenate([[adapted.start], each.tokens]).astype(np.int32),
      np.concatenate([[False], each.mask]),
    )
    for each in examples
  ]


class _RowsProblem(adaptation.Adapted, base.ArrayProblem):
  """Base of the problems whose batches are rows of chats."""

  validated = "test_loss"

  def __init__(self, arm, adapted, parts, tokens):
    size = len(jax.tree.leaves(parts["train"])[0])
    base.ArrayProblem.__init__(self, arm, adapted.network, parts, size)
    self.data = {**parts, **self.adapt(arm, adapted)}
    # Tokens of an update without padding, to report the speed.
    self.tokens = round(tokens / size * arm.batch_size)

  def sample(self, key: jax.Array, update: jax.Array, data: PyTree) -> Any:
    """Draws a batch; returns it with the network's variables."""
    return base.ArrayProblem.sample(self, key, update, data), data["base"]

  def loss(
    self, variables: PyTree, batch: Any, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the objective on a batch."""
    batch, frozen = batch
    variables, key = self.training(variables, frozen, key)
    return base.ArrayProblem.loss(self, variables, batch, carry, key)

  @staticmethod
  def shares(arm: adaptation.ArmConfig) -> bool:
    """Returns whether several chats may share a row."""
    return arm.method not in adaptation.TUNED

  def resets(self, reset: jax.Array) -> jax.Array | None:
    """Returns the starts of chats; None if states are tuned, one chat a row."""
    return reset if self.shares(self.arm) else None

  def evaluate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Returns the metrics of the test part, see `base.ArrayProblem`."""
    served = self.served(variables, data)
    return base.ArrayProblem.evaluate(self, served, data)

  def validate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Returns the metrics of the validation part."""
    served = self.served(variables, data)
    return base.ArrayProblem.validate(self, served, data)


class ChatProblem(_RowsProblem):
  """A network adapted to the answers of chats.

  Args:
    arm: the method, and rows of an update.
    adapted: the network.
    parts: chats by part: "train", "test" and perhaps "valid".
    length: elements of a row.
    cut: whether longer chats are truncated; otherwise they raise an error.
    bytes_per_token: of the answers.

  Raises:
    ValueError: if a chat is too long, or a batch larger than the training set.
  """

  def __init__(
    self,
    arm: adaptation.ArmConfig,
    adapted: adaptation.Base,
    parts: Mapping[str, Sequence[chats.Example]],
    *,
    length: int,
    cut: bool = False,
    bytes_per_token: float = 1.0,
  ):
    # Arms with different averages are compared by means over tokens; only these
    # can be divided by the bytes of a token.
    packed = {
      name: rows(
        opened(examples, adapted),
        length,
        average=arm.average if name == "train" else "token",
        together=self.shares(arm) and (arm.together or name != "train"),
        cut=cut,
      )
      for name, examples in parts.items()
    }
    tokens = sum(min(len(x.tokens), length) for x in parts["train"])
    super().__init__(arm, adapted, packed, tokens)
    self.bits = 1 / (math.log(2) * bytes_per_token)

  def inputs(self, batch: Rows) -> tuple[Any, ...]:
    """Returns tokens, no states, and the starts of chats."""
    return batch.tokens, None, self.resets(batch.reset)

  def score(
    self, outputs: Any, batch: Rows
  ) -> tuple[supervised.Metrics, jax.Array]:
    """Returns means over tokens of answers; in training perhaps over chats.

    These are "test_loss", the cross-entropy in nats, the same as
    "bits_per_byte", and "accuracy".
    """
    logits, _ = outputs
    loss = losses.weighted_cross_entropy(logits, batch.targets, batch.weight)
    total = batch.weight.sum()
    right = (jnp.argmax(logits, axis=-1) == batch.targets) * batch.weight
    return {
      "test_loss": loss,
      "bits_per_byte": loss * self.bits,
      "accuracy": right.sum() / jnp.where(total > 0, total, 1),
    }, total


class Pairs(NamedTuple):
  """Pairs of answers, the preferred one first; arrays are (pairs, 2, ..).

  Attributes:
    rows: (pairs, 2, length).
    reference: (pairs, 2) log-probabilities of the answers, by the network
      before adaptation.
  """

  rows: Rows
  reference: np.ndarray


class PreferenceProblem(_RowsProblem):
  """A network adapted to preferences, see `tasks.adaptation.preference`.

  Args:
    arm: the method, the loss, and pairs of an update.
    adapted: the network, which is also the reference.
    parts: chats by part, the preferred answer of each pair first.
    length: elements of a row.
    cut: whether longer chats lose their ends; they are an error if not.

  Raises:
    ValueError: as `ChatProblem`.
  """

  train_metrics = ("accuracy", "margin")

  def __init__(
    self,
    arm: adaptation.ArmConfig,
    adapted: adaptation.Base,
    parts: Mapping[str, Sequence[chats.Example]],
    *,
    length: int,
    cut: bool = False,
  ):
    pairs = {
      name: _pairs(opened(examples, adapted), length, cut)
      for name, examples in parts.items()
    }
    self.options = arm.pairs
    tokens = sum(min(len(x.tokens), length) for x in parts["train"])
    super().__init__(arm, adapted, pairs, tokens)
    if not arm.pairs.has_reference:
      return
    for name, part in pairs.items():
      reference = self._reference(adapted.variables, part)
      self.data[name] = part._replace(reference=reference)

  def _reference(self, variables, pairs):
    """Returns the reference log-probabilities of pairs, in batches."""

    @jax.jit
    def one(variables, batch):
      logits, _ = self.network.apply(variables, *self.inputs(batch))
      return _log_probs(logits, batch.rows)[0]

    size = self.arm.batch_size
    values = []
    for start in range(0, len(pairs.reference), size):
      batch = jax.tree.map(lambda x, at=start: x[at : at + size], pairs)
      values.append(np.asarray(one(variables, batch)))
    return np.concatenate([x.reshape(2, -1).T for x in values])

  def inputs(self, batch: Pairs) -> tuple[Any, ...]:
    """Returns the tokens of preferred answers, then those of the others."""
    reset = self.resets(_flat(batch.rows.reset))
    return _flat(batch.rows.tokens), None, reset

  def score(self, outputs: Any, batch: Pairs) -> tuple[supervised.Metrics, int]:
    """Returns means over pairs.

    These are "test_loss", and "accuracy" and "margin" of `preference.loss`.
    """
    log_probs, counts = _log_probs(outputs[0], batch.rows)
    loss, metrics = preference.loss(
      log_probs, _flat(batch.reference), counts, self.options
    )
    return {"test_loss": loss, **metrics}, len(batch.reference)


def _pairs(examples, length, cut):
  """Packs pairs with one answer per row; the reference is still zeros."""
  packed = rows(examples, length, together=False, cut=cut)
  paired = Rows(*(x.reshape(-1, 2, *x.shape[1:]) for x in packed))
  return Pairs(paired, np.zeros(paired.tokens.shape[:2], np.float32))


def _flat(x):
  """Reshapes (pairs, 2, ..) to (2 pairs, ..), the preferred ones first."""
  return jnp.concatenate([x[:, 0], x[:, 1]])


def _log_probs(logits, batch):
  """Returns answers' log-probabilities and numbers of tokens, (2 pairs,)."""
  mask = _flat(batch.weight) > 0
  each = losses.token_log_probs(logits, _flat(batch.targets), mask)
  return each.sum(axis=-1), mask.sum(axis=-1)
