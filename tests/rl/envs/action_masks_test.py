"""Masks of the games that have moves which are not allowed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import spaces
from tests.rl import toy


@pytest.mark.parametrize("game", ["BattleshipEasy", "MineSweeperEasy"])
def test_cells_are_rows_and_columns(game):
  plain, params = envs.make(game)
  masked, _ = envs.make(game, masked=True)
  _, state = plain.reset(jax.random.key(0), params)
  for cell in (9, 2):
    pair = jnp.array(divmod(cell, plain.action_space(params).sizes[1]))
    key = jax.random.key(cell)
    one = plain.step(key, state, pair, params)
    other = masked.step(key, state, jnp.int32(cell), params)
    toy.equal(other[1], one[1])
    np.testing.assert_array_equal(other[0]["observation"], one[0])
    state = one[1]
  opened = state.guesses if game == "BattleshipEasy" else state.opened
  width = plain.action_space(params).sizes[1]
  np.testing.assert_array_equal(
    other[0]["action_mask"], 1 - _bitboard.to_grid(opened, width).ravel()
  )
  with_cells, _ = envs.make(game, cells=True)
  assert with_cells.action_space(params).n == masked.action_space(params).n


def test_cards_in_the_hand_and_matched_cards_are_forbidden():
  env, params = envs.make("ConcentrationEasy", masked=True)
  deck = np.arange(52) % 2
  first, state = env.reset_with_deck(deck)
  assert first["action_mask"].all()
  for position, forbidden in ((5, [5]), (7, [5, 7]), (1, [1, 5, 7])):
    seen, state, *_ = env.step(
      jax.random.key(0), state, jnp.int32(position), params
    )
    np.testing.assert_array_equal(
      np.flatnonzero(~seen["action_mask"]), forbidden
    )


@pytest.mark.parametrize(
  "mask",
  [
    spaces.Box(-np.inf, 0.0, (3,)),
    spaces.Box(0, 255, (3,), np.dtype(np.uint8)),
    spaces.Tuple((spaces.Discrete(2),) * 3),
    spaces.Discrete(3),
  ],
)
def test_masks_are_arrays_of_flags(mask):
  space = spaces.Dict({"observation": spaces.Discrete(2), "action_mask": mask})
  with pytest.raises(ValueError, match="action_mask: .* a Box from 0 to 1"):
    action_masks.check(space, spaces.Discrete(3))


def test_masks_of_whole_numbers_are_flags():
  for mask in (
    spaces.Box(0, 1, (3,), np.dtype(np.int8)),
    spaces.MultiDiscrete((2, 2, 2)),
  ):
    parts = {"observation": spaces.Discrete(2), "action_mask": mask}
    action_masks.check(spaces.Dict(parts), spaces.Discrete(3))
