"""Card games of memory: recall the first card, an earlier one, or a count.

The rules are those of POPGym (Morad et al., arXiv:2303.01859). A requested card
is named by its suit; see each game.
"""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl.envs import _decks
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


def _paid(right: jax.Array, count: int) -> jax.Array:
  """Returns 1 / count for a correct answer and -1 / count for a wrong one."""
  part = jnp.float32(1 / count)
  return jnp.where(right, part, -part)


@struct.dataclass
class RepeatFirstState(card_game.EnvState):
  """State of RepeatFirst.

  Attributes, beside those of `card_game.EnvState`:
    first: () int32, the first card.
    card: () int32, the card on show.
  """

  first: jax.Array
  card: jax.Array


@dataclasses.dataclass(frozen=True)
class RepeatFirst(card_game.CardGame):
  """Shows one card after the other; the answer is always the first card.

  With n cards, every one of the n-1 steps earns 1/(n-1) if the action is the
  suit of the first card and -1/(n-1) if not. Then the game terminates.
  """

  card_types = _decks.SUITS
  actions = spaces.Discrete(_decks.SUITS)
  observations = spaces.Discrete(_decks.SUITS)

  def begin(self, deck: _decks.Deck, card: jax.Array) -> RepeatFirstState:
    """Shows the first card; see the base class."""
    return RepeatFirstState(jnp.int32(0), deck, first=card, card=card)

  def turn(
    self, state: RepeatFirstState, action: jax.Array, card: jax.Array
  ) -> tuple[RepeatFirstState, jax.Array]:
    """Plays one step; see the base class."""
    reward = _paid(action == state.first, self.num_steps)
    return state.replace(card=card), reward

  def observe(self, state: RepeatFirstState, params: PyTree) -> jax.Array:
    """Returns the suit of the card on show, () int32."""
    return state.card


@struct.dataclass
class RepeatPreviousState(card_game.EnvState):
  """State of RepeatPrevious.

  Attributes, beside those of `card_game.EnvState`:
    window: (k,) int32, the last k cards, oldest first; zeros stand for cards
      before the first one of the episode.
  """

  window: jax.Array


@dataclasses.dataclass(frozen=True)
class RepeatPrevious(card_game.CardGame):
  """Shows one card after the other; the answer is the k-th last card.

  With n cards c_0, c_1, ... step t = 0, 1, ... is taken with c_t on show. It
  earns 1/(n-k) if the action is the suit of c_{t-k+1} (with k = 1, the card on
  show) and -1/(n-k) if not; before k cards have been shown it earns 0. The
  game terminates after n-1 steps.

  Attributes, beside those of `card_game.CardGame`:
    k: distance of the requested card, the current one being 1.
  """

  k: int = 4

  card_types = _decks.SUITS
  actions = spaces.Discrete(_decks.SUITS)
  observations = spaces.Discrete(_decks.SUITS)

  def __post_init__(self):
    super().__post_init__()
    # At most the number of cards less one.
    validate.integer("k", self.k, 1, self.num_cards - 1)

  def begin(self, deck: _decks.Deck, card: jax.Array) -> RepeatPreviousState:
    """Shows the first card; see the base class."""
    before = jnp.zeros((self.k - 1,), jnp.int32)
    window = jnp.concatenate([before, card[None]])
    return RepeatPreviousState(jnp.int32(0), deck, window)

  def turn(
    self, state: RepeatPreviousState, action: jax.Array, card: jax.Array
  ) -> tuple[RepeatPreviousState, jax.Array]:
    """Plays one step; see the base class."""
    right = action == state.window[0]
    is_asked = state.time >= self.k - 1
    reward = jnp.where(is_asked, _paid(right, self.num_cards - self.k), 0)
    # Shifting is cheaper than a ring buffer, which is a scatter under vmap.
    window = jnp.concatenate([state.window[1:], card[None]])
    return state.replace(window=window), reward

  def observe(self, state: RepeatPreviousState, params: PyTree) -> jax.Array:
    """Returns the suit of the card on show, () int32."""
    return state.window[-1]


@struct.dataclass
class AutoencodeState(card_game.EnvState):
  """State of Autoencode.

  Attributes, beside those of `card_game.EnvState`:
    stack: (n,) int32, the shown cards that are not yet answered, last first;
      zeros follow them.
  """

  stack: jax.Array


@dataclasses.dataclass(frozen=True)
class Autoencode(card_game.CardGame):
  """Shows all cards, then asks for them from the last to the first.

  An observation is a mode, 1 while the deck is watched and 0 while it is
  played back, and a suit. With n cards c_0, c_1, ... the first n-1 steps earn
  0 and lead to the observations (1, c_1), (1, c_2), ..., (0, c_{n-1}). The n
  steps that follow ask for c_{n-1}, ..., c_1, c_0; each earns 1/n if the
  action is that suit and -1/n if not, and leads to the observation (0, 0).
  The game terminates after 2n-1 steps.
  """

  card_types = _decks.SUITS
  actions = spaces.Discrete(_decks.SUITS)
  # Playing back (0) or watching (1), and the suits.
  observations = spaces.MultiDiscrete((2, _decks.SUITS))

  @property
  def num_steps(self) -> int:
    """Number of steps of an episode: to watch, and to play back."""
    return 2 * self.num_cards - 1

  def begin(self, deck: _decks.Deck, card: jax.Array) -> AutoencodeState:
    """Shows the first card; see the base class."""
    after = jnp.zeros((self.num_cards - 1,), jnp.int32)
    stack = jnp.concatenate([card[None], after])
    return AutoencodeState(jnp.int32(0), deck, stack)

  def turn(
    self, state: AutoencodeState, action: jax.Array, card: jax.Array
  ) -> tuple[AutoencodeState, jax.Array]:
    """Plays one step; see the base class."""
    watching = state.time < self.num_cards - 1
    right = action == state.stack[0]
    reward = jnp.where(watching, 0, _paid(right, self.num_cards))
    # Shifting is cheaper than an indexed write, which is a scatter under vmap.
    pushed = jnp.concatenate([card[None], state.stack[:-1]])
    popped = jnp.concatenate([state.stack[1:], jnp.zeros((1,), jnp.int32)])
    return state.replace(stack=jnp.where(watching, pushed, popped)), reward

  def observe(self, state: AutoencodeState, params: PyTree) -> jax.Array:
    """Returns the mode and the suit of the card on show, (2,) int32."""
    last = self.num_cards - 1
    mode = (state.time < last).astype(jnp.int32)
    suit = jnp.where(state.time <= last, state.stack[0], 0)
    return jnp.stack([mode, suit])


