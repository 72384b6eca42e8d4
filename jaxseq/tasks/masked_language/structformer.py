"""StructFormer: attention along the dependency tree of a learned parser.

    network = StructFormer(Config(d_model=64, num_layers=4), vocab_size=60)
    logits = network.apply(variables, tokens, lengths)
    parse = network.apply(variables, tokens, lengths, method="parse")

A convolutional parser computes a height for each token and a distance for each
boundary between two tokens. A token's constituent extends to the first
boundaries above its height, and its head is the highest token of that
constituent; all of it is soft, and is learned from masked words. Tokens attend
to their heads and to their dependents.

Shen et al., "StructFormer", arXiv:2012.00857.
"""

import dataclasses
import functools
import typing
from typing import Literal
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import convolutions
from jaxseq.nn import dense
from jaxseq.nn import masks
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.shared import stepwise

Array = jax.Array
Relation = Literal["head", "child", "sibling"]
# Distance at the end of a sentence, and minus the height of padding.
_FAR = 1e9
_EPSILON = 1e-5
_Zeros = linen.initializers.zeros_init()


@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes and options of the network.

  Attributes:
    d_model: width.
    num_layers: number of attention layers.
    heads: number of heads of each layer.
    parser_layers: number of convolutions of the parser.
    parser_width: number of tokens that a convolution sees.
    relations: relations that attention follows: to the "head", to each "child",
      and to each "sibling", another child of the head.
    weighting: weighting of the relations in each attention head.
    margin: scope of the maximal margin that is subtracted from distances: each
      "sentence", or the "batch", as in the published code, where the parse of a
      sentence depends on the others.
    positions: number of learned positions, at least the longest sequence's; 0
      for none.
    dropout: dropout rate, also of attention weights.
    learn_parser: whether the parser is trained; if not, it stays random.
  """

  d_model: int = 512
  num_layers: int = 8
  heads: int = 8
  parser_layers: int = 3
  parser_width: int = 9
  relations: tuple[Relation, ...] = ("head", "child")
  weighting: Literal["softmax", "sigmoid"] = "softmax"
  margin: Literal["sentence", "batch"] = "sentence"
  positions: int = 0
  dropout: float = 0.1
  learn_parser: bool = True

  def __post_init__(self):
    validate.literals(self)
    validate.at_least(self, d_model=1, num_layers=1, heads=1)
    validate.at_least(self, parser_layers=0, parser_width=1, positions=0)
    validate.number("dropout", self.dropout, 0, 1)
    if self.d_model % self.heads:
      expected = f"a divisor of d_model {self.d_model}"
      raise validate.error("heads", self.heads, expected)
    if not self.relations:
      raise validate.error("relations", self.relations, "one or more")
    for name in self.relations:
      validate.choice("relations", name, typing.get_args(Relation))


class Parse(NamedTuple):
  """A soft tree of each sentence.

  Attributes:
    distance: (*batch, time), of the boundary after each token; 1e9, minus the
      margin, from the end on.
    height: (*batch, time); -1e9 for padding.
    head: (*batch, time, time), probability that the head of the first token is
      the second; 0 on the diagonal.
  """

  distance: Array
  height: Array
  head: Array


def calibrated(
  distance: Array,
  height: Array,
  inside: Array,
  margin: Literal["sentence", "batch"] = "sentence",
) -> Array:
  """Reduces distances until a height exceeds every boundary but the ends.

  For a span, the margin is the smaller excess of its two outer boundaries over
  its highest token; the maximum over all spans except whole sentences is
  subtracted.

  Args:
    distance: (*batch, time), 1e9 from the end of each sentence on.
    height: (*batch, time), -1e9 for padding.
    inside: (*batch, time) bool, False for padding.
    margin: see `Config`.

  Returns:
    (*batch, time).
  """
  time = distance.shape[-1]
  upper = jnp.triu(jnp.ones((time, time), bool))
  place = jnp.arange(time)
  highest = jnp.swapaxes(_highest(height), -1, -2)
  edge = jnp.full_like(distance[..., :1], _FAR)
  before = jnp.concatenate([edge, distance[..., :-1]], axis=-1)
  left = jax.nn.relu(before[..., :, None] - highest)
  right = jax.nn.relu(distance[..., None, :] - highest)
  end = inside & ~_shifted(inside)
  whole = (place == 0)[:, None] & end[..., None, :]
  spans = upper & inside[..., None, :] & ~whole
  margins = jnp.where(spans, jnp.where(left > right, right, left), 0)
  if margin == "batch":
    return distance - jnp.max(margins)
  return distance - jnp.max(margins, axis=(-2, -1))[..., None]


def constituents(
  distance: Array, height: Array, temperature: Array | float = 1.0
) -> tuple[Array, Array, Array]:
  """Computes where each token's constituent may begin and end.

  Its ends are independent: the probability of a span is the product of those of
  its first and its last token.

  Args:
    distance: (*batch, time).
    height: (*batch, time).
    temperature: factor on the differences of heights and distances.

  Returns:
    Three (*batch, time, time): the probabilities that the second token is the
    first one of the constituent of the first, that it is the last one, and that
    it is in the constituent.
  """
  time = distance.shape[-1]
  earlier = jnp.tri(time, k=-1, dtype=bool)
  differences = height[..., :, None] - distance[..., None, :]
  passes = jax.nn.sigmoid(differences * temperature)
  # Probability that a constituent reaches each token, to the left and right.
  left = jnp.where(earlier, passes, 1)
  left = _running(jnp.minimum, left, -1, reverse=True)
  ones = jnp.ones_like(passes[..., :1])
  right = jnp.where(earlier, 1, passes)
  right = jnp.concatenate([ones, right[..., :-1]], axis=-1)
  right = _running(jnp.minimum, right, -1)
  block = jnp.where(jnp.tri(time, dtype=bool), left, right)
  none = jnp.zeros_like(ones)
  first = left - jnp.concatenate([none, left[..., :-1]], axis=-1)
  last = right - jnp.concatenate([right[..., 1:], none], axis=-1)
  return jnp.tril(first), jnp.triu(last), block


def heads(
  first: Array,
  last: Array,
  height: Array,
  temperature: Array | float = 1.0,
) -> Array:
  """Computes the probability that each token is the head of a constituent.

  In a span tokens are heads by the softmax of their heights. A sum over spans
  is taken by its first tokens and its last ones in turn, in matrix products
  whose factors are at most 1 at any heights.

  Args:
    first: (*batch, time, time), see `constituents`.
    last: (*batch, time, time), see `constituents`.
    height: (*batch, time).
    temperature: factor on the heights.

  Returns:
    (*batch, time, time), rows with sum 1; a token may be its own head.
  """
  scores = height * temperature
  # Heads to the right are to the left of a sentence that is read backwards.
  flip = functools.partial(jnp.flip, axis=(-2, -1))
  before, after = _heads_before(
    jnp.stack([first, flip(last)]),
    jnp.stack([last, flip(first)]),
    jnp.stack([scores, jnp.flip(scores, -1)]),
  )
  return jnp.tril(before) + jnp.triu(flip(after), 1)


def relations(head: Array, names: tuple[Relation, ...]) -> Array:
  """Returns (*batch, relations, time, time) of heads, with a zero diagonal."""
  child = jnp.swapaxes(head, -1, -2)
  sibling = _without_self(head @ child)
  maps = {"head": head, "child": child, "sibling": sibling}
  return jnp.stack([maps[name] for name in names], axis=-3)


class Parser(linen.Module):
  """Convolutions that compute token heights and boundary distances.

  Attributes:
    config: options of the network.
  """

  config: Config

  @linen.compact
  def __call__(self, x: Array, inside: Array) -> tuple[Array, Array]:
    """Maps (*batch, time, d_model) to (*batch, time) distances and heights."""
    config = self.config

    def normed(x):
      norm = linen.LayerNorm(
        epsilon=_EPSILON, use_bias=False, use_scale=False, dtype=x.dtype
      )
      return jnp.tanh(norm(x))

    def convolved(width, x, name):
      return linen.Conv(
        config.d_model,
        (width,),
        padding=[((width - 1) // 2, width // 2)],
        dtype=x.dtype,
        conv_general_dilated=convolutions.for_linen,
        name=name,
      )(x)

    def number(x, name):
      return dense.Dense(1, dtype=x.dtype, name=name)(x)[..., 0]

    for i in range(config.parser_layers):
      x = jnp.where(inside[..., None], x, 0)
      x = normed(convolved(config.parser_width, x, f"layers_{i}"))
    y = dense.Dense(config.d_model, dtype=x.dtype, name="height")(x)
    height = number(normed(y), "height_out")
    height = jnp.where(inside, height, -_FAR)
    # Each place sees the tokens before and after its boundary.
    distance = number(normed(convolved(2, x, "distance")), "distance_out")
    distance = jnp.where(_shifted(inside), distance, _FAR)
    return calibrated(distance, height, inside, config.margin), height


class StructFormer(linen.Module):
  """Embedding, parser, attention by its relations, and tied logits.

  Attributes:
    config: sizes and options.
    vocab_size: number of tokens.
  """

  config: Config
  vocab_size: int

  @linen.compact
  def __call__(
    self,
    tokens: Array,
    lengths: Array | None = None,
    train: bool = False,
    features: bool = False,
    parse_only: bool = False,
  ) -> Array | Parse:
    """Scores all tokens at every place.

    Args:
      tokens: (*batch, time) integers.
      lengths: (*batch,) numbers of valid tokens; all are valid if None. With
        the margin "sentence", the padding does not change the valid outputs.
      train: whether dropout is on.
      features: whether to return the features before the logits.
      parse_only: whether to return the parse.

    Returns:
      Logits (*batch, time, vocab_size), features (*batch, time, d_model), or a
      parse.

    Raises:
      ValueError: if a sequence is longer than the learned positions.
    """
    config, time = self.config, tokens.shape[-1]
    inside = jnp.ones(tokens.shape, bool)
    if lengths is not None:
      inside = masks.inside(time, lengths)
    small = linen.initializers.uniform(0.2)
    embed = dense.Embed(
      self.vocab_size,
      config.d_model,
      embedding_init=lambda *a: small(*a) - 0.1,
      name="embed",
    )
    x = embed(tokens)
    temperature = jnp.exp(self.param("log_temperature", _Zeros, (2,)))
    distance, height = Parser(config, name="parser")(x, inside)
    first, last, _ = constituents(distance, height, temperature[0])
    head = _without_self(heads(first, last, height, temperature[1]))
    if parse_only:
      return Parse(distance, height, head)
    if not config.learn_parser:
      head = jax.lax.stop_gradient(head)
    related = relations(head, config.relations)
    shape = (config.num_layers, config.heads, len(config.relations))
    weight = self.param("relations", linen.initializers.normal(0.1), shape)
    squash = jax.nn.softmax if config.weighting == "softmax" else jax.nn.sigmoid
    weight = squash(weight)
    if config.positions:
      if time > config.positions:
        expected = f"at most {config.positions}, the learned positions"
        raise validate.error("tokens", f"{time} in a row", expected)
      sizes = (config.positions, config.d_model)
      table = self.param("positions", lambda *a: small(*a) - 0.1, sizes)
      x = x + table[:time]
    for i in range(config.num_layers):
      scale = jnp.einsum("hr,...rij->...hij", weight[i], related)
      scale = jnp.where(inside[..., None, None, :], scale, 0)
      x = _Layer(config, name=f"layers_{i}")(x, scale, train)
    x = linen.LayerNorm(epsilon=_EPSILON, dtype=x.dtype, name="norm")(x)
    if features:
      return x
    x = linen.Dropout(config.dropout)(x, deterministic=not train)
    logits = embed.attend(x)
    return logits + self.param("bias", _Zeros, (self.vocab_size,))

  def parse(self, tokens: Array, lengths: Array | None = None) -> Parse:
    """Parses each sentence, see `__call__`."""
    return self(tokens, lengths, parse_only=True)


class _Layer(linen.Module):
  """Attention that is scaled by relations, and a feed-forward."""

  config: Config

  @linen.compact
  def __call__(self, x, scale, train):
    config, width = self.config, self.config.d_model

    def drop(x):
      return linen.Dropout(config.dropout)(x, deterministic=not train)

    def layer(size, x, name):
      return dense.Dense(size, dtype=x.dtype, name=name)(x)

    def normed(x, name):
      return linen.LayerNorm(epsilon=_EPSILON, dtype=x.dtype, name=name)(x)

    def split(x):
      return x.reshape(*x.shape[:-1], config.heads, width // config.heads)

    y = normed(x, "norm")
    q, k, v = (split(layer(width, y, name)) for name in ("q", "k", "v"))
    scores = jnp.einsum("...ihd,...jhd->...hij", q, k)
    share = jax.nn.sigmoid(scores * (width // config.heads) ** -0.5) * scale
    y = jnp.einsum("...hij,...jhd->...ihd", drop(share), v)
    x = x + drop(layer(width, y.reshape(x.shape), "out"))
    y = layer(4 * width, normed(x, "feedforward_norm"), "feedforward")
    y = drop(jax.nn.leaky_relu(y))
    return x + drop(layer(width, y, "feedforward_out"))


def _shifted(inside):
  """Flags the tokens that have a next token in the sentence."""
  end = jnp.zeros_like(inside[..., :1])
  return jnp.concatenate([inside[..., 1:], end], axis=-1)


def _without_self(x):
  """Sets the diagonals of matrices to 0."""
  return jnp.where(jnp.eye(x.shape[-1], dtype=bool), 0, x)


def _highest(x):
  """The maxima from the second to the first index, or of the second alone."""
  late = jnp.tri(x.shape[-1], dtype=bool)
  candidates = jnp.where(late, x[..., :, None], x[..., None, :])
  return _running(jnp.maximum, candidates, -2)


def _running(extreme, x, axis, reverse=False):
  """The minima or maxima of all elements up to each one along an axis."""

  def step(best, x):
    best = extreme(best, x)
    return best, best

  begin = jax.lax.index_in_dim(x, -1 if reverse else 0, axis, keepdims=False)
  return stepwise.over_time(
    step, begin, (x,), None, axis=x.ndim + axis, reverse=reverse
  )[0]


def _heads_before(first, last, scores):
  """The heads of each token (row) at or before it; others mean nothing."""
  # With the sum z(i, j) of the exponentials of scores from i to j, the token h
  # is the head of l by exp(s_h) * sum(first[l, i] * last[l, j] / z(i, j)) over
  # i <= h and j >= l. Exponentials are relative to the maxima of spans.
  time = scores.shape[-1]
  late = jnp.tri(time, dtype=bool)
  highest = jax.lax.stop_gradient(_highest(scores))

  def falls(x):
    # How a sum's unit changes from one row to the next.
    change = jnp.diff(x, axis=-2, prepend=x[..., :1, :])
    return jnp.exp(-jnp.abs(change))

  parts = jnp.where(late, scores[..., :, None] - highest, -jnp.inf)
  total, _ = linear.linear_scan(falls(highest), jnp.exp(parts))
  share = jnp.where(late, 1 / jnp.where(late, total, 1), 0)
  entering = jnp.swapaxes(first * _to_the_right(last, share, highest), -1, -2)
  turned = jnp.swapaxes(highest, -1, -2)
  summed, _ = linear.linear_scan(falls(turned), entering)
  return jnp.swapaxes(jnp.exp(scores[..., :, None] - turned) * summed, -1, -2)


def _to_the_right(weight, x, highest):
  """Sums weight[l, j] x[j, i] exp(highest[l, i] - highest[j, i]), j >= l."""
  time = x.shape[-1]
  place = jnp.arange(time)

  # Each size of blocks has the pairs with l in a block's left half and j in its
  # right one. Where the halves meet the exponent is split into two that are at
  # most 0, one for each factor of a matrix product.
  @jax.checkpoint
  def level(total, half):
    block, right = place // (2 * half), place // half % 2
    pairs = (block[:, None] == block) & (right[:, None] < right)
    meet = jnp.minimum((2 * block + 1) * half, time) - 1
    fall = jnp.exp(-jnp.abs(highest - highest[..., meet, :]))
    return total + fall * (jnp.where(pairs, weight, 0) @ (fall * x)), None

  itself = jnp.diagonal(weight, axis1=-2, axis2=-1)[..., None] * x
  halves = 2 ** jnp.arange((time - 1).bit_length())
  return stepwise.over_time(level, itself, (halves,), None, axis=0)[1]
