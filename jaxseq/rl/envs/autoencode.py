"""Autoencode: watch a deck, then name its cards backwards."""

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
  """State of Autoencode.

  Attributes:
    time: () int32, steps played.
    deck: what is left of the deck.
    stack: (n,) int32, the cards that have been shown and not been answered,
      last first; zeros stand after them.
  """

  stack: jax.Array


@dataclasses.dataclass(frozen=True)
class Autoencode(card_game.CardGame):
  """Shows all cards, then has them named from the last to the first.

  An observation is a mode, 1 while the deck is being watched and 0 when it is
  played back, and a suit. With n cards c_0, c_1, ... the first n-1 steps earn
  0 and lead to the observations (1, c_1), (1, c_2), ..., (0, c_{n-1}). The n
  steps that follow ask for c_{n-1}, ..., c_1, c_0; each earns 1/n if the
  action is that suit and -1/n if not, and leads to the observation (0, 0).
  The game terminates after 2n-1 steps.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).

  Attributes:
    num_decks: decks of 52 cards that are shuffled together.
  """

  card_types = decks.SUITS
  actions = spaces.Discrete(decks.SUITS)
  # Playing back (0) or watching (1), and the suits.
  observations = spaces.MultiDiscrete((2, decks.SUITS))

  @property
  def num_steps(self) -> int:
    """Number of steps of an episode: to watch, and to play back."""
    return 2 * self.num_cards - 1

  def deal_first(self, deck: decks.Deck, words: jax.Array) -> EnvState:
    """Deals the first card; see the base class."""
    card, deck = decks.deal(deck, words[0])
    after = jnp.zeros((self.num_cards - 1,), jnp.int32)
    stack = jnp.concatenate([card[None], after])
    return EnvState(time=jnp.int32(0), deck=deck, stack=stack)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    watching = state.time < self.num_cards - 1
    right = action == state.stack[0]
    scale = jnp.float32(1 / self.num_cards)
    reward = jnp.where(watching, 0, jnp.where(right, scale, -scale))
    card, deck = decks.deal(state.deck, words[0])
    # Shifting is cheaper than writing at a place: under vmap that is a scatter.
    pushed = jnp.concatenate([card[None], state.stack[:-1]])
    popped = jnp.concatenate([state.stack[1:], jnp.zeros((1,), jnp.int32)])
    stack = jnp.where(watching, pushed, popped)
    return EnvState(time=state.time + 1, deck=deck, stack=stack), reward

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns the mode and the suit of the card on show, (2,) int32."""
    last = self.num_cards - 1
    mode = (state.time < last).astype(jnp.int32)
    suit = jnp.where(state.time <= last, state.stack[0], 0)
    return jnp.stack([mode, suit])
