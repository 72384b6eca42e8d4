"""HigherLower: guess whether the next card is higher or lower."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import decks
from jaxseq.rl.envs import spaces


@struct.dataclass
class EnvState(card_game.EnvState):
  """State of HigherLower.

  Attributes:
    time: () int32, steps played.
    deck: what is left of the deck.
    card: () int32, the card on show.
  """

  card: jax.Array


@dataclasses.dataclass(frozen=True)
class HigherLower(card_game.CardGame):
  """Shows one card after the other; the next one is to be guessed.

  With n cards, each of the n-1 steps uncovers one card. It earns 1/n if that
  card has a higher rank than the one before and the action is 0, or a lower
  rank and the action is 1, -1/n if it is the other way round, and 0 if the
  ranks are equal. Then the game terminates. Counting cards improves little on
  looking at the card on show alone.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).

  Attributes:
    num_decks: decks of 52 cards that are shuffled together.
  """

  card_types = decks.RANKS
  actions = spaces.Discrete(2)
  observations = spaces.Discrete(decks.RANKS)

  def deal_first(self, deck: decks.Deck, words: jax.Array) -> EnvState:
    """Deals the first card; see the base class."""
    card, deck = decks.deal(deck, words[0])
    return EnvState(time=jnp.int32(0), deck=deck, card=card)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    card, deck = decks.deal(state.deck, words[0])
    scale = jnp.float32(1 / self.num_cards)
    right = (action == 0) == (card > state.card)
    reward = jnp.where(right, scale, -scale)
    reward = jnp.where(card == state.card, 0, reward)
    return EnvState(time=state.time + 1, deck=deck, card=card), reward

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns the rank of the card on show, () int32."""
    return state.card
