"""What is run, and how often."""

import jax.numpy as jnp

from benchmarks import timing


def test_limits_of_memory_and_time():
  x = jnp.ones((64, 64))

  def product(x):
    return jnp.sum((x @ x) @ x)

  small, slow = timing.interleaved([(product, (x,))] * 2, 2, time_limit=0.0)
  assert small.wall > 0
  assert slow.wall > 0
  (large,) = timing.interleaved([(product, (x,))], 1, memory_limit=-1)
  assert large.wall is None
  assert large.compile > 0
