"""The page on split attention: its example runs, its table is complete."""

import pathlib
import re

import jax
import numpy as np
import pytest

from benchmarks import sequence_parallel

pytestmark = pytest.mark.devices

PAGE = (
  pathlib.Path(__file__).resolve().parents[2]
  / "docs"
  / "sequence_parallel_attention.md"
)


@pytest.mark.slow
def test_the_examples_run():
  blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
  assert len(blocks) == 2
  names = {}
  exec(compile("\n".join(blocks), PAGE.name, "exec"), names)
  apply = jax.jit(names["attention"].apply, static_argnums=0)
  want, state = apply(names["config"], names["params"], names["x"])
  # float32 sums over up to 33 elements, in another order.
  np.testing.assert_allclose(names["y"], want, rtol=1e-4, atol=1e-5)
  assert jax.tree.structure(state) == jax.tree.structure(names["state"])
  want, _ = jax.jit(names["stack"].apply)(names["variables"], names["x"])
  np.testing.assert_allclose(names["y_hybrid"], want, rtol=1e-4, atol=1e-4)


def test_the_table_has_all_schemes():
  for name in sequence_parallel.SCHEMES:
    assert f"\n| {name} |" in PAGE.read_text()
