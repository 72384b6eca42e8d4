"""A sequence network over the codes of items, one item after the other.

It is decoder-only: its tokens are the codes of a user's items, followed by
those of the next item. It uses the ids of TIGER (Rajput et al.,
arXiv:2305.05065), and the state of any mixer instead of its encoder.
"""

from typing import Any

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import nn
from jaxseq.tasks.recommendation import item_wishes
from jaxseq.tasks.recommendation import network as item_network

# Number of users whose items are scored at once.
_USERS = 8


class SemanticNetwork(linen.Module):
  """A token network that scores items by their codes.

  Attributes:
    config: options of the network, which does not pool.
    num_items: number of items, without padding.
    length: maximum number of items that are read, the newest ones.
    levels: tokens of an item.
    codes: number of codes of a level; the tokens of the items are the variable
      "ids", (num_items + 1, levels), of the collection `item_network.ITEMS`.
    repeats: see `recommendation_arms.Options`.
    wishes: whether words of a wish follow a history, see `item_wishes`.
    wish: default words of the wish, such as "wants Comedy"; "" for no wish.
  """

  config: nn.NetworkConfig
  num_items: int
  length: int
  levels: int
  codes: int
  repeats: bool = False
  wishes: bool = False
  wish: str = ""

  gaps = False

  def setup(self) -> None:
    """Creates the network of tokens."""
    self.network = self.tokens()
    shape = self.num_items + 1, self.levels
    self.ids = self.variable(item_network.ITEMS, "ids", jnp.zeros, shape, int)

  @linen.nowrap
  def tokens(self) -> nn.SequenceNetwork:
    """Returns the network of tokens, for example for beam search.

    Its variables are {"params": variables["params"]["network"]}.
    """
    size = self.first_word
    words = item_wishes.BUCKETS if self.wishes else 0
    return nn.SequenceNetwork(self.config, size, size + words, parent=None)

  @property
  def first_word(self) -> int:
    """The token of the first class of words, after all codes."""
    return 1 + self.levels * self.codes

  def __call__(
    self,
    items: jax.Array,
    lengths: jax.Array,
    last: bool = True,
    gaps: None = None,
    words: jax.Array | None = None,
  ) -> jax.Array:
    """Scores all items as the next one, each by all of its tokens.

    Args:
      items: (n, time) integers from 1 on, padded with 0.
      lengths: (n,) numbers of items, at least 1.
      last: True, see `ItemNetwork`.
      gaps: None, see `ItemNetwork`.
      words: (n, words) of wishes; those of `wish` if None.

    Returns:
      Log probabilities (n, num_items) of the items' tokens; ids that no item
      has also get some probability.
    """
    del last, gaps
    logits, states = self.read(items, lengths, words)
    network = self.tokens()
    variables = {"params": self.network.variables["params"]}
    ids = jnp.asarray(self.ids.value)[1:]

    def of_user(user):
      logits, states = user
      total = jax.nn.log_softmax(logits)[ids[:, 0]]
      states = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (len(ids), *x.shape)), states
      )
      for token, target in zip(ids.T[:-1], ids.T[1:]):
        logits, states = network.apply(variables, token, states, method="step")
        logs = jax.nn.log_softmax(logits)
        total += jnp.take_along_axis(logs, target[:, None], axis=-1)[:, 0]
      return total

    if not isinstance(items.shape[0], int):
      # A program for any number of users scores all of them at once.
      return jax.vmap(of_user)((logits, states))
    return lax.map(of_user, (logits, states), batch_size=_USERS)

  def read(
    self,
    items: jax.Array,
    lengths: jax.Array,
    words: jax.Array | None = None,
  ) -> tuple[jax.Array, Any]:
    """Reads the newest items of users, and their wishes.

    Args:
      items: see `__call__`.
      lengths: see `__call__`.
      words: see `__call__`.

    Returns:
      The logits (n, tokens) of the first token of the next item, and the
      states.
    """
    # Padded in front, so that the states are those after the last item.
    places = lengths[:, None] - self.length + jnp.arange(self.length)
    newest = jnp.take_along_axis(items, jnp.maximum(places, 0), axis=1)
    tokens = jnp.asarray(self.ids.value)[jnp.where(places < 0, 0, newest)]
    count = items.shape[0]
    tokens = tokens.reshape(count, self.length * self.levels)
    if self.wishes:
      words = item_wishes.tokens(self.wish) if words is None else words
      words = jnp.broadcast_to(words, (count, item_wishes.LENGTH))
      tokens = jnp.concatenate([tokens, self.first_word + words], axis=1)
    begin = self.levels * jnp.maximum(self.length - lengths, 0)
    time = tokens.shape[1]
    logits, states = self.network(
      tokens,
      reset=jnp.arange(time) == begin[:, None],
      at=jnp.full((count, 1), time - 1),
    )
    return logits[:, 0], states

  def nats(
    self,
    items: jax.Array,
    lengths: jax.Array,
    targets: jax.Array,
    train: bool = False,
    words: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the loss of each token (n, tokens), and the mask of counted ones.

    Args:
      items: see `__call__`.
      lengths: see `__call__`.
      targets: (n, time) integers, the item after each.
      train: whether dropout is on.
      words: (n, words) of wishes before the last item, which are not predicted.
    """
    rows, last = jnp.arange(len(items)), lengths - 1
    whole = jnp.pad(items, ((0, 0), (0, 1)))
    whole = whole.at[rows, lengths].set(targets[rows, last])
    tokens = jnp.asarray(self.ids.value)[whole].reshape(len(items), -1)
    begin, count = self.levels * lengths[:, None], 0
    if words is not None:
      count = words.shape[1]
      tokens = _with_words(tokens, self.first_word + words, begin)
    ends = begin[:, 0] + count + self.levels
    logits, _ = self.network(tokens[:, :-1], lengths=ends - 1, train=train)
    target = tokens[:, 1:]
    # The first item has no context and is not predicted.
    place = 1 + np.arange(target.shape[1])
    counted = (place >= self.levels) & (place < ends[:, None])
    if words is not None:
      counted &= (place < begin) | (place >= begin + count)
      target = jnp.where(counted, target, 0)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return nats, counted


def _with_words(tokens, words, begin):
  """Inserts words (n, count) into tokens (n, time) at `begin` (n, 1)."""
  at = jnp.arange(tokens.shape[1] + words.shape[1])
  behind = at - begin
  place = jnp.where(behind < 0, at, at - words.shape[1])
  others = jnp.take_along_axis(tokens, jnp.maximum(place, 0), axis=1)
  among = (behind >= 0) & (behind < words.shape[1])
  among_words = jnp.take_along_axis(
    words, jnp.clip(behind, 0, words.shape[1] - 1), axis=1
  )
  return jnp.where(among, among_words, others)
