"""The benchmark of the selective scan compares equals."""

import chex
import jax

from benchmarks import selective


def test_the_baseline_is_the_same_scan():
  arguments = selective.problem(time=37, rows=2, width=6, states=4)
  # float32 over 37 elements, and gradients summed over all of them.
  chex.assert_trees_all_close(
    jax.jit(selective.gradient(selective.ours))(*arguments),
    jax.jit(selective.gradient(selective.baseline))(*arguments),
    rtol=1e-4,
    atol=1e-3,
  )
