"""A step changes the replay in place: the compiled program has no copy of it.

The programs are compiled for a ring of a size that the machine need not have.
"""

import math

import jax
import pytest

from jaxseq import spr
from jaxseq.spr import runner

CAPACITY = 20_000


def sizes(game, num_seeds=1, **changes):
  """Returns (aliased, temporary) bytes of a step, and those of the frames."""
  settings = spr.settings.Settings(
    **{
      "num_steps": CAPACITY,
      "batch_size": 2,
      "encoder": {"channels": (2,), "kernels": (8,), "strides": (8,)},
      "head": {"hidden": 2, "atoms": 3},
      "learning": {"augmentation": None, "num_predictions": 1},
      "agent": {"num_steps": 2, "updates_per_step": 2},
      **changes,
    }
  )
  config = spr.settings.agent_config(settings, game)
  lowered = runner.lower_step(config, game, num_seeds)
  found = lowered.compile().memory_analysis()
  frames = num_seeds * CAPACITY * math.prod(game.frame_shape)
  return (found.alias_size_in_bytes, found.temp_size_in_bytes), frames


def check(found, frames):
  aliased, temporary = found
  assert aliased >= frames
  # Two updates of such networks take a few sequences of frames, and the
  # priorities, 4 bytes for each 7056 of a frame, may be written anew.
  assert temporary < 0.02 * frames


@pytest.mark.slow
def test_a_step_has_one_replay():
  game = spr.game.make("Blank", {"num_actions": 3})
  # An agent whose step is compiled fast.
  head = {"hidden": 2, "atoms": None, "dueling": False, "noisy": False}
  found, frames = sizes(game, variant="der", head=head)
  check(found, frames)


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [1, 2])
@pytest.mark.parametrize("memory", ["none", "lstm"])
def test_so_has_self_prediction_of_many_seeds_with_a_memory(num_seeds, memory):
  game = spr.game.make("Blank", {"num_actions": 3})
  learning = {
    "augmentation": None,
    "num_predictions": 1,
    "sequence": {"length": 2, "burn_in": 1},
  }
  found, frames = sizes(
    game,
    num_seeds,
    learning=learning,
    memory={"stack": {"mixer": memory, "d_model": 2}},
  )
  check(found, frames)


@pytest.mark.slow
def test_a_step_of_a_small_game_has_one_replay():
  (aliased, temporary), frames = sizes(
    spr.game.make("Breakout-MinAtar"),
    encoder={"channels": (2,)},
  )
  assert aliased >= frames
  # A frame is small here, beside its priority and the networks.
  assert temporary < 0.2 * frames


def test_a_program_that_copies_would_be_noticed():
  game = spr.game.make("Blank", {"num_actions": 3})
  frames = jax.ShapeDtypeStruct((CAPACITY, 84 * 84), "uint8")
  copying = jax.jit(lambda x: x.at[0].set(1)).lower(frames).compile()
  found = copying.memory_analysis()
  sizes_of = found.alias_size_in_bytes, found.temp_size_in_bytes
  with pytest.raises(AssertionError):
    check(sizes_of, CAPACITY * math.prod(game.frame_shape))
