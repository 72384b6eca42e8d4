"""A step of SPR on Atari, compiled for a TPU v5e and an H100 not there.

Run by `make test-compile`; `-s` shows the numbers behind the budgets.
"""

import functools
import time

import jax
import jax.numpy as jnp
import pytest

from jaxseq.rl.envs import atari
from jaxseq.rl.envs import players as environments
from jaxseq.spr import runner
from jaxseq.spr import settings as settings_lib
from tests.compile import kernels
from tests.compile import targets

pytestmark = pytest.mark.compile

CAPACITY = 100_000
# What was measured with jax 0.11.2, and a third more: MB of temporaries, and
# kernels of the H100.
TEMPORARY = {
  "tpu": {"choose": 2, "observe": 32},
  "cuda": {"choose": 9, "observe": 53},
}
KERNELS = {"choose": 28, "observe": 1280}
# The same of one program that calls the emulators, by the number of seeds.
TEMPORARY_INSIDE = {1: 69, 5: 306}
KERNELS_INSIDE = {1: 1320, 5: 1436}


def lower(platform, game, num_seeds=1):
  """A step with its two updates of 32 sequences, by name."""
  settings = settings_lib.Settings(
    variant="spr", num_steps=CAPACITY, batch_size=32
  )
  config = settings_lib.agent_config(settings, game)
  with targets.choosing_for(platform):
    return runner.lower_step(
      config, game, num_seeds, sharding=targets.sharding(platform)
    )


@functools.cache
def programs(platform):
  """Those of a game that the host plays."""
  game = environments.Game("atari", (84, 84), 4, num_actions=18, play=None)
  return lower(platform, game)


def measured(compiled, seconds, name, platform):
  """MB in place and of temporaries, and kernels of the H100; all printed."""
  memory = compiled.memory_analysis()
  aliased = memory.alias_size_in_bytes / 1e6
  temporary = memory.temp_size_in_bytes / 1e6
  started = kernels.count(compiled.as_text()) if platform == "cuda" else 0
  print(
    f"\n{name:>8} {platform:>5} {seconds:6.1f} s, in place {aliased:.1f} MB, "
    f"temporary {temporary:.1f} MB, {started or 'uncounted'} kernels"
  )
  return aliased, temporary, started


@pytest.mark.parametrize("name", ["choose", "observe"])
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_a_step_of_spr_copies_no_replay(platform, name):
  start = time.monotonic()
  compiled = programs(platform)[name].compile()
  aliased, temporary, started = measured(
    compiled, time.monotonic() - start, name, platform
  )
  assert aliased >= CAPACITY * 84 * 84 / 1e6
  assert temporary <= TEMPORARY[platform][name]
  assert started <= KERNELS[name]


@pytest.mark.parametrize("num_seeds", [1, 5])
def test_a_step_that_calls_the_emulators_is_one_program(num_seeds):
  # Before jax has looked for devices and found no GPU.
  targets.sharding("cuda")
  lowered = lower("cuda", atari.make("ms_pacman"), num_seeds)
  assert set(lowered) == {"step"}
  start = time.monotonic()
  compiled = lowered["step"].compile()
  aliased, temporary, started = measured(
    compiled, time.monotonic() - start, f"{num_seeds} seeds", "cuda"
  )
  # A step, and the reset after the end of a game.
  assert compiled.as_text().count("atari_vector_xla_step") == 2 * num_seeds
  assert aliased >= num_seeds * CAPACITY * 84 * 84 / 1e6
  assert temporary <= TEMPORARY_INSIDE[num_seeds]
  assert started <= KERNELS_INSIDE[num_seeds]


def test_kernels_are_counted_as_often_as_loops_run():
  def function(x):
    def step(x, _):
      return jnp.sin(x) @ x, None

    return jax.lax.scan(step, x, length=7)[0]

  x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
  text = targets.compiled("cuda", function, x).as_text()
  once = kernels.count(
    targets.compiled("cuda", lambda x: jnp.sin(x) @ x, x).as_text()
  )
  # The loop has its counter and condition beside its body.
  assert 7 * once <= kernels.count(text) <= 7 * (once + 2) + 4


def test_of_branches_the_longest_is_counted():
  def function(x, whether):
    return jax.lax.cond(whether, lambda x: jnp.sin(x @ x) @ x, jnp.cos, x)

  x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
  whether = jax.ShapeDtypeStruct((), bool)
  longest = targets.compiled("cuda", lambda x: jnp.sin(x @ x) @ x, x)
  count = kernels.count(longest.as_text())
  text = targets.compiled("cuda", function, x, whether).as_text()
  assert count < kernels.count(text) <= count + 3
