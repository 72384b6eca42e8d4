"""Trained networks that are adapted to texts, to chats or to preferences.

What is trained is a `adapt.tuning.Method`'s, such as adapters beside the
weights. The network's own variables are data of the problem: an argument of its
programs, which no update changes, and shared by all seeds.

Texts are read as `tasks.language` does, chats in packed rows
(`tasks.instruction`), and pairs of answers side by side (`tasks.preference`);
the reference of these is the network before it is adapted.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.adapt import lora
from jaxseq.adapt import tuning
from jaxseq.data import chats
from jaxseq.tasks import base
from jaxseq.tasks import instruction
from jaxseq.tasks import language
from jaxseq.tasks import losses
from jaxseq.tasks import preference
from jaxseq.training import optimizers
from jaxseq.training import recipes
from jaxseq.training import supervised

# Those that tune the states that sequences begin with: a row holds one then.
TUNED = ("states", "lora+states")
# Pieces of a text that are scored at a time.
_PIECES = 64


@dataclasses.dataclass(frozen=True)
class ArmConfig(base.ArmConfig):
  """The method by which an arm adapts the network, which is that of all.

  Attributes:
    method: "full": all parameters are trained; "lora": adapters; "states": the
      states that sequences begin with; "lora+states": both.
    adapters: their options; the weights of all products in the layers are hit
      if nothing else is said.
    adapter_dropout: see `adapt.tuning.Lora`.
    states: which of these, see `adapt.initial_states.parameters`; all if None.
    alpha: factor of the states once they are trained.
    together: whether several chats share a row in training; they are the same
      to the network if they do not, and do not where states are tuned.
    average: over what the loss of chats is a mean, see `instruction.pack`.
    pairs: the loss of preferences.
  """

  _: dataclasses.KW_ONLY
  method: Literal["full", "lora", "states", "lora+states"] = "lora"
  adapters: lora.Config = lora.Config(r"stack\..*")
  adapter_dropout: float = 0.0
  states: str | None = None
  alpha: float = 1.0
  together: bool = True
  average: instruction.Average = "token"
  pairs: preference.Config = preference.Config()


class Base(NamedTuple):
  """A network that is adapted.

  Attributes:
    network: of tokens.
    variables: of the network.
    start: the token that is read where a text begins.
    opens: whether a chat begins with that token, too.
    names: other names of weights, see `lora.match`.
    digest: SHA-256 of the variables, which checkpoints keep.
  """

  network: nn.SequenceNetwork
  variables: Mapping[str, PyTree]
  start: int = language.START
  opens: bool = True
  names: lora.Names | None = None
  digest: str = "00" * 32


def make_method(arm: ArmConfig, adapted: Base) -> tuning.Method:
  """Returns the method of an arm."""
  if arm.method == "full":
    return tuning.Full()
  states = tuning.States(adapted.network, arm.states, arm.alpha)
  if arm.method == "states":
    return states
  adapters = tuning.Lora(
    adapted.network, arm.adapters, adapted.names, arm.adapter_dropout
  )
  if arm.method == "lora":
    return adapters
  return tuning.LoraAndStates(adapters, states)


def make_optimizer(
  arm: ArmConfig, num_updates: int
) -> optax.GradientTransformation:
  """Returns the optimiser of an arm; adapters are all trained alike."""
  if arm.method == "full":
    return base.make_optimizer(arm, num_updates)
  config = recipes.make(arm.optimizer, (), num_updates)
  return optimizers.make_optimizer(dataclasses.replace(config, no_decay=None))


class _Adapted:
  """The common part of problems of adapted networks.

  Attributes:
    method: of the arm.
    starts_from_data: as what is trained first may be the network itself.
  """

  starts_from_data = True
  method: tuning.Method
  network: nn.SequenceNetwork

  def adapt(self, arm: ArmConfig, adapted: Base) -> dict[str, Any]:
    """Takes the network; returns its variables, as data."""
    self.network = adapted.network
    self.method = make_method(arm, adapted)
    sha256 = np.frombuffer(bytes.fromhex(adapted.digest), np.uint32)
    return {"base": dict(adapted.variables), "sha256": sha256}

  def init(self, key: jax.Array, data: PyTree) -> dict[str, PyTree]:
    """Returns what is trained, and the digest of what it belongs to."""
    params = self.method.init(key, data["base"])
    return {"params": params, "base": {"sha256": data["sha256"]}}

  def training(self, variables: PyTree, frozen: PyTree, key: jax.Array) -> Any:
    """Returns the network's variables in training, and another key."""
    key, key_method = jax.random.split(key)
    params = variables["params"]
    return self.method.training(frozen, params, key_method), key

  def served(self, variables: PyTree, data: PyTree) -> dict[str, PyTree]:
    """Returns the network's variables once it is trained."""
    return self.method.served(data["base"], variables["params"])


