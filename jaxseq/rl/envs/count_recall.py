"""CountRecall: say how often a card has been shown."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import decks
from jaxseq.rl.envs import spaces

_CARD_TYPES = (decks.COLORS, decks.SUITS, decks.RANKS)


@struct.dataclass
class EnvState(card_game.EnvState):
  """State of CountRecall.

  Attributes, beside those of `card_game.EnvState`:
    deck: what is left of the two decks, of values and of queries, along the
      first axis of its arrays.
    cards: (2,) int32, the value and the query on show.
  """

  cards: jax.Array


@dataclasses.dataclass(frozen=True)
class CountRecall(card_game.CardGame):
  """Shows a value and a query; asks how often the query was a value.

  Values v_0, v_1, ... and queries q_0, q_1, ... are dealt from two decks of n
  cards that are shuffled independently. Step t = 0, 1, ... is taken with v_t
  and q_t on show. It earns 1/(n-1) if the action is the number of values among
  v_0, ..., v_t that equal q_t, and -1/(n-1) if not. The game terminates after
  n-1 steps.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).

  Attributes:
    num_decks: decks of 52 cards that are shuffled together, for the values
      and again for the queries.
    card_types: what is seen of a card: 2 colours, 4 suits or 13 ranks.
  """

  card_types: int = decks.COLORS

  step_words = 2
  reset_words = 2

  def __post_init__(self):
    super().__post_init__()
    _validate.choice("card_types", self.card_types, _CARD_TYPES)

  @property
  def max_count(self) -> int:
    """Cards of each type."""
    return self.num_cards // self.card_types

  def deal_first(self, deck: decks.Deck, words: jax.Array) -> EnvState:
    """Deals the first value and query; see the base class."""
    cards, deck = jax.vmap(decks.deal)(deck, words)
    return EnvState(time=jnp.int32(0), deck=deck, cards=cards)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    # The deck itself knows what has been dealt from it.
    values = jax.tree.map(lambda leaf: leaf[0], state.deck)
    asked = jnp.arange(self.card_types, dtype=jnp.int32) == state.cards[1]
    left = jnp.where(asked, decks.remaining(values), 0)
    right = action == self.max_count - jnp.sum(left, dtype=jnp.int32)
    scale = jnp.float32(1 / self.num_steps)
    reward = jnp.where(right, scale, -scale)
    cards, deck = jax.vmap(decks.deal)(state.deck, words)
    return EnvState(time=state.time + 1, deck=deck, cards=cards), reward

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns the value and the query on show, (2,) int32."""
    return state.cards

  def action_space(self, params: PyTree = None) -> spaces.Discrete:
    """The counts from 0 to all cards of a type."""
    return spaces.Discrete(self.max_count + 1)

  def observation_space(self, params: PyTree = None) -> spaces.MultiDiscrete:
    """The card types, for the value and for the query."""
    return spaces.MultiDiscrete((self.card_types, self.card_types))

  def _full_deck(self, order: jax.Array | None = None) -> decks.Deck:
    """Two full decks; `order` is (2, num_cards), values before queries."""
    if order is None:
      one = super()._full_deck()
      return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one)
    # The values and the queries, in dealing order.
    _validate.shape("order", order, (2, self.num_cards))
    return jax.vmap(super()._full_deck)(jnp.asarray(order))
