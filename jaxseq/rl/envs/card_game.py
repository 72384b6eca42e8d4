"""The base of the card games: dealing, known decks, and the natural end."""

import dataclasses
import functools
from typing import ClassVar

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl.envs import _decks
from jaxseq.rl.envs import base
from jaxseq.types import PyTree


@struct.dataclass
class EnvState(base.EnvState):
  """State of a card game; its subclasses have more.

  Attributes:
    time: () int32, steps played.
    deck: the rest of the deck.
  """

  deck: _decks.Deck


@dataclasses.dataclass(frozen=True)
class CardGame(base.Environment):
  """A game that deals its cards and usually ends after the last of them.

  A subclass sets `card_types`, defines `begin`, `turn` and `observe`, and has
  an `EnvState`. It may override how many words it draws, how it deals, how long
  it lasts and how it ends.

  Attributes:
    num_decks: decks of 52 cards that are shuffled together.
    card_types: what a card shows: 4 suits, 13 ranks or 2 colors.
  """

  num_decks: int = 1

  card_types: ClassVar[int]
  step_words: ClassVar[int] = 1
  reset_words: ClassVar[int] = 1

  def __post_init__(self):
    validate.integer("num_decks", self.num_decks, 1, _decks.MAX_DECKS)

  @property
  def num_cards(self) -> int:
    """Number of cards dealt in an episode."""
    return self.num_decks * _decks.CARDS_PER_DECK

  @property
  def num_steps(self) -> int:
    """Number of steps of an episode: one for each card after the first."""
    return self.num_cards - 1

  @property
  def max_steps(self) -> int:
    """The time limit; it is beyond the natural end."""
    return self.num_steps + 1

  def deal(
    self, deck: _decks.Deck, words: jax.Array
  ) -> tuple[jax.Array, _decks.Deck]:
    """Deals a card, () int32, with the words of a step or of a reset."""
    return _decks.deal(deck, words[0])

  def begin(self, deck: _decks.Deck, card: jax.Array) -> EnvState:
    """Returns the first state, from the rest of a deck and the dealt card."""
    raise NotImplementedError

  def turn(
    self, state: EnvState, action: jax.Array, card: jax.Array
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step.

    Args:
      state: the state before.
      action: an element of the action space.
      card: the card that `deal` dealt, to be shown next.

    Returns:
      The state after it, except the time and the deck, and the () float32
      reward.
    """
    raise NotImplementedError

  def _deal_first(self, deck, words):
    """Returns the first state, from a full deck and (reset_words,) uint32."""
    card, deck = self.deal(deck, words)
    return self.begin(deck, card)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    card, deck = self.deal(state.deck, words)
    after, reward = self.turn(state, action, card)
    return after.replace(time=state.time + 1, deck=deck), reward

  @functools.partial(jax.jit, static_argnames=("self",))
  def reset_with_deck(self, order: jax.Array) -> tuple[PyTree, EnvState]:
    """Starts an episode with a known deck, which every auto-reset replays.

    Args:
      order: (num_cards,) integers below `card_types`, in dealing order.

    Returns:
      The first observation and the state.

    Raises:
      ValueError: if `order` has another shape or is not of integers.
    """
    # A deck in a known order ignores the random words.
    words = jnp.zeros((self.reset_words,), jnp.uint32)
    state = self._deal_first(self._full_deck(order), words)
    return self.observe(state, self.default_params), state

  def start(self, words: jax.Array, params: PyTree) -> EnvState:
    """Starts with a new deck."""
    return self._deal_first(self._full_deck(), words)

  def restart(
    self, words: jax.Array, state: EnvState, params: PyTree
  ) -> EnvState:
    """Starts with a new deck, or with the known one again."""
    return self._deal_first(self._full_deck(state.deck.order), words)

  def is_terminated(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns whether the last card has been answered, () bool."""
    return state.time >= self.num_steps

  def _full_deck(self, order: jax.Array | None = None) -> _decks.Deck:
    copies = self.num_cards // self.card_types
    return _decks.full(self.card_types, copies, order)
