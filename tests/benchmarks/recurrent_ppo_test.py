"""The recurrent PPO that sb3-contrib's is measured against."""

import math

import pytest

from benchmarks import recurrent_ppo


@pytest.mark.slow
def test_ours_is_timed_and_learns_something():
  steps = 4 * recurrent_ppo.NUM_ENVS * recurrent_ppo.LENGTH
  rate, per_cpu, reached = recurrent_ppo.ours(steps, shows_action=False)
  assert 0 < rate < math.inf
  assert 0 < per_cpu < math.inf
  # Episodes of a random player last some 20 of 200 steps.
  assert 0.05 < reached < 1


@pytest.mark.slow
def test_theirs_is_timed():
  pytest.importorskip("sb3_contrib")
  steps = recurrent_ppo.NUM_ENVS * recurrent_ppo.LENGTH
  rate, _, reached = recurrent_ppo.theirs(steps, processes=False)
  assert 0 < rate < math.inf
  assert 0.05 < reached < 1
