"""Returns that need no learning: exact ones of rooms, and of bandits."""

import jax
import numpy as np
import pytest

from experiments.in_context import trial_floors
from jaxseq.rl import envs


@pytest.mark.parametrize(
  ("form", "optimal", "sweep", "uniform"),
  [
    # 100 steps of 10 x 10 cells from a corner, 20 of 9 x 9 from the middle: the
    # mean distance to a goal is 9, and 40 / 9.
    ("Corner", 91.99, 51.49, 1.0),
    ("Middle", 21 - 361 / 81, 230 / 81, 20 / 81),
  ],
)
def test_rooms(form, optimal, sweep, uniform):
  room, _ = envs.make(f"DarkRoom{form}")
  returns = trial_floors.dark_room_returns(room)
  expected = {"optimal": optimal, "sweep": sweep, "random": uniform}
  assert returns == pytest.approx(expected, rel=1e-9)


def test_a_sweep_passes_each_cell_once_and_goes_step_by_step():
  for form, size in (("Corner", 4), ("Middle", 5), ("Middle", 6)):
    room, _ = envs.make(f"DarkRoom{form}", size=size)
    path = np.array(trial_floors._path(room))
    assert sorted(path) == list(range(size * size))
    moves = np.stack(np.divmod(path, size), axis=1)
    assert (np.abs(np.diff(moves, axis=0)).sum(axis=1) == 1).all()


def test_bandits():
  env, _ = envs.make("MultiarmedBanditEasy", num_arms=2, max_steps=10)
  returns = trial_floors.bandit_returns(env, 10, jax.random.key(0), 200)
  means = {name: curve.mean() for name, curve in returns.items()}
  # The larger of two uniform numbers has the mean 2 / 3, which earns 1 / 3; the
  # deviation of a mean of 200 is 0.035.
  assert means["optimal"] == pytest.approx(1 / 3, abs=0.1)
  assert means["uniform"] == pytest.approx(0, abs=0.1)
  assert means["uniform"] + 0.1 < means["UCB"] < means["Thompson sampling"]
  assert means["Thompson sampling"] < means["optimal"]
  curve = returns["Thompson sampling"]
  assert curve[-1] > curve[0] + 0.1
