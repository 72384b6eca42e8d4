"""An update of PPO at the paper's size, compiled for an H100 not there.

Run by `make test-compile`; `-s` shows the numbers behind the limits.
"""

import dataclasses
import functools

import jax
import pytest

from configs.icrl import popgym_gru
from configs.icrl import popgym_s5
from jaxseq.rl import comparison
from jaxseq.rl import ppo
from jaxseq.training import config as config_lib
from tests.compile import kernels
from tests.compile import targets

pytestmark = pytest.mark.compile

MEMORIES = {"s5": popgym_s5, "gru": popgym_gru}
# Kernels of S5: what was measured with jax 0.11.2, and a third more.
ROLLOUT = 95_000
MINIBATCH = 560


def configuration(memory, num_epochs):
  """64 environments of RepeatPreviousEasy, 1024 steps, 8 minibatches."""
  config = config_lib.parse(MEMORIES[memory].get_config(), comparison.Config)
  config = comparison.arm_config(config, memory)
  return dataclasses.replace(config, num_epochs=num_epochs)


@functools.cache
def started(memory, num_epochs):
  """Kernels of an update, and MB of temporaries."""
  config = configuration(memory, num_epochs)
  runner = jax.eval_shape(lambda key: ppo.init(config, key), jax.random.key(0))
  compiled = targets.compiled(
    "cuda", functools.partial(ppo.update, config), runner
  )
  temporary = compiled.memory_analysis().temp_size_in_bytes / 1e6
  return kernels.count(compiled.as_text()), temporary


def per_update(memory):
  """Kernels of the rollout and of one minibatch."""
  config = configuration(memory, 1)
  one, two = (started(memory, epochs)[0] for epochs in (1, 2))
  minibatch = (two - one) / config.num_minibatches
  return one - minibatch * config.num_minibatches, minibatch


def test_s5_learns_with_few_kernels():
  totals = {}
  for memory in MEMORIES:
    rollout, minibatch = per_update(memory)
    totals[memory] = rollout + 30 * 8 * minibatch
    print(
      f"\n{memory:>5}: {rollout:,.0f} kernels in the rollout and around it,"
      f" {minibatch:,.0f} for a minibatch, {totals[memory]:,.0f} in an update,"
      f" temporary {started(memory, 2)[1]:.0f} MB"
    )
  rollout, minibatch = per_update("s5")
  assert rollout <= ROLLOUT
  assert minibatch <= MINIBATCH
  # A GRU starts its kernels again at each of 1024 steps, there and back.
  assert per_update("gru")[1] >= 2 * 1024
  assert totals["gru"] >= 20 * totals["s5"]
