"""RepeatPrevious: name the suit that was on show some cards ago."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.rl.envs import base
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import decks
from jaxseq.rl.envs import spaces


@struct.dataclass
class EnvState(base.EnvState):
  """State of RepeatPrevious.

  Attributes:
    time: () int32, steps played.
    deck: what is left of the deck.
    window: (k,) int32, the last k cards, oldest first; zeros stand before
      the first card of the episode.
  """

  time: jax.Array
  deck: decks.Deck
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

  def __post_init__(self):
    super().__post_init__()
    if not 1 <= self.k < self.num_cards:
      raise ValueError(
        f"k: got {self.k}, expected 1 to {self.num_cards - 1}, the number of"
        " cards less one."
      )

  def deal_first(
    self, deck: decks.Deck, words: jax.Array
  ) -> tuple[jax.Array, EnvState]:
    """Deals the first card; see the base class."""
    card, deck = decks.deal(deck, words[0])
    before = jnp.zeros((self.k - 1,), jnp.int32)
    window = jnp.concatenate([before, card[None]])
    return card, EnvState(time=jnp.int32(0), deck=deck, window=window)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[jax.Array, EnvState, jax.Array]:
    """Plays one step; see the base class."""
    del params
    right = action == state.window[0]
    asked = state.time >= self.k - 1
    scale = jnp.float32(1 / (self.num_cards - self.k))
    reward = jnp.where(asked, jnp.where(right, scale, -scale), 0)
    card, deck = decks.deal(state.deck, words[0])
    # Shifting is cheaper than a ring buffer: under vmap that is a scatter.
    window = jnp.concatenate([state.window[1:], card[None]])
    state = EnvState(time=state.time + 1, deck=deck, window=window)
    return card, state, reward

  def observe(
    self, key: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> jax.Array:
    """Returns the suit of the card on show, () int32."""
    del key, action, params
    return state.window[-1]

  def action_space(self, params: PyTree = None) -> spaces.Discrete:
    """The four suits."""
    del params
    return spaces.Discrete(decks.SUITS)

  def observation_space(self, params: PyTree = None) -> spaces.Discrete:
    """The four suits."""
    del params
    return spaces.Discrete(decks.SUITS)
