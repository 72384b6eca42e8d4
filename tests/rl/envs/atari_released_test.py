"""Atari as SPR's released code plays it: its frames, and its rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import _ale
from jaxseq.spr import agent


def over(step):
  return step.terminated | step.truncated


def done(step):
  return over(step) | step.life_lost


@pytest.mark.parametrize("name", ["breakout", "pong"])
def test_the_golden_frames(name, golden):
  pytest.importorskip("ale_py")
  arrays = golden(f"spr/frames_mila_{name}")
  emulator = _ale.emulator(name, int(arrays["ale_random_seed"]))
  actions = emulator.getMinimalActionSet()
  assert actions == arrays["minimal_action_set"].tolist()
  # The golden ones are a reset, the frame that every life begins with, and
  # those that follow it.
  noops = len(arrays["reset_raw_actions"]) - 2
  player = _ale.Released(emulator, lambda: noops)

  observation = np.zeros((84, 84, 4), np.uint8)

  def check(t, frame, begins):
    nonlocal observation
    np.testing.assert_array_equal(frame, arrays["frames"][t])
    observation = np.asarray(agent.push(observation, frame, begins))
    sums = observation.sum(axis=(0, 1), dtype=np.int64)
    np.testing.assert_array_equal(sums, arrays["stack_frame_sums"][t])
    assert emulator.lives() == arrays["lives"][t]

  check(0, player.reset(), True)
  for t, action in enumerate(arrays["actions"]):
    before = emulator.getFrameNumber()
    step = player.step(action)
    check(t + 1, step.frame, done(step))
    played = emulator.getFrameNumber() - before
    assert played == arrays["raw_acts_per_step"][t]
    assert step.reward == arrays["game_score"][t]
    assert np.sign(step.reward) == arrays["reward"][t]
    assert done(step) == arrays["done"][t]
    assert over(step) == arrays["traj_done"][t]


class Script:
  """An emulator whose lives are written down for each frame of a game.

  Frame t of game g shows the grey of `shown(g, t)`; doing nothing scores 1000,
  and the action that a player can take 1.
  """

  def __init__(self, lives):
    self._lives = lives
    self.game = self.frame = 0

  def getMinimalActionSet(self):
    return [7]

  def getScreenDims(self):
    return 210, 160

  def reset_game(self):
    self.game, self.frame = self.game + 1, 0

  def act(self, action):
    assert action in (0, 7)
    self.frame += 1
    return 1 if action == 7 else 1000

  def lives(self):
    return self._lives[self.frame]

  def game_over(self):
    return self.frame == len(self._lives) - 1

  def getScreenGrayscale(self, screen):
    screen[:] = shown(self.game, self.frame)


def shown(game, frame):
  return (90 * game + 100 * frame) % 256


def play(lives, steps, noops=0, **options):
  """Returns the frames' only greys and the steps; the first is the reset's."""
  player = _ale.Released(Script(lives), lambda: noops, **options)
  frame = player.reset()
  assert (frame.shape, frame.dtype) == ((84, 84), np.uint8)
  greys, taken = [np.unique(frame).item()], []
  for _ in range(steps):
    taken.append(player.step(0))
    greys.append(np.unique(taken[-1].frame).item())
  return greys, taken


def test_a_frame_is_the_maximum_of_two():
  greys, steps = play([0] * 99, 4, noops=2)
  # After a game's beginning, that of frame 3 alone.
  assert greys[0] == shown(1, 3)
  for t in range(4):
    last = 3 + 4 * (t + 1)
    assert greys[t + 1] == max(shown(1, last - 1), shown(1, last))
  assert {float(step.reward) for step in steps} == {4.0}
  assert not any(done(step) for step in steps)


def test_a_lost_life_is_followed_by_a_frame_alone():
  # One no-op, four frames, the last of which loses a life, and one no-op more.
  greys, steps = play([3] * 5 + [2] * 90, 3)
  assert [bool(done(step)) for step in steps] == [True, False, False]
  assert greys[1] == shown(1, 6) < max(shown(1, 4), shown(1, 5))
  # What doing nothing scores counts nowhere.
  assert [step.reward for step in steps] == [4, 4, 4]
  assert greys[2] == max(shown(1, 9), shown(1, 10))
  assert not any(over(step) for step in steps)


def test_a_life_that_was_won_makes_up_for_a_loss():
  _, steps = play([3] * 5 + [4] * 4 + [3] * 4 + [2] * 90, 3)
  assert [bool(done(step)) for step in steps] == [False, False, True]


def test_the_end_of_a_game_begins_another_one():
  greys, steps = play([1] * 10 + [0], 3, noops=1)
  assert [bool(over(step)) for step in steps] == [False, True, False]
  assert [bool(done(step)) for step in steps] == [False, True, False]
  assert greys[2] == shown(2, 2)
  assert greys[3] == max(shown(2, 5), shown(2, 6))
  assert steps[1].reward == 4


def test_the_limit_ends_a_game():
  greys, steps = play([1] * 99, 7, max_steps=2)
  ends = [False, False, True, False, False, True, False]
  assert [bool(over(step)) for step in steps] == ends
  assert [bool(done(step)) for step in steps] == ends
  assert greys[3] == shown(2, 1)
  assert greys[6] == shown(3, 1)


def test_the_limit_of_the_environment_counts_the_last_step():
  pytest.importorskip("ale_py")
  env, params = envs.make("Freeway-Atari", rules="released")
  assert params.max_steps_in_episode == 27_001
  key, params = jax.random.key(0), params.replace(max_steps_in_episode=3)
  _, state = env.reset(key, params)
  ends = []
  for _ in range(4):
    _, state, *_, truncated, _ = env.step(key, state, jnp.int32(0), params)
    ends.append(bool(truncated))
  assert ends == [False, False, True, False]


def test_a_game_begins_after_2_to_31_frames():
  pytest.importorskip("ale_py")
  assert _ale.Released.noops == (1, 30)
  # Cars move in every frame.
  player = _ale.Released(_ale.emulator("freeway"), iter(range(1, 31)).__next__)
  assert len({player.reset().tobytes() for _ in range(30)}) == 30