class TextProblem(_Adapted, language.Problem):
  """A network adapted to a text.

  Args:
    arm: the method, and the number of parallel streams.
    adapted: the network.
    corpus: the text.
    length: tokens of a piece.
    fresh: whether each piece is a text of its own, from a random place and in
      front of which nothing was read, in training and where bits are counted.
    bytes_per_token: of the validation part.
    **options: of `language.Problem`.

  Raises:
    ValueError: if states are tuned for pieces that go on from others.
  """

  metric = "bits_per_byte"

  def __init__(
    self,
    arm: ArmConfig,
    adapted: Base,
    corpus: language.Corpus,
    *,
    length: int,
    fresh: bool = False,
    bytes_per_token: float = 1.0,
    **options: Any,
  ):
    if arm.method in TUNED and not fresh:
      expected = "True, as sequences begin with what is tuned"
      raise _validate.error("fresh", fresh, expected)
    self.fresh = fresh
    if fresh:
      options["jump_every"] = 1
    corpus = corpus._replace(vocab_size=adapted.network.vocab_size)
    options = {"length": length, "start": adapted.start, **options}
    language.Problem.__init__(self, arm, corpus, **options)
    self.data = {**self.data, **self.adapt(arm, adapted)}
    self.bytes_per_token = bytes_per_token
    self.tokens = arm.batch_size * length

  def sample(self, key: jax.Array, update: jax.Array, data: PyTree) -> Any:
    """Returns the next piece of each stream, and the network's variables."""
    piece = language.Problem.sample(self, key, update, data)
    return piece, data["base"]

  def loss(
    self, variables: PyTree, batch: Any, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the mean cross-entropy in nats; the states are carried on."""
    piece, frozen = batch
    variables, key = self.training(variables, frozen, key)
    if self.fresh:
      piece, carry = (*piece[:2], None), None
    return language.Problem.loss(self, variables, piece, carry, key)

  def validate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Returns "bits_per_byte" of the validation part."""
    variables = self.served(variables, data)
    if self.fresh:
      valid = data["valid"]
      arguments = self.network, variables, valid, self.length, self.start
      bits = bits_of_pieces(*arguments)
    else:
      metrics = language.Problem.validate(self, variables, data)
      bits = metrics["bits_per_token"]
    return {"bits_per_byte": bits / self.bytes_per_token}

  evaluate = validate


def bits_of_pieces(
  network: nn.SequenceNetwork,
  variables: PyTree,
  text: language.Text,
  length: int,
  first: int = language.START,
) -> jax.Array:
  """Scores the pieces of a text, each as a text of its own.

  Args:
    network: the network.
    variables: of the network.
    text: (streams, n) arrays; what fills no piece at their ends is left out.
    length: tokens of a piece, all of them if there are fewer.
    first: the token that is read in front of a piece.

  Returns:
    The mean negative log-likelihood in bits.
  """
  total = text.tokens.shape[1]
  length = min(length, total)
  pieces = text.tokens[:, : total // length * length].reshape(-1, length)

  def nats(piece):
    targets = piece.astype(jnp.int32)
    inputs = jnp.concatenate([jnp.full((1,), first, jnp.int32), targets[:-1]])
    logits, _ = network.apply(variables, inputs[None])
    return base.cross_entropy(logits, targets[None])[0]

  every = jax.lax.map(nats, pieces, batch_size=min(_PIECES, len(pieces)))
  return jnp.mean(every) / math.log(2)


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
  examples: Sequence[chats.Example], adapted: Base
) -> list[chats.Example]:
  """Returns chats with the token in front that the network begins with."""
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


class _RowsProblem(_Adapted, base.ArrayProblem):
  """Base of the problems whose batches are rows of chats."""

  validated = "test_loss"

  def __init__(self, arm, adapted, parts, tokens):
    size = len(jax.tree.leaves(parts["train"])[0])
    base.ArrayProblem.__init__(self, arm, adapted.network, parts, size)
    self.data = {**parts, **self.adapt(arm, adapted)}
    # Of an update, without padding; for the speed.
    self.tokens = round(tokens / size * arm.batch_size)

  def sample(self, key: jax.Array, update: jax.Array, data: PyTree) -> Any:
    """Draws a batch, and returns the network's variables beside it."""
    return base.ArrayProblem.sample(self, key, update, data), data["base"]

  def loss(
    self, variables: PyTree, batch: Any, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the objective on a batch."""
    batch, frozen = batch
    variables, key = self.training(variables, frozen, key)
    return base.ArrayProblem.loss(self, variables, batch, carry, key)

  @staticmethod
  def shares(arm: ArmConfig) -> bool:
    """Returns whether several chats may share a row."""
    return arm.method not in TUNED

  def resets(self, reset: jax.Array) -> jax.Array | None:
    """Returns where chats begin; None if each has a row, and tuned states."""
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
    cut: whether longer chats lose their ends; they are an error if not.
    bytes_per_token: of the answers.

  Raises:
    ValueError: if a chat is too long, or a batch larger than the training set.
  """

  def __init__(
    self,
    arm: ArmConfig,
    adapted: Base,
    parts: Mapping[str, Sequence[chats.Example]],
    *,
    length: int,
    cut: bool = False,
    bytes_per_token: float = 1.0,
  ):
    packed = {
      name: rows(
        opened(examples, adapted),
        length,
        average=arm.average,
        together=self.shares(arm) and (arm.together or name != "train"),
        cut=cut,
      )
      for name, examples in parts.items()
    }
    tokens = sum(min(len(x.tokens), length) for x in parts["train"])
    super().__init__(arm, adapted, packed, tokens)
    self.bits = 1 / (math.log(2) * bytes_per_token)

  def inputs(self, batch: Rows) -> tuple[Any, ...]:
    """Returns tokens, no states, and where chats begin."""
    return batch.tokens, None, self.resets(batch.reset)

  def score(
    self, outputs: Any, batch: Rows
  ) -> tuple[supervised.Metrics, jax.Array]:
    """Returns means over tokens of answers, or over chats.

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
  """Answers of which the first is preferred; arrays are (pairs, 2, ..).

  Attributes:
    rows: (pairs, 2, length).
    reference: (pairs, 2) log-probabilities of the answers, by the network
      before it is adapted.
  """

  rows: Rows
  reference: np.ndarray


class PreferenceProblem(_RowsProblem):
  """A network adapted to preferences, see `tasks.preference`.

  Args:
    arm: the method, the loss, and pairs of an update.
    adapted: the network, which is the reference, too.
    parts: chats by part, a preferred one before the other.
    length: elements of a row.
    cut: whether longer chats lose their ends; they are an error if not.

  Raises:
    ValueError: as `ChatProblem`.
  """

  train_metrics = ("accuracy", "margin")

  def __init__(
    self,
    arm: ArmConfig,
    adapted: Base,
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
    for name, part in pairs.items():
      reference = self._reference(adapted.variables, part)
      self.data[name] = part._replace(reference=reference)

  def _reference(self, variables, pairs):
    """Returns the log-probabilities by the network as it is, in batches."""

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

    These are "test_loss", and of `preference.loss` "accuracy" and "margin".
    """
    log_probs, counts = _log_probs(outputs[0], batch.rows)
    loss, metrics = preference.loss(
      log_probs, _flat(batch.reference), counts, self.options
    )
    return {"test_loss": loss, **metrics}, len(batch.reference)


def _pairs(examples, length, cut):
  """Rows of pairs, each answer in one of its own; no reference yet."""
  packed = rows(examples, length, together=False, cut=cut)
  paired = Rows(*(x.reshape(-1, 2, *x.shape[1:]) for x in packed))
  return Pairs(paired, np.zeros(paired.tokens.shape[:2], np.float32))


def _flat(x):
  """(pairs, 2, ..) as (2 pairs, ..), the preferred ones first."""
  return jnp.concatenate([x[:, 0], x[:, 1]])


def _log_probs(logits, batch):
  """Log-probabilities of answers, and their numbers of tokens (2 pairs,)."""
  mask = _flat(batch.weight) > 0
  each = losses.token_log_probs(logits, _flat(batch.targets), mask)
  return each.sum(axis=-1), mask.sum(axis=-1)
