"""Adapting trained networks to texts; for chats see `chat_adaptation`.

The trainable variables belong to an `adapt.tuning.Method`, such as adapters of
the weights. The network's own variables are data of the problem: a constant
argument of its programs, shared by all seeds.

Texts are read as in `tasks.language`.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import nn
from jaxseq import validate
from jaxseq.adapt import lora
from jaxseq.adapt import tuning
from jaxseq.tasks import base
from jaxseq.tasks import language
from jaxseq.tasks.adaptation import instruction
from jaxseq.tasks.adaptation import preference
from jaxseq.training import optimizers
from jaxseq.training import recipes
from jaxseq.training import supervised
from jaxseq.types import PyTree

Arm = TypeVar("Arm", bound="MethodConfig")

# Methods that tune initial states: each row then holds one sequence.
TUNED = ("states", "lora+states")
# Number of chunks of a text that are scored at a time.
_PIECES = 64


@dataclasses.dataclass(frozen=True)
class MethodConfig(base.ArmConfig):
  """The method by which an arm adapts a network.

  Attributes:
    method: "full": all parameters are trained; "lora": adapters; "states":
      initial states of sequences; "lora+states": both.
    adapters: their options; by default all product weights of the layers are
      adapted.
    adapter_dropout: see `adapt.tuning.Lora`.
    states: regular expression of the tuned states, see
      `adapt.initial_states.parameters`; all if None.
    alpha: factor of the trained states.
  """

  _: dataclasses.KW_ONLY
  method: Literal["full", "lora", "states", "lora+states"] = "lora"
  adapters: lora.Config = lora.Config(r"stack\..*")
  adapter_dropout: float = 0.0
  states: str | None = None
  alpha: float = 1.0


@dataclasses.dataclass(frozen=True)
class ArmConfig(MethodConfig):
  """The method by which an arm adapts the network that all arms share.

  Attributes:
    together: whether several chats share a row in training, which does not
      change the network's outputs; never if states are tuned.
    average: averaging of the loss of chats in training, see `instruction.pack`;
      tests average over tokens.
    pairs: the loss of preferences.
  """

  _: dataclasses.KW_ONLY
  together: bool = True
  average: instruction.Average = "token"
  pairs: preference.Config = preference.Config()


class Base(NamedTuple):
  """The network to adapt.

  Attributes:
    network: of tokens.
    variables: of the network.
    start: the token read before a text.
    opens: whether chats begin with that token, too.
    names: other names of weights, see `lora.match`.
    digest: SHA-256 of the variables, which checkpoints keep.
  """

  network: nn.SequenceNetwork
  variables: Mapping[str, PyTree]
  start: int = language.START
  opens: bool = True
  names: lora.Names | None = None
  digest: str = "00" * 32


def fit(arm: Arm, adapted: Base) -> Arm:
  """Returns an arm with the network to adapt.

  Raises:
    ValueError: if the arm has another network.
  """
  network = adapted.network.config
  if arm.network not in (nn.NetworkConfig(), network):
    expected = "none in an arm: all adapt the same"
    raise validate.error("arms: network", arm.network.stack.mixer, expected)
  return dataclasses.replace(arm, network=network)


def make_method(arm: MethodConfig, adapted: Base) -> tuning.Method:
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
  arm: MethodConfig, num_updates: int
) -> optax.GradientTransformation:
  """Returns an arm's optimizer; all adapters get the same settings."""
  if arm.method == "full":
    return base.make_optimizer(arm, num_updates)
  config = recipes.make(arm.optimizer, (), num_updates)
  return optimizers.make_optimizer(dataclasses.replace(config, no_decay=None))


class Adapted:
  """The common part of problems of adapted networks.

  Attributes:
    method: of the arm.
    starts_from_data: True: initial variables may be the network's own.
  """

  starts_from_data = True
  method: tuning.Method
  network: nn.SequenceNetwork

  def adapt(self, arm: MethodConfig, adapted: Base) -> dict[str, Any]:
    """Sets the network and the method; returns the variables as data."""
    self.network = adapted.network
    self.method = make_method(arm, adapted)
    sha256 = np.frombuffer(bytes.fromhex(adapted.digest), np.uint32)
    return {"base": dict(adapted.variables), "sha256": sha256}

  def init(self, key: jax.Array, data: PyTree) -> dict[str, PyTree]:
    """Returns the trainable variables and the digest of their base model."""
    params = self.method.init(key, data["base"])
    return {"params": params, "base": {"sha256": data["sha256"]}}

  def training(self, variables: PyTree, frozen: PyTree, key: jax.Array) -> Any:
    """Returns the network's variables for training, and a new key."""
    key, key_method = jax.random.split(key)
    params = variables["params"]
    return self.method.training(frozen, params, key_method), key

  def served(self, variables: PyTree, data: PyTree) -> dict[str, PyTree]:
    """Returns the network's variables for use after training."""
    return self.method.served(data["base"], variables["params"])


class TextProblem(Adapted, language.Problem):
  """A network adapted to a text.

  Args:
    arm: the method, and the number of parallel streams.
    adapted: the network.
    corpus: the text.
    length: tokens of a chunk.
    fresh: whether each chunk is an independent text, read from a fresh state,
      in training (from random places) and in evaluation.
    bytes_per_token: of the validation part.
    **options: of `language.Problem`.

  Raises:
    ValueError: if states are tuned but chunks continue others.
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
      expected = "True, as sequences start from the tuned states"
      raise validate.error("fresh", fresh, expected)
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
    """Returns the next chunk of each stream, and the network's variables."""
    piece = language.Problem.sample(self, key, update, data)
    return piece, data["base"]

  def loss(
    self, variables: PyTree, batch: Any, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the mean cross-entropy in nats; states are carried over."""
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
  """Scores the chunks of a text, each as an independent text.

  Args:
    network: the network.
    variables: of the network.
    text: (streams, n) arrays; incomplete chunks at their ends are left out.
    length: tokens of a chunk, or the whole stream if it is shorter.
    first: the token read before a chunk.

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
