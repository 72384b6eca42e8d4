"""A network over the items of a user, which are scored by their own vectors."""

import dataclasses
import functools
from typing import Any

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import nn


class ItemNetwork(linen.Module):
  """A sequence network over items, which are scored by their own vectors.

  Attributes:
    config: of the network, which does not pool; `tie` is implied.
    num_items: how many there are, without padding.
    length: items that are read at most, the newest ones.
    repeats: see `Options`.
    gaps: see `Options`.
  """

  config: nn.NetworkConfig
  num_items: int
  length: int
  repeats: bool = False
  gaps: bool = False

  def setup(self) -> None:
    """Makes the sequence network."""
    size = self.num_items + 1
    config = dataclasses.replace(self.config, tie=True)
    self.network = nn.SequenceNetwork(config, size, size)

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
      that of item 1.
    """
    if not last:
      logits, _ = self.network(
        items, lengths=lengths, train=train, options=self._options(gaps)
      )
      return logits[..., 1:]
    begin = jnp.maximum(lengths - self.length, 0)
    places = begin[:, None] + jnp.arange(self.length)
    read = functools.partial(
      jnp.take_along_axis, indices=places, axis=1, mode="clip"
    )
    counts = jnp.minimum(lengths, self.length)
    logits, _ = self.network(
      read(items),
      lengths=counts,
      train=train,
      at=counts[:, None] - 1,
      options=self._options(None if gaps is None else read(gaps)),
    )
    return logits[:, 0, 1:]

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
    x, _ = self.network(
      items,
      lengths=lengths,
      train=train,
      features=True,
      options=self._options(gaps),
    )
    vectors = self._vectors()
    wide = x.astype(vectors.dtype)
    positive = jnp.einsum("ntd,ntd->nt", wide, vectors[targets])
    negative = jnp.einsum("ntd,nkd->ntk", wide, vectors[others])
    return self._scaled(positive), self._scaled(negative)

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
    options = self._options(gaps)
    return self.network(
      items, states, step=True, features=True, options=options
    )

  def read(
    self,
    items: jax.Array,
    reset: jax.Array,
    at: jax.Array,
    gaps: jax.Array | None = None,
  ) -> tuple[jax.Array, Any]:
    """Reads whole histories that lie in rows, with as many in a row as fit.

    Args:
      items: (rows, time) integers, 0 where there is none.
      reset: (rows, time) bool, True at the first item of a user.
      at: (rows, m) integers, the places after which is scored.
      gaps: (rows, time) before the items, with `gaps`.

    Returns:
      What `score` takes, (rows, m, d), and the states after the last elements.
    """
    options = self._options(gaps)
    return self.network(
      items, reset=reset, at=at, features=True, options=options
    )

  def score(self, features: jax.Array) -> jax.Array:
    """Returns the logits (..., num_items) of all items.

    Args:
      features: (..., d), of `step` or `read`.
    """
    vectors = self._vectors()[1:]
    return self._scaled(jnp.matmul(features.astype(vectors.dtype), vectors.T))

  @linen.nowrap
  def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
    """Returns the states of users who have taken nothing."""
    size = self.num_items + 1
    network = nn.SequenceNetwork(self.config, size, size, parent=None)
    return network.initial_state(batch_shape)

  def _vectors(self):
    """The vectors (num_items + 1, d) that items are read as and scored by."""
    return self.network.variables["params"]["embed"]["embedding"]

  def _scaled(self, logits):
    """The network's logits from the products with the vectors."""
    logits = self.config.logit_scale * logits
    cap = self.config.logit_cap
    return logits if cap is None else cap * jnp.tanh(logits / cap)

  def _options(self, gaps):
    """The keyword options of the mixers."""
    if not self.gaps:
      return None
    if gaps is None:
      raise _validate.error("gaps", None, "those of the items, as in training")
    return {"gaps": gaps}
