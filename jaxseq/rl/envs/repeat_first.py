"""RepeatFirst: keep naming the suit of the first card."""

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
  """State of RepeatFirst.

  Attributes:
    time: () int32, steps played.
    deck: what is left of the deck.
    first: () int32, the first card.
    card: () int32, the card on show.
  """

  first: jax.Array
  card: jax.Array


@dataclasses.dataclass(frozen=True)
class RepeatFirst(card_game.CardGame):
  """Shows one card after the other; always the first is asked for.

  With n cards, every one of the n-1 steps earns 1/(n-1) if the action is the
  suit of the first card and -1/(n-1) if not. Then the game terminates.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).

  Attributes:
    num_decks: decks of 52 cards that are shuffled together.
  """

  card_types = decks.SUITS
  actions = spaces.Discrete(decks.SUITS)
  observations = spaces.Discrete(decks.SUITS)

  def deal_first(self, deck: decks.Deck, words: jax.Array) -> EnvState:
    """Deals the first card; see the base class."""
    card, deck = decks.deal(deck, words[0])
    return EnvState(time=jnp.int32(0), deck=deck, first=card, card=card)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    scale = jnp.float32(1 / self.num_steps)
    reward = jnp.where(action == state.first, scale, -scale)
    card, deck = decks.deal(state.deck, words[0])
    return state.replace(time=state.time + 1, deck=deck, card=card), reward

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns the suit of the card on show, () int32."""
    return state.card
