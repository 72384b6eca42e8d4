"""Memory of a step of a self-predictive agent, without allocating any of it.

  python -m benchmarks.spr_memory [--variant=spr] [--capacity=100000]

Compiles what one environment step runs on an accelerator, insertion, updates
and the choice of an action, for an Atari game of 84x84 frames, and prints what
the programs would take. "In place" is what outputs share with inputs: the
replay is all of it but a small rest if nothing copies it.
"""

import math
import time

from absl import app
from absl import flags
import jax

from benchmarks import timing
from jaxseq.spr import runner
from jaxseq.spr import settings

_VARIANT = flags.DEFINE_string("variant", "spr", "The agent.")
_CAPACITY = flags.DEFINE_integer("capacity", 100_000, "Steps in the replay.")
_BATCH = flags.DEFINE_integer("batch", 32, "Sequences in an update.")
_ACTIONS = flags.DEFINE_integer("actions", 18, "Actions of the game.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Seeds side by side.")
_MEMORY = flags.DEFINE_string("memory", "none", "Mixer as memory, or none.")


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  choices = settings.Settings(
    env_id="Blank",
    env_options={"num_actions": _ACTIONS.value},
    variant=_VARIANT.value,
    num_steps=_CAPACITY.value,
    batch_size=_BATCH.value,
    memory={"stack": {"mixer": _MEMORY.value}},
  )
  game = settings.make_game(choices)
  config = settings.agent_config(choices, game)
  frames = _SEEDS.value * config.replay.capacity * math.prod(game.frame_shape)
  print(
    f"{_VARIANT.value}, {_SEEDS.value} x {config.replay.capacity:,} frames of "
    f"{game.frame_shape}: {frames / 1e6:.1f} MB; batch {_BATCH.value}, "
    f"{config.variant.updates_per_step} updates a step; "
    f"{jax.default_backend()}, {timing.machine()}"
  )
  print(
    f"{'MB':<10}{'arguments':>12}{'in place':>12}{'outputs':>12}"
    f"{'temporary':>12}{'compile s':>12}"
  )
  lowered = runner.lower_step(config, game, _SEEDS.value)
  start = time.perf_counter()
  found = lowered.compile().memory_analysis()
  seconds = time.perf_counter() - start
  numbers = (
    found.argument_size_in_bytes,
    found.alias_size_in_bytes,
    found.output_size_in_bytes - found.alias_size_in_bytes,
    found.temp_size_in_bytes,
  )
  shown = "".join(f"{number / 1e6:>12.3f}" for number in numbers)
  print(f"{'a step':<10}{shown}{seconds:>12.1f}")


if __name__ == "__main__":
  app.run(main)
