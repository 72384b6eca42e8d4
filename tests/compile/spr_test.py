"""A step of SPR on Atari, compiled for a TPU v5e and an H100 not there.

Run by `make test-compile`; `-s` shows the numbers behind the budgets.
"""

import time

import jax
import jax.numpy as jnp
import pytest

from jaxseq import spr
from jaxseq.spr import runner
from tests.compile import kernels
from tests.compile import targets

pytestmark = pytest.mark.compile

CAPACITY = 100_000
# Measured with jax 0.11.2, and a third more: MB of temporaries, and kernels of
# the H100, by the number of seeds.
TEMPORARY = {("tpu", 1): 30, ("cuda", 1): 56, ("cuda", 5): 276}
KERNELS = {1: 1300, 5: 1316}


def lower(platform, num_seeds):
  """A step with its two updates of 32 sequences."""
  settings = spr.settings.Settings(
    "Blank", variant="spr", num_steps=CAPACITY, batch_size=32
  )
  game = spr.settings.make_game(settings)
  config = spr.settings.agent_config(settings, game)
  with targets.choosing_for(platform):
    return runner.lower_step(
      config, game, num_seeds, sharding=targets.sharding(platform)
    )


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


@pytest.mark.parametrize(("platform", "num_seeds"), TEMPORARY)
def test_a_step_of_spr_copies_no_replay(platform, num_seeds):
  # Before jax has looked for devices and found no GPU.
  targets.sharding(platform)
  lowered = lower(platform, num_seeds)
  start = time.monotonic()
  compiled = lowered.compile()
  aliased, temporary, started = measured(
    compiled, time.monotonic() - start, f"{num_seeds} seeds", platform
  )
  assert aliased >= num_seeds * CAPACITY * 84 * 84 / 1e6
  assert temporary <= TEMPORARY[platform, num_seeds]
  assert started <= KERNELS[num_seeds]


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
