"""Decks of cards dealt lazily: a shuffle without shuffling.

Dealing a uniformly shuffled deck from the top is drawing without replacement.
The next draw depends only on the number of remaining cards of each type, so a
deck is a vector of counts, and a deal costs one random word and O(types) work,
while a shuffle costs O(n log n) at every reset.

The counts are stored as running totals: entry j is the number of remaining
cards of types 0..j. With r uniform below the number of remaining cards, the
dealt card is the first type whose running total exceeds r, and dealing it
subtracts one from each total from that type on.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.rl.envs import randomness

COLORS = 2
SUITS = 4
RANKS = 13
CARDS_PER_DECK = SUITS * RANKS
# More would not leave 16 bits for the number of cards.
MAX_DECKS = 1000


class Deck(NamedTuple):
  """The rest of a deck, dealt at random or, for replays, in a known order."""

  totals: jax.Array  # (types,) int32, running totals of the cards left
  order: jax.Array | None = None  # (n,) int32, the cards as they are dealt


def full(types: int, copies: int, order: jax.Array | None = None) -> Deck:
  """Returns a full deck of `copies` cards of each of `types` types.

  A deck with an `order`, (types * copies,) integers, ignores random words.
  """
  totals = copies * jnp.arange(1, types + 1, dtype=jnp.int32)
  if order is None:
    return Deck(totals)
  order = jnp.asarray(order)
  if order.shape != (types * copies,) or not jnp.issubdtype(
    order.dtype, jnp.integer
  ):
    raise ValueError(
      f"order: got {order.dtype}{list(order.shape)}, expected"
      f" {types * copies} integers, one for each card of the deck."
    )
  return Deck(totals, order.astype(jnp.int32))


def deal(deck: Deck, word: jax.Array) -> tuple[jax.Array, Deck]:
  """Deals a card, () int32; an empty deck returns the last type."""
  types = deck.totals.shape[-1]
  if deck.order is None:
    rank = randomness.below(word, deck.totals[-1])
    taken = (deck.totals > rank).astype(jnp.int32)
    card = jnp.minimum(types - jnp.sum(taken, dtype=jnp.int32), types - 1)
  else:
    dealt = deck.order.shape[-1] - deck.totals[-1]
    card = deck.order[dealt]
    taken = (jnp.arange(types, dtype=jnp.int32) >= card).astype(jnp.int32)
  return card, deck._replace(totals=deck.totals - taken)


def remaining(deck: Deck) -> jax.Array:
  """Returns the remaining cards of each type, (types,) int32."""
  return jnp.diff(deck.totals, prepend=jnp.int32(0))
