"""Dynamic evaluation: a language model that keeps learning during the test.

Each chunk of the test text is scored first, and then learned from, like an
adaptive compressor:

    theta <- theta - learning_rate g / (sqrt(s) + epsilon)
                   + min(decay sqrt(s) / mean sqrt(s), 1) (theta_0 - theta)

with theta_0 the trained parameters, g the gradient of the chunk's mean negative
log-likelihood, and s the mean squares of such gradients on the training text.
Krause et al., "Dynamic evaluation of neural sequence models", arXiv:1709.07432,
sections 4 and 5.
"""

import dataclasses
import math

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks.language import task as language


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of dynamic evaluation.

  Attributes:
    learning_rate: of the steps; 0 learns nothing.
    decay: rate of decay to the trained parameters.
    epsilon: added to the root mean squares of gradients.
    length: tokens of a chunk: scored together, then learned from.
    pieces: number of chunks of the training text for the mean squares.
  """

  learning_rate: float = 1e-4
  decay: float = 1e-3
  epsilon: float = 1e-3
  length: int = 64
  pieces: int = 200

  def __post_init__(self):
    validate.fields(
      self,
      positive=("length", "pieces"),
      above_zero=("epsilon",),
      not_negative=("learning_rate", "decay"),
    )


def check(
  config: Config, network: nn.NetworkConfig, train: language.Text
) -> None:
  """Checks that a network supports dynamic evaluation.

  Args:
    config: options.
    network: options of the network.
    train: (streams, n) the training text.

  Raises:
    ValueError: if the network has batch norm, whose statistics are not updated
      here, or the training text is shorter than a chunk.
  """
  network.stack.refuse(
    "network.stack",
    batch_norm="dynamic evaluation cannot let its statistics follow the text",
  )
  if train.tokens.shape[1] < config.length:
    raise validate.error(
      "dynamic.length",
      config.length,
      f"at most {train.tokens.shape[1]}, the tokens of a stream of the "
      "training text",
    )


def bits_per_token(
  config: Config,
  network: nn.SequenceNetwork,
  variables,
  train: language.Text,
  text: language.Text,
) -> jax.Array:
  """Scores a text while learning from it.

  Args:
    config: options.
    network: the network.
    variables: of the trained network; not changed.
    train: (streams, n) the training text; its first chunks give the mean
      squares of gradients.
    text: (1, n) the text to score, as one stream. Tokens beyond the last whole
      chunk are scored but not learned from.

  Returns:
    The mean negative log-likelihood in bits.

  Raises:
    ValueError: see `check`.
  """
  check(config, network.config, train)
  start = variables["params"]
  root = jax.tree.map(jnp.sqrt, _mean_squares(config, network, start, train))
  total = sum(leaf.sum() for leaf in jax.tree.leaves(root))
  mean = total / sum(leaf.size for leaf in jax.tree.leaves(root))
  back = jax.tree.map(
    lambda leaf: jnp.minimum(config.decay * leaf / mean, 1.0), root
  )

  def learn(theta, gradient):
    return jax.tree.map(
      lambda old, g, s, b, first: (
        old
        - config.learning_rate * g / (s + config.epsilon)
        + b * (first - old)
      ),
      theta,
      gradient,
      root,
      back,
      start,
    )

  def piece(carry, i):
    theta, states = carry
    (nats, states), gradient = _gradient(
      network, theta, states, text, i * config.length, config.length
    )
    return (learn(theta, gradient), states), nats

  length = text.tokens.shape[1]
  whole, rest = divmod(length, config.length)
  (theta, states), nats = lax.scan(
    piece,
    (start, network.initial_state((len(text.tokens),))),
    jnp.arange(whole),
  )
  total = nats.sum() * config.length
  if rest:
    (nats, _), _ = _gradient(
      network, theta, states, text, whole * config.length, rest
    )
    total = total + nats * rest
  return total / length / math.log(2)


def _mean_squares(config, network, params, train):
  """Returns the mean squared gradients over the first chunks of a text."""
  pieces = min(config.pieces, train.tokens.shape[1] // config.length)

  def piece(carry, i):
    squares, states = carry
    (_, states), gradient = _gradient(
      network, params, states, train, i * config.length, config.length
    )
    squares = jax.tree.map(lambda s, g: s + g * g, squares, gradient)
    return (squares, states), None

  first = (
    jax.tree.map(jnp.zeros_like, params),
    network.initial_state((len(train.tokens),)),
  )
  (squares, _), _ = lax.scan(piece, first, jnp.arange(pieces))
  return jax.tree.map(lambda s: s / pieces, squares)


def _gradient(network, params, states, text, start, length):
  """Returns the mean nats of a chunk, the states after it, and the gradient."""

  def loss(params):
    inputs, targets, starts = language.window(text, start, length)
    logits, after = network.apply({"params": params}, inputs, states, starts)
    nats, *_ = base.cross_entropy(logits, targets)
    return nats, after

  return jax.value_and_grad(loss, has_aux=True)(params)
