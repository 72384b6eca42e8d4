"""Concentration: turn over pairs of equal cards."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl.envs import _decks
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import base
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

# By suits, a single deck would have an odd number of each.
_CARD_TYPES = (_decks.COLORS, _decks.RANKS)


@struct.dataclass
class EnvState(card_game.EnvState):
  """State of Concentration.

  Attributes, beside those of `card_game.EnvState`:
    deck: the cards of the positions that have never been turned.
    values: (n,) int32, the card at each position, `card_types` if it has
      never been turned.
    matched: (n,) int32, 1 for matched cards.
    shown: (2,) int32, the unmatched positions that were face up after the last
      step, -1 for missing ones.
    held: () int32, the position that waits for a second one, or -1.
  """

  values: jax.Array
  matched: jax.Array
  shown: jax.Array
  held: jax.Array


@dataclasses.dataclass(frozen=True)
class Concentration(card_game.CardGame):
  """All n cards lie face down; each step turns one of them over.

  Turning a card that is already matched earns -1/L for each card in the hand,
  that one included, and empties the hand; L = 2n is the time
  limit. Any other first card earns 0 and stays in the hand. A second card
  earns 2/n if it is another one and equals the first; both are matched then.
  If not, it earns -2/L. Either way the hand is empty again. Observations show
  the matched cards and the hand, before it is emptied; a card that is face down
  reads `card_types`. The game terminates when all cards are matched and is
  truncated after L steps.

  A position gets its card when it is first turned, drawn from the remaining
  cards. As nothing is known of a card until then, this is equivalent to
  shuffling and laying out all of them at the start.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).

  Attributes, beside those of `card_game.CardGame`:
    card_types: what a card shows: 2 colors or 13 ranks.
    masked: whether observations come with a mask of the cards that are neither
      matched nor in the hand, see `action_masks`.
  """

  card_types: int = _decks.COLORS
  masked: bool = False

  reset_words = 0

  def __post_init__(self):
    super().__post_init__()
    validate.choice("card_types", self.card_types, _CARD_TYPES)

  @property
  def num_steps(self) -> int:
    """Unbounded: without matches only a time limit ends the game."""
    return 2**31 - 1

  @property
  def max_steps(self) -> int:
    """The time limit, L = 2n."""
    # POPGym has ceil(2n - n/(2n-1)), which is the same for every n.
    return 2 * self.num_cards

  def _deal_first(self, deck, words):
    """Lays out all cards face down, a known deck in its order."""
    return EnvState(
      time=jnp.int32(0),
      deck=deck,
      values=jnp.full((self.num_cards,), self.card_types, jnp.int32),
      matched=jnp.zeros((self.num_cards,), jnp.int32),
      shown=jnp.full((2,), -1, jnp.int32),
      held=jnp.int32(-1),
    )

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Turns the card at the position `action`; see the base class."""
    position = jnp.asarray(action).astype(jnp.int32)
    turned, first = self._at(position), self._at(state.held)
    card, deck = self._card(words[0], state, position)
    waits = state.held >= 0
    again = state.matched[position] == 1
    # Without a waiting card, the last one is read and ignored.
    equal = (state.held != position) & (state.values[state.held] == card)
    pair = waits & equal & ~again
    cost = -(1 + waits.astype(jnp.float32)) / self.max_steps
    paid = jnp.where(again | waits, cost, jnp.float32(0))
    reward = jnp.where(pair, jnp.float32(2 / self.num_cards), paid)
    state = EnvState(
      time=state.time + 1,
      deck=deck,
      values=jnp.where(turned, card, state.values),
      matched=jnp.where(pair & (turned | first), 1, state.matched),
      shown=jnp.stack([state.held, position]),
      held=jnp.where(again | waits, -1, position),
    )
    return state, reward

  def observe(self, state: EnvState, params: PyTree) -> PyTree:
    """Returns the card at each position, or `card_types`, (n,) int32."""
    hand = self._at(state.shown[0]) | self._at(state.shown[1])
    face_up = (state.matched == 1) | hand
    mask = None
    if self.masked:
      mask = (state.matched == 0) & ~self._at(state.held)
    seen = jnp.where(face_up, state.values, self.card_types)
    return action_masks.join(seen, mask)

  def is_terminated(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns whether all cards are matched, () bool."""
    return jnp.all(state.matched == 1)

  def action_space(self, params: PyTree = None) -> spaces.Discrete:
    """The positions."""
    return spaces.Discrete(self.num_cards)

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The card types and face down, for each position."""
    cards = spaces.MultiDiscrete((self.card_types + 1,) * self.num_cards)
    return (
      action_masks.with_mask(cards, self.num_cards) if self.masked else cards
    )

  def _at(self, position):
    """Marks one position, (n,) bool; no position if it is negative."""
    return jnp.arange(self.num_cards, dtype=jnp.int32) == position

  def _card(self, word, state, position):
    """Returns the card at a position, and the deck after dealing it."""
    if state.deck.order is not None:
      return state.deck.order[position], state.deck
    value = state.values[position]
    drawn, deck = _decks.deal(state.deck, word)
    fresh = value == self.card_types
    return base.select(fresh, (drawn, deck), (value, state.deck))
