"""Speed of the replay of SPR: one step in, one batch out, priorities back.

  python -m benchmarks.spr_replay [--capacity=100000] [--batch=32]

Times the three together in one compiled program whose caller donates the
replay, the same program without that, which copies the frames, and each part
alone. Programs take turns; the best run counts.
"""

import time

from absl import app
from absl import flags
import jax
import jax.numpy as jnp

from benchmarks import timing
from jaxseq.rl.replay import frames

_CAPACITY = flags.DEFINE_integer("capacity", 100_000, "Steps in the replay.")
_BATCH = flags.DEFINE_integer("batch", 32, "Sequences in a batch.")
_REPEATS = flags.DEFINE_integer("repeats", 20, "Runs; the best one counts.")


def programs(config: frames.Config, batch_size: int) -> dict[str, object]:
  """Returns functions (state, frame, key) -> (state, anything)."""

  def add(state, frame, key):
    del key
    return frames.add(config, state, frame, 1, 1.0, False), ()

  def sample(state, frame, key):
    del frame
    uniform = frames.draw(key, config, batch_size)
    return state, frames.sample(
      config, state, uniform, beta=0.4, num_steps=10, gamma=0.99
    )

  def update(state, frame, key):
    del frame
    slot = jax.random.randint(key, (batch_size,), 0, config.capacity)
    priority = slot / config.capacity
    return frames.update_priorities(config, state, slot, priority), ()

  def step(state, frame, key):
    state, _ = add(state, frame, key)
    state, drawn = sample(state, frame, key)
    priority = jnp.abs(drawn.batch.return_n)
    state = frames.update_priorities(config, state, drawn.slot, priority)
    return state, drawn

  return {"step": step, "add": add, "sample": sample, "update": update}


def _timed(function, state, frame, key):
  """Returns the state and the wall seconds of a call."""
  start = time.perf_counter()
  state, outputs = function(state, frame, key)
  jax.block_until_ready((state, outputs))
  return state, time.perf_counter() - start


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  config = frames.Config(capacity=_CAPACITY.value)
  parts = programs(config, _BATCH.value)
  frame = jnp.ones(config.frame_shape, jnp.uint8)
  keys = jax.random.split(jax.random.key(0), _REPEATS.value)
  jitted = {
    name: jax.jit(part, donate_argnums=0) for name, part in parts.items()
  }
  jitted["step, copying"] = jax.jit(parts["step"])
  # Full, so that every page of it has been written to.
  state = jax.jit(
    lambda state, frame: jax.lax.fori_loop(
      0,
      config.capacity,
      lambda i, state: frames.add(config, state, frame, 1, 1.0, False),
      state,
    ),
    donate_argnums=0,
  )(frames.init(config), frame)
  memory = {
    name: function.lower(state, frame, keys[0]).compile().memory_analysis()
    for name, function in jitted.items()
  }
  best = dict.fromkeys(jitted, float("inf"))
  for key in keys:
    for name, function in jitted.items():
      # An untimed run first: the one before may have given back memory.
      state, _ = _timed(function, state, frame, key)
      state, seconds = _timed(function, state, frame, key)
      best[name] = min(best[name], seconds)
  print(f"{config.capacity} frames of {config.frame_shape}, {timing.machine()}")
  print(f"{'':<16}{'ms':>10}{'MB aliased':>14}{'MB temporary':>14}")
  for name, seconds in best.items():
    sizes = memory[name].alias_size_in_bytes, memory[name].temp_size_in_bytes
    megabytes = "".join(f"{size / 1e6:>14.1f}" for size in sizes)
    print(f"{name:<16}{1e3 * seconds:>10.3f}{megabytes}")
  print(f"copying / in place: {best['step, copying'] / best['step']:.0f}")


if __name__ == "__main__":
  app.run(main)
