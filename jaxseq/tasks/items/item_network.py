"""A network over the items of a user, which are scored by their own vectors."""

import dataclasses
import functools
from typing import Any

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import nn
from jaxseq.nn import masks
from jaxseq.tasks.items import item_texts

# The collection of variables with what is known of items.
ITEMS = "items"


class ItemNetwork(linen.Module):
  """A sequence network over items, which are scored by their own vectors.

  Attributes:
    config: of the network, which does not pool; `tie` is implied.
    num_items: how many there are, without padding.
    length: items that are read at most, the newest ones.
    repeats: see `Options`.
    gaps: see `Options`.
    text_mixer: of the network that reads the items' words, which are the
      variable "tokens" of the collection `ITEMS`; None where items have vectors
      of their own.
    frozen: whether the items' vectors are variables of that collection, see
      `freeze`.
    temperature: see `Options`.
    masked: whether it sees both sides of an item that is hidden, which 0 stands
      for (BERT4Rec, Sun et al., arXiv:1904.06690); the next item is one that is
      hidden behind the newest.
    rebuilds: whether items are predicted from one vector of the whole history
      instead, by a second network, see `rebuild`; items are then ranked by
      their mean share in what is rebuilt.
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

  def setup(self) -> None:
    """Makes the sequence network."""
    size = self.num_items + 1
    ids = self.text_mixer is None
    config = dataclasses.replace(self.config, tie=ids)
    self.network = nn.SequenceNetwork(config, size, size if ids else None)
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
      items: (n, time) integers from 1 on, 0 behind the end.
      lengths: (n,) numbers of items, at least 1.
      train: whether dropout is on.
      last: whether only the newest `length` items are read, and only what comes
        after the last one is scored.
      gaps: (n, time) before the items, with `gaps`.

    Returns:
      Logits (n, time, num_items), or (n, num_items) with `last`; the first is
      that of item 1. Those of a `masked` network, and of one that `rebuilds`,
      are of the items themselves.
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
    return logits[:, 0] if last else logits

  @linen.nowrap
  def newest(
    self, items: jax.Array, lengths: jax.Array, gaps: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns what is read of histories that may be longer than `length`.

    Args:
      items: as in a call.
      lengths: likewise.
      gaps: likewise.

    Returns:
      The newest items (n, length), their numbers, and the gaps before them.
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
    """Returns one vector (n, d) of each history, what its last item leaves.

    Args:
      items: as in a call.
      lengths: likewise.
      train: likewise.
    """
    x, _, _ = self._run(items, lengths=lengths, train=train, last=True)
    return x[:, 0]

  def rebuild(
    self, items: jax.Array, lengths: jax.Array, train: bool = False
  ) -> jax.Array:
    """Returns logits (n, time, num_items) of the items that a summary is of.

    A second network of the same form begins with the summary, goes on with the
    items that it has to tell, one behind, and sees nothing else of them
    (an autoencoder of playlists, Papreja et al., arXiv:1907.01098).

    Args:
      items: as in a call.
      lengths: likewise.
      train: likewise.
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
    """Scores the targets and a few other items, and no more.

    Args:
      items: as in a call, as the rest.
      lengths: likewise.
      targets: (n, time) integers from 1 on; what 0 scores is of no use.
      others: (n, k) integers from 1 on.
      train: likewise.
      gaps: likewise.

    Returns:
      Scores (n, time) of the targets and (n, time, k) of the others.
    """
    x, _, vectors = self._run(items, gaps, lengths=lengths, train=train)
    positive = self._products(x, vectors[targets], "ntd,ntd->nt")
    negative = self._products(x, vectors[others], "ntd,nkd->ntk")
    return positive, negative

  def step(
    self, items: jax.Array, states: Any, gaps: jax.Array | None = None
  ) -> tuple[jax.Array, Any]:
    """Reads one more item of each user, in constant time and memory.

    Args:
      items: (n,) integers from 1 on.
      states: of the users, of `initial_state` at first.
      gaps: (n,) before the items, with `gaps`.

    Returns:
      What `score` takes, (n, d), and the states after the item.
    """
    return self._run(items, gaps, states=states, step=True)[:2]

  def read(
    self, items: jax.Array, lengths: jax.Array, gaps: jax.Array | None = None
  ) -> tuple[jax.Array, Any]:
    """Reads whole histories that lie at the ends of their rows.

    Args:
      items: (n, time) integers from 1 on, 0 before the beginning.
      lengths: (n,) numbers of items, at least 1.
      gaps: (n, time) before the items, with `gaps`.

    Returns:
      What `score` takes, (n, d), and the states after the last items.
    """
    count, time = items.shape
    reset = jnp.arange(time) == time - lengths[:, None]
    at = jnp.full((count, 1), time - 1)
    x, states, _ = self._run(items, gaps, reset=reset, at=at)
    return x[:, 0], states

  def score(self, features: jax.Array) -> jax.Array:
    """Returns the logits (..., num_items) of all items.

    Args:
      features: (..., d), of `step` or `read`.
    """
    return self._products(features, self.vectors()[1:])

  def vectors(self) -> jax.Array:
    """Returns what items are read as and scored by, (num_items + 1, d)."""
    if self.text_mixer is None:
      return self.network.variables["params"]["embed"]["embedding"]
    if self.frozen:
      return jnp.asarray(self.matrix.value)
    return self.encoder(jnp.asarray(self.tokens.value))

  @linen.nowrap
  def freeze(self, variables: Any) -> tuple["ItemNetwork", Any]:
    """Returns a network that knows the vectors of its items.

    They are read off the texts once, and are no parameters. So an event is
    served without reading all texts, and what is trained on is the rest of the
    network: the second stage of Recformer.

    Args:
      variables: of this network.

    Returns:
      The network and its variables; these, where there is nothing to read.
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
    """Returns the states of users who have taken nothing."""
    size = self.num_items + 1
    network = nn.SequenceNetwork(self.config, size, size, parent=None)
    return network.initial_state(batch_shape)

  def _run(self, items, gaps=None, *, features=True, last=False, **options):
    """The network's outputs and states, and the vectors of all items."""
    if last:
      options["at"] = options["lengths"][:, None] - 1
    if self.gaps:
      if gaps is None:
        expected = "those of the items, as in training"
        raise _validate.error("gaps", None, expected)
      options["options"] = {"gaps": gaps}
    if self.text_mixer is not None:
      vectors = self.vectors()
      x, states = self.network(vectors[items], features=features, **options)
      return x, states, vectors
    x, states = self.network(items, features=features, **options)
    return x, states, self.vectors()

  def _products(self, features, vectors, axes="...d,id->...i"):
    """The logits of items by their vectors, as the network has them."""
    features = features.astype(vectors.dtype)
    if self.temperature is not None:
      features, vectors = map(_unit, (features, vectors))
      return jnp.einsum(axes, features, vectors) / self.temperature
    logits = self.config.logit_scale * jnp.einsum(axes, features, vectors)
    cap = self.config.logit_cap
    return logits if cap is None else cap * jnp.tanh(logits / cap)


def _unit(x):
  """Vectors of length 1; those of nothing stay what they are."""
  return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-8)
