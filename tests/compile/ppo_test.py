"""An update of PPO at the paper's size, compiled for an H100 not there.

Run by `make test-compile`; `-s` shows the numbers behind the limits.
"""

import dataclasses
import functools

import jax
import pytest

from configs.icrl import popgym_gru
from configs.icrl import popgym_s5
from jaxseq.rl import rl_arms
from jaxseq.rl.agents import ppo
from jaxseq.training import configuration
from tests.compile import kernels
from tests.compile import targets

pytestmark = pytest.mark.compile

MEMORIES = {"s5": popgym_s5, "gru": popgym_gru}
# Kernels: what was measured with jax 0.11.2, and a third more.
ROLLOUT = 74_000
MINIBATCH = {"s5": 423, "gru": 6800}


def config_of(memory):
  """64 environments of RepeatPreviousEasy, 1024 steps, 30 x 8 minibatches."""
  config = configuration.from_config_dict(
    rl_arms.Config, MEMORIES[memory].get_config()
  )
  return rl_arms.agent_config(config, memory)


@functools.cache
def started(memory, num_epochs):
  """Kernels of an update of so many epochs, and MB of temporaries."""
  config = dataclasses.replace(config_of(memory), num_epochs=num_epochs)
  runner = jax.eval_shape(lambda key: ppo.init(config, key), jax.random.key(0))
  compiled = targets.compiled(
    "cuda", functools.partial(ppo.update, config), runner
  )
  temporary = compiled.memory_analysis().temp_size_in_bytes / 1e6
  return kernels.count(compiled.as_text()), temporary


def kernels_of(memory):
  """Kernels of the rollout, of one minibatch, and of a whole update."""
  config = config_of(memory)
  one, two = (started(memory, epochs)[0] for epochs in (1, 2))
  epoch = two - one
  minibatch = epoch / config.num_minibatches
  return one - epoch, minibatch, one + (config.num_epochs - 1) * epoch


def test_s5_learns_with_few_kernels():
  counts = {memory: kernels_of(memory) for memory in MEMORIES}
  for memory, (rollout, minibatch, update) in counts.items():
    print(
      f"\n{memory:>5}: {rollout:,} kernels in the rollout and around it,"
      f" {minibatch:,.0f} for a minibatch, {update:,} in an update,"
      f" temporary {started(memory, 2)[1]:.0f} MB"
    )
  (rollout, minibatch, update), (_, slow, slow_update) = (
    counts[memory] for memory in ("s5", "gru")
  )
  assert rollout <= ROLLOUT
  assert minibatch <= MINIBATCH["s5"]
  # A GRU starts its kernels again at each of 1024 steps, there and back.
  assert 2 * 1024 <= slow <= MINIBATCH["gru"]
  assert slow_update >= 7 * update
