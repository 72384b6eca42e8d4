"""RepeatPrevious: name the suit that was on show some cards ago."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import decks
from jaxseq.rl.envs import spaces


@struct.dataclass
class EnvState(card_game.EnvState):
  """State of RepeatPrevious.

  Attributes:
    time: () int32, steps played.
    deck: what is left of the deck.
    window: (k,) int32, the last k cards, oldest first; zeros stand before
      the first card of the episode.
  """

  window: jax.Array


@dataclasses.dataclass(frozen=True)
class RepeatPrevious(card_game.CardGame):
  """Shows one card after the other; the k-th last is asked for.

  With n cards c_0, c_1, ... step t = 0, 1, ... is taken with c_t on show. It
  earns 1/(n-k) if the action is the suit of c_{t-k+1} (with k = 1, the card on
  show) and -1/(n-k) if not; before k cards have been shown it earns 0. The
  game terminates after n-1 steps.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).

  Attributes:
    num_decks: decks of 52 cards that are shuffled together.
    k: how far back the card asked for lies, the one on show being 1.
  """

  k: int = 4

  card_types = decks.SUITS
  actions = spaces.Discrete(decks.SUITS)
  observations = spaces.Discrete(decks.SUITS)

  def __post_init__(self):
    super().__post_init__()
    # At most the number of cards less one.
    _validate.integer("k", self.k, 1, self.num_cards - 1)

  def deal_first(self, deck: decks.Deck, words: jax.Array) -> EnvState:
    """Deals the first card; see the base class."""
    card, deck = decks.deal(deck, words[0])
    before = jnp.zeros((self.k - 1,), jnp.int32)
    window = jnp.concatenate([before, card[None]])
    return EnvState(time=jnp.int32(0), deck=deck, window=window)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    right = action == state.window[0]
    asked = state.time >= self.k - 1
    scale = jnp.float32(1 / (self.num_cards - self.k))
    reward = jnp.where(asked, jnp.where(right, scale, -scale), 0)
    card, deck = decks.deal(state.deck, words[0])
    # Shifting is cheaper than a ring buffer: under vmap that is a scatter.
    window = jnp.concatenate([state.window[1:], card[None]])
    return EnvState(time=state.time + 1, deck=deck, window=window), reward

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns the suit of the card on show, () int32."""
    return state.window[-1]
