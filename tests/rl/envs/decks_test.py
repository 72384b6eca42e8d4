import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.envs import _decks


def _deal_all(types, copies, key, order=None):
  """Deals every card: the cards (n,) and what is left after each."""
  deck = _decks.full(types, copies, order)
  words = jax.random.bits(key, (types * copies,), jnp.uint32)

  def body(deck, word):
    card, deck = _decks.deal(deck, word)
    return deck, (card, _decks.remaining(deck))

  _, (cards, left) = jax.lax.scan(body, deck, words)
  return cards, left


@functools.partial(jax.jit, static_argnums=(0, 1))
def _deal_many(types, copies, keys):
  return jax.vmap(functools.partial(_deal_all, types, copies))(keys)


@pytest.mark.parametrize(("types", "copies"), [(4, 13), (13, 8), (2, 26)])
def test_a_whole_deck_is_dealt(types, copies):
  keys = jax.random.split(jax.random.key(0), 8)
  cards, left = _deal_many(types, copies, keys)
  for dealt in np.asarray(cards):
    np.testing.assert_array_equal(np.bincount(dealt), [copies] * types)
  seen = np.cumsum(np.asarray(cards)[..., None] == np.arange(types), axis=1)
  np.testing.assert_array_equal(left, copies - seen)


@pytest.mark.parametrize(
  # The last number is the chi-square quantile at 1 - 1e-4.
  ("types", "copies", "limit"),
  [(2, 2, 25.7), (3, 2, 144.6), (4, 1, 58.6)],
)
def test_every_order_is_equally_likely(types, copies, limit):
  orders = set(
    itertools.permutations([t for t in range(types) for _ in range(copies)])
  )
  num_deals = 200 * len(orders)
  keys = jax.random.split(jax.random.key(1), num_deals)
  cards, _ = _deal_many(types, copies, keys)
  counts = collections.Counter(map(tuple, np.asarray(cards).tolist()))
  assert set(counts) <= orders
  observed = np.array([counts[order] for order in orders])
  assert np.sum((observed - 200) ** 2 / 200) < limit


def test_neighbors_are_drawn_without_replacement():
  num_deals = 20_000
  keys = jax.random.split(jax.random.key(2), num_deals)
  cards, _ = _deal_many(4, 13, keys)
  cards = np.asarray(cards)
  # Both at the top of the deck and at its bottom, where one card is left.
  for position in (0, 25, 50):
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (cards[:, position], cards[:, position + 1]), 1)
    expected = num_deals * (np.full((4, 4), 13) - np.eye(4)) / (4 * 51)
    # 15 degrees of freedom, at 1 - 1e-4.
    assert np.sum((pairs - expected) ** 2 / expected) < 44.3


def test_a_known_order_is_dealt_whatever_the_words_are():
  order = np.array([1, 0, 0, 2, 1, 2], np.int8)
  cards, left = _deal_all(3, 2, jax.random.key(3), order)
  np.testing.assert_array_equal(cards, order)
  assert cards.dtype == jnp.int32
  seen = np.cumsum(order[:, None] == np.arange(3), axis=0)
  np.testing.assert_array_equal(left, 2 - seen)


def test_an_empty_deck_deals_a_card_that_exists():
  deck = _decks.full(2, 1)
  for _ in range(4):
    card, deck = _decks.deal(deck, jnp.uint32(2**32 - 1))
    assert 0 <= int(card) < 2
  np.testing.assert_array_equal(_decks.remaining(deck), [0, 0])


@pytest.mark.parametrize(
  "order", [np.zeros(5, np.int32), np.zeros((6, 1), np.int32), np.zeros(6)]
)
def test_a_wrong_order_is_refused(order):
  with pytest.raises(ValueError, match="order: got .* expected 6 integers"):
    _decks.full(3, 2, order)
