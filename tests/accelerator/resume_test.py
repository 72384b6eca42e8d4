"""A tiny run of PPO that stops and goes on, on the device there is."""

import functools

import jax
import numpy as np
import pytest

from benchmarks.accelerators import programs
from jaxseq.rl.agents import ppo
from jaxseq.training import checkpoint
from jaxseq.training import loop
from jaxseq.training import scalars

pytestmark = pytest.mark.accelerator


class Stopped(Exception):
  """What ends the run."""


def run(directory, stop_at=None):
  """Six updates in chunks of two, or until a chunk; the last state."""
  config = programs.ppo_config("s5", tiny=True)

  @functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
  def train(state, count):
    update = functools.partial(ppo.update, config)
    return jax.lax.scan(lambda state, _: update(state), state, length=count)

  chunks = []

  def chunk(state, count):
    chunks.append(count)
    if len(chunks) == stop_at:
      raise Stopped
    return train(state, count)

  with (
    checkpoint.Checkpointer(directory / "checkpoints", keep=2) as saver,
    scalars.MetricWriter(directory, tensorboard=False) as writer,
  ):
    init = jax.jit(functools.partial(ppo.init, config))
    return loop.run(
      chunk,
      init(jax.random.key(0)),
      checkpointer=saver,
      writer=writer,
      num_updates=6,
      chunk_size=2,
      steps_per_update=config.steps_per_update,
      checkpoint_every=1,
    )


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path):
  whole = run(tmp_path / "whole")
  with pytest.raises(Stopped):
    run(tmp_path / "parts", stop_at=3)
  parts = run(tmp_path / "parts")
  for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
    if jax.dtypes.issubdtype(b.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    # A GPU may add numbers in another order when it runs a program again.
    np.testing.assert_allclose(
      np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-6
    )
