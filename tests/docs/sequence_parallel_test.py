import pathlib
import re

import chex
import jax
import jax.numpy as jnp
import pytest

_PAGE = (
  pathlib.Path(__file__).resolve().parents[2] / "docs" / "sequence_parallel.md"
)


@pytest.mark.slow
@pytest.mark.devices
def test_the_page_runs_and_means_what_it_says():
  blocks = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
  assert blocks
  names = {}
  exec(compile("\n".join(blocks), str(_PAGE), "exec"), names)
  x, reset, params = names["x"], names["reset"], names["params"]
  module, config = names["s5"], names["config"]
  y, state = jax.jit(module.apply, static_argnums=0)(
    config, params, x, None, reset
  )
  # float32 sums of 64 elements in another order.
  close = {"rtol": 1e-4, "atol": 1e-5}
  chex.assert_trees_all_close((names["y"], names["state"]), (y, state), **close)

  @jax.jit
  @jax.grad
  def gradients(variables):
    y, _ = names["model"].apply(variables, x, None, reset)
    return jnp.sum(y**2)

  # Sums over all elements.
  want = gradients(names["variables"])
  chex.assert_trees_all_close(names["gradients"], want, rtol=1e-3, atol=1e-3)
