"""A step of SPR on Atari, compiled for a TPU v5e and an H100 not there.

Run by `make test-compile`; `-s` shows the numbers behind the budgets.
"""

import functools
import time

import jax
import jax.numpy as jnp
import pytest

from jaxseq.spr import environments
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


@functools.cache
def programs(platform):
  """A step with its two updates of 32 sequences, by name."""
  game = environments.Game("atari", (84, 84), 4, num_actions=18, play=None)
  settings = settings_lib.Settings(
    variant="spr", num_steps=CAPACITY, batch_size=32
  )
  config = settings_lib.agent_config(settings, game)
  with targets.choosing_for(platform):
    return runner.lower_step(config, game, sharding=targets.sharding(platform))


@pytest.mark.parametrize("name", ["choose", "observe"])
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_a_step_of_spr_copies_no_replay(platform, name):
  start = time.monotonic()
  compiled = programs(platform)[name].compile()
  seconds = time.monotonic() - start
  memory = compiled.memory_analysis()
  aliased = memory.alias_size_in_bytes / 1e6
  temporary = memory.temp_size_in_bytes / 1e6
  started = kernels.count(compiled.as_text()) if platform == "cuda" else 0
  print(
    f"\n{name:>8} {platform:>5} {seconds:6.1f} s, in place {aliased:.1f} MB, "
    f"temporary {temporary:.1f} MB, {started or 'uncounted'} kernels"
  )
  assert aliased >= CAPACITY * 84 * 84 / 1e6
  assert temporary <= TEMPORARY[platform][name]
  assert started <= KERNELS[name]


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
