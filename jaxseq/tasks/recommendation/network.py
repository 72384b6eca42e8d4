"""A network over a user's items, which scores items by their embeddings."""

import dataclasses
import functools
from typing import Any

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq import validate
from jaxseq.nn import masks
from jaxseq.tasks.recommendation import item_linear
from jaxseq.tasks.recommendation import item_texts
from jaxseq.types import PyTree

# The collection of variables with item data, such as texts.
ITEMS = item_linear.ITEMS


class ItemNetwork(linen.Module):
  """A sequence network over items, which scores items by their embeddings.

  Attributes:
    config: options of the network, which does not pool; `tie` is implied.
    num_items: number of items, without padding.
    length: maximum number of items that are read, the newest ones.
    repeats: see `Options`.
    gaps: see `Options`.
    text_mixer: mixer of the network that reads the items' words, which are the
      variable "tokens" of the collection `ITEMS`; None if items have learned
      vectors.
    frozen: whether the items' vectors are variables of that collection, see
      `freeze`.
    temperature: see `Options`.
    masked: whether the network is bidirectional and predicts masked items,
      which are 0 (BERT4Rec, Sun et al., arXiv:1904.06690); the next item is
      predicted at a mask after the newest.
    rebuilds: whether a second network predicts the items from one vector of the
      whole history instead, see `rebuild`; items are then ranked by their mean
      probability in the reconstruction.
    linear: whether its logits are added to the scores of `item_linear`. Then
      features hold these as well, and so do the states of users.
  """

  config: nn.NetworkConfig
  num_items: int
  length: int
  repeats: bool = False
  gaps: bool = False
  text_mixer: str | None = None
  frozen: bool = False
  temperature: float | None = None
  masked: bool = False
  rebuilds: bool = False
  linear: bool = False

  def setup(self) -> None:
    """Creates the sequence network."""
    size = self.num_items + 1
    ids = self.text_mixer is None
    config = dataclasses.replace(self.config, tie=ids)
    self.network = nn.SequenceNetwork(config, size, size if ids else None)
    if self.linear:
      self.scores = item_linear.LinearScores(self.num_items)
    if self.rebuilds:
      plain = dataclasses.replace(self.config, tie=False)
      self.decoder = nn.SequenceNetwork(plain, size)
    if self.text_mixer is None:
      return
    width = self.config.stack.d_model
    if self.frozen:
      zeros = jnp.zeros, (size, width)
      self.matrix = self.variable(ITEMS, "vectors", *zeros)
    else:
      self.encoder = item_texts.Encoder(self.text_mixer, width)
      ones = jnp.ones, (size, 1), jnp.int32
      self.tokens = self.variable(ITEMS, "tokens", *ones)

  def __call__(
    self,
    items: jax.Array,
    lengths: jax.Array,
    train: bool = False,
    last: bool = False,
    gaps: jax.Array | None = None,
  ) -> jax.Array:
    """Scores all items as the next one.

    Args:
      items: (n, time) integers from 1 on, padded with 0.
      lengths: (n,) numbers of items, at least 1.
      train: whether dropout is on.
      last: whether to read only the newest `length` items, and to score only
        the item after the last one.
      gaps: (n, time) times before the items, if the network reads gaps.

    Returns:
      Logits (n, time, num_items), or (n, num_items) with `last`; the first is
      that of item 1. A network with `masked` or `rebuilds` predicts the items
      themselves, not the next ones.
    """
    if last:
      if self.masked:
        places = jnp.arange(items.shape[1] + 1)
        items = jnp.pad(items, [(0, 0), (0, 1)])
        items = jnp.where(places == lengths[:, None], 0, items)
        lengths = lengths + 1
      items, lengths, gaps = self.newest(items, lengths, gaps)
    if self.rebuilds:
      logits = self.rebuild(items, lengths, train)
      if not last:
        return logits
      real = masks.inside(items.shape[1], lengths)[..., None]
      logs = jnp.where(real, jax.nn.log_softmax(logits), -jnp.inf)
      return jax.nn.logsumexp(logs, axis=1) - jnp.log(lengths)[:, None]
    tied = self.text_mixer is None and self.temperature is None
    x, _, vectors = self._run(
      items, gaps, features=not tied, last=last, lengths=lengths, train=train
    )
    logits = x[..., 1:] if tied else self._products(x, vectors[1:])
    if self.linear:
      sums = self.scores.sums(items)
      if last:
        sums = jnp.take_along_axis(sums, lengths[:, None, None] - 1, axis=1)
      logits = self.scores(sums, logits)
    return logits[:, 0] if last else logits

  @linen.nowrap
  def newest(
    self, items: jax.Array, lengths: jax.Array, gaps: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Truncates histories to the newest `length` items.

    Args:
      items: see `__call__`.
      lengths: see `__call__`.
      gaps: see `__call__`.

    Returns:
      The newest items (n, length), their counts, and the gaps before them.
    """
    begin = jnp.maximum(lengths - self.length, 0)
    places = begin[:, None] + jnp.arange(self.length)
    read = functools.partial(
      jnp.take_along_axis, indices=places, axis=1, mode="clip"
    )
    counts = jnp.minimum(lengths, self.length)
    return read(items), counts, None if gaps is None else read(gaps)

  def summary(
    self, items: jax.Array, lengths: jax.Array, train: bool = False
  ) -> jax.Array:
    """Returns one vector (n, d) per history, the output at its last item.

    Args:
      items: see `__call__`.
      lengths: see `__call__`.
      train: see `__call__`.
    """
    x, _, _ = self._run(items, lengths=lengths, train=train, last=True)
    return x[:, 0]

  def rebuild(
    self, items: jax.Array, lengths: jax.Array, train: bool = False
  ) -> jax.Array:
    """Returns logits (n, time, num_items) of the items of summarized histories.

    A second network of the same form reads the summary, and then the items that
    it predicts, shifted by one (an autoencoder of playlists, Papreja et al.,
    arXiv:1907.01098).

    Args:
      items: see `__call__`.
      lengths: see `__call__`.
      train: see `__call__`.
    """
    first = self.summary(items, lengths, train)[:, None]
    vectors = self.vectors()
    inputs = jnp.concatenate(
      [first.astype(vectors.dtype), vectors[items[:, :-1]]], axis=1
    )
    x, _ = self.decoder(inputs, lengths=lengths, train=train, features=True)
    return self._products(x, vectors[1:])

  def compare(
    self,
    items: jax.Array,
    lengths: jax.Array,
    targets: jax.Array,
    others: jax.Array,
    train: bool = False,
    gaps: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Scores only the targets and a few other items.

    Args:
      items: see `__call__`.
      lengths: see `__call__`.
      targets: (n, time) integers from 1 on; scores of 0 are meaningless.
      others: (n, k) integers from 1 on.
      train: see `__call__`.
      gaps: see `__call__`.

    Returns:
      Scores (n, time) of the targets and (n, time, k) of the others.
    """
    x, _, vectors = self._run(items, gaps, lengths=lengths, train=train)
    positive = self._products(x, vectors[targets], "ntd,ntd->nt")
    negative = self._products(x, vectors[others], "ntd,nkd->ntk")
    return positive, negative

  def step(
    self, items: jax.Array, states: PyTree, gaps: jax.Array | None = None
  ) -> tuple[jax.Array, Any]:
    """Reads one more item per user, in constant time and memory.

    Args:
      items: (n,) integers from 1 on.
      states: states of the users, initially from `initial_state`.
      gaps: (n,) times before the items, if the network reads gaps.

    Returns:
      Features (n, d) for `score`, and the states after the item.
    """
    if not self.linear:
      return self._run(items, gaps, states=states, step=True)[:2]
    states, sums = states
    x, states = self._run(items, gaps, states=states, step=True)[:2]
    sums = self.scores.step(items, sums)
    return jnp.concatenate([x, sums], axis=-1), (states, sums)

  def read(
    self, items: jax.Array, lengths: jax.Array, gaps: jax.Array | None = None
  ) -> tuple[jax.Array, Any]:
    """Reads whole histories, padded in front.

    Args:
      items: (n, time) integers from 1 on, 0 in the padding.
      lengths: (n,) numbers of items, at least 1.
      gaps: (n, time) times before the items, if the network reads gaps.

    Returns:
      Features (n, d) for `score`, and the states after the last items.
    """
    count, time = items.shape
    reset = jnp.arange(time) == time - lengths[:, None]
    at = jnp.full((count, 1), time - 1)
    x, states, _ = self._run(items, gaps, reset=reset, at=at)
    if not self.linear:
      return x[:, 0], states
    sums = self.scores.sums(items)[:, -1]
    return jnp.concatenate([x[:, 0], sums], axis=-1), (states, sums)

  def score(self, features: jax.Array) -> jax.Array:
    """Returns the logits (..., num_items) of all items.

    Args:
      features: (..., `feature_width`), from `step` or `read`.
    """
    width = self.config.stack.d_model
    logits = self._products(features[..., :width], self.vectors()[1:])
    if not self.linear:
      return logits
    return self.scores(features[..., width:], logits)

  @property
  def feature_width(self) -> int:
    """Number of features of a user, see `step`."""
    return self.config.stack.d_model + self.num_items * self.linear

  def vectors(self) -> jax.Array:
    """Returns the embeddings that items are read and scored by, (n + 1, d)."""
    if self.text_mixer is None:
      return self.network.variables["params"]["embed"]["embedding"]
    if self.frozen:
      return jnp.asarray(self.matrix.value)
    return self.encoder(jnp.asarray(self.tokens.value))

  @linen.nowrap
  def freeze(self, variables: PyTree) -> tuple["ItemNetwork", Any]:
    """Returns a network with constant item vectors.

    The vectors are computed from the texts once, and are not parameters. So an
    event is served without reading all texts, and training changes only the
    rest of the network: the second stage of Recformer.

    Args:
      variables: variables of this network.

    Returns:
      The network and its variables; both unchanged if items have no texts or
      are frozen already.
    """
    if self.text_mixer is None or self.frozen:
      return self, variables
    vectors = self.apply(variables, method="vectors")
    params = {k: x for k, x in variables["params"].items() if k != "encoder"}
    items = {"vectors": vectors}
    variables = {**variables, "params": params, ITEMS: items}
    return self.clone(frozen=True), variables

  @linen.nowrap
  def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
    """Returns the states of users with empty histories."""
    size = self.num_items + 1
    network = nn.SequenceNetwork(self.config, size, size, parent=None)
    states = network.initial_state(batch_shape)
    if not self.linear:
      return states
    return states, jnp.zeros((*batch_shape, self.num_items))

  def _run(self, items, gaps=None, *, features=True, last=False, **options):
    """The network's outputs and states, and the vectors of all items."""
    if last:
      options["at"] = options["lengths"][:, None] - 1
    if self.gaps:
      if gaps is None:
        expected = "those of the items, as in training"
        raise validate.error("gaps", None, expected)
      options["options"] = {"gaps": gaps}
    if self.text_mixer is not None:
      vectors = self.vectors()
      x, states = self.network(vectors[items], features=features, **options)
      return x, states, vectors
    x, states = self.network(items, features=features, **options)
    return x, states, self.vectors()

  def _products(self, features, vectors, axes="...d,id->...i"):
    """Returns logits of items by their vectors, as configured."""
    features = features.astype(vectors.dtype)
    if self.temperature is not None:
      features, vectors = map(_unit, (features, vectors))
      return jnp.einsum(axes, features, vectors) / self.temperature
    logits = self.config.logit_scale * jnp.einsum(axes, features, vectors)
    cap = self.config.logit_cap
    return logits if cap is None else cap * jnp.tanh(logits / cap)


def _unit(x):
  """Vectors scaled to length 1; zero vectors stay 0."""
  return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-8)
