"""The S5 benchmark compares equals, and its memory claim holds."""

import chex
import jax
import pytest

from benchmarks import s5


@pytest.mark.parametrize("wrap", [lambda f: f, s5.gradient])
def test_the_baseline_is_the_same_layer(wrap):
  arguments = s5.problem(time=37, rows=2, width=6, states=4)
  # float32 over 37 elements, and gradients summed over all of them.
  chex.assert_trees_all_close(
    jax.jit(wrap(s5.ours))(*arguments),
    jax.jit(wrap(s5.baseline))(*arguments),
    rtol=1e-4,
    atol=1e-3,
  )


@pytest.mark.slow
def test_gradient_takes_a_sixth_of_the_temporary_memory():
  arguments = s5.problem(time=1024, rows=8, width=128, states=64)

  def temporary(layer):
    compiled = jax.jit(s5.gradient(layer)).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary(s5.ours) * 6 <= temporary(s5.baseline)
