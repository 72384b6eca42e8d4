"""The benchmark of SSD compares equals."""

import chex
import jax

from benchmarks import ssd


def test_the_baseline_is_the_same_scan():
  arguments = ssd.problem(time=37, rows=2, heads=3, width=4, states=5)
  # float32 over 37 elements, and gradients summed over all of them.
  chex.assert_trees_all_close(
    jax.jit(ssd.gradient(ssd.ours))(*arguments),
    jax.jit(ssd.gradient(ssd.baseline))(*arguments),
    rtol=1e-4,
    atol=1e-3,
  )
