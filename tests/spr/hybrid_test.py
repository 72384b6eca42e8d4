"""SPR with S5 and attention in turn, as memory and as transition model.

With feed-forward halves, activations in bfloat16 and rematerialized layers, by
config alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.spr import minatar_memory
from jaxseq.spr import runner
from jaxseq.spr import spr_arms
from jaxseq.training import checkpoint
from jaxseq.training import configuration
from tests.spr import agent_test


@pytest.mark.slow
@pytest.mark.parametrize(
  ("part", "predicts"),
  [("memory", False), ("memory", True), ("transition", True)],
)
def test_a_run_is_finite_and_goes_on_from_a_checkpoint(
  part, predicts, tmp_path
):
  # What has nothing to do with the layers is left out: quicker to compile.
  config = configuration.updated(
    minatar_memory.get_config("hybrid_tiny"),
    settings={
      "head": {"noisy": False, "atoms": None, "dueling": False},
      "learning": {"double": False},
      "self_prediction": predicts,
    },
  )
  name = {"transition": "mixer_transition"}.get(part, part)
  arm = spr_arms.make_arms(config)[name]
  game, config = arm.game, arm.agent
  stack = getattr(config.variant.update.networks, part).stack
  assert (stack.mixer, stack.hybrid[0][0]) == ("s5", "attention")
  assert stack.remat
  assert (stack.feedforward, stack.dtype) == ("swiglu", "bfloat16")

  keys = jax.random.split(jax.random.key(0), 1)
  init = jax.jit(jax.vmap(functools.partial(runner.init, config, game)))
  chunk = runner.make_chunk(config, game, len(keys))
  start = init(keys)
  params = jax.tree.map(jnp.copy, start.agent.params[part])
  middle, _ = chunk(start, 48)
  with checkpoint.Checkpointer(tmp_path) as checkpoints:
    checkpoints.save(48, middle)
    checkpoints.wait()
    template = jax.eval_shape(lambda: middle)
    end, metrics = chunk(middle, 8)
    step, restored = checkpoints.restore(template)
  assert step == 48
  assert end.agent.step > 8
  again, repeated = chunk(restored, 8)
  agent_test.same((again, repeated), (end, metrics))
  for name in ("loss", "rl_loss", "spr_loss"):
    assert np.isfinite(metrics[name]).all()

  after = end.agent.params[part]
  assert set(after["stack"]) == {"layers_0", "layers_1"}
  assert "Lambda_re" in after["stack"]["layers_0"]["mixer"]
  assert "W_o" in after["stack"]["layers_1"]["mixer"]
  assert all("feedforward" in after["stack"][f"layers_{i}"] for i in range(2))
  for old, new in zip(jax.tree.leaves(params), jax.tree.leaves(after)):
    assert new.dtype == jnp.float32
    assert np.isfinite(new).all()
    assert (old != new).any()