@struct.dataclass
class HigherLowerState(card_game.EnvState):
  """State of HigherLower.

  Attributes, beside those of `card_game.EnvState`:
    card: () int32, the card on show.
  """

  card: jax.Array


@dataclasses.dataclass(frozen=True)
class HigherLower(card_game.CardGame):
  """Shows one card after the other; the answer is a guess of the next one.

  With n cards, each of the n-1 steps uncovers one card. It earns 1/n if that
  card has a higher rank than the one before and the action is 0, or a lower
  rank and the action is 1, -1/n if it is the other way round, and 0 if the
  ranks are equal. Then the game terminates. Counting cards improves little over
  looking only at the current card.
  """

  card_types = _decks.RANKS
  actions = spaces.Discrete(2)
  observations = spaces.Discrete(_decks.RANKS)

  def begin(self, deck: _decks.Deck, card: jax.Array) -> HigherLowerState:
    """Shows the first card; see the base class."""
    return HigherLowerState(jnp.int32(0), deck, card)

  def turn(
    self, state: HigherLowerState, action: jax.Array, card: jax.Array
  ) -> tuple[HigherLowerState, jax.Array]:
    """Plays one step; see the base class."""
    right = (action == 0) == (card > state.card)
    reward = _paid(right, self.num_cards)
    reward = jnp.where(card == state.card, 0, reward)
    return state.replace(card=card), reward

  def observe(self, state: HigherLowerState, params: PyTree) -> jax.Array:
    """Returns the rank of the card on show, () int32."""
    return state.card


_COUNTED = (_decks.COLORS, _decks.SUITS, _decks.RANKS)


@struct.dataclass
class CountRecallState(card_game.EnvState):
  """State of CountRecall.

  Attributes, beside those of `card_game.EnvState`:
    deck: the rest of the two decks, of values and of queries, along the
      first axis of its arrays.
    cards: (2,) int32, the value and the query on show.
  """

  cards: jax.Array


@dataclasses.dataclass(frozen=True)
class CountRecall(card_game.CardGame):
  """Shows a value and a query; the answer is the count of the query so far.

  Values v_0, v_1, ... and queries q_0, q_1, ... are dealt from two decks of n
  cards that are shuffled independently. Step t = 0, 1, ... is taken with v_t
  and q_t on show. It earns 1/(n-1) if the action is the number of values among
  v_0, ..., v_t that equal q_t, and -1/(n-1) if not. The game terminates after
  n-1 steps.

  Attributes:
    num_decks: decks of 52 cards that are shuffled together, for the values
      and again for the queries.
    card_types: what a card shows: 2 colors, 4 suits or 13 ranks.
  """

  card_types: int = _decks.COLORS

  step_words = 2
  reset_words = 2

  def __post_init__(self):
    super().__post_init__()
    validate.choice("card_types", self.card_types, _COUNTED)

  @property
  def max_count(self) -> int:
    """Cards of each type."""
    return self.num_cards // self.card_types

  def deal(
    self, deck: _decks.Deck, words: jax.Array
  ) -> tuple[jax.Array, _decks.Deck]:
    """Deals a value and a query, (2,) int32."""
    return jax.vmap(_decks.deal)(deck, words)

  def begin(self, deck: _decks.Deck, card: jax.Array) -> CountRecallState:
    """Shows the first card; see the base class."""
    return CountRecallState(jnp.int32(0), deck, card)

  def turn(
    self, state: CountRecallState, action: jax.Array, card: jax.Array
  ) -> tuple[CountRecallState, jax.Array]:
    """Plays one step; see the base class."""
    # The dealt values follow from the deck.
    values = jax.tree.map(lambda leaf: leaf[0], state.deck)
    is_asked = jnp.arange(self.card_types, dtype=jnp.int32) == state.cards[1]
    left = jnp.where(is_asked, _decks.remaining(values), 0)
    right = action == self.max_count - jnp.sum(left, dtype=jnp.int32)
    return state.replace(cards=card), _paid(right, self.num_steps)

  def observe(self, state: CountRecallState, params: PyTree) -> jax.Array:
    """Returns the value and the query on show, (2,) int32."""
    return state.cards

  def action_space(self, params: PyTree = None) -> spaces.Discrete:
    """The counts from 0 to all cards of a type."""
    return spaces.Discrete(self.max_count + 1)

  def observation_space(self, params: PyTree = None) -> spaces.MultiDiscrete:
    """The card types, for the value and for the query."""
    return spaces.MultiDiscrete((self.card_types, self.card_types))

  def _full_deck(self, order: jax.Array | None = None) -> _decks.Deck:
    """Two full decks; `order` is (2, num_cards), values before queries."""
    if order is None:
      one = super()._full_deck()
      return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one)
    # The values and the queries, in dealing order.
    validate.shape("order", order, (2, self.num_cards))
    return jax.vmap(super()._full_deck)(jnp.asarray(order))
