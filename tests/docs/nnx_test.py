"""The page on NNX and Equinox runs and means what it says."""

import pathlib
import re

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers

_PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "nnx.md"


@pytest.mark.slow
def test_the_page_runs_and_means_what_it_says(tmp_path, monkeypatch):
  pytest.importorskip("equinox", reason="needs the extra equinox")
  monkeypatch.chdir(tmp_path)
  blocks = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
  names = {}
  exec(compile("\n".join(blocks), str(_PAGE), "exec"), names)
  # What the module computes is what the pure functions compute.
  config, x, reset = names["config"], names["x"], names["reset"]
  params = mixers.get("s5").init(nnx.Rngs(0).params(), config)
  y, final = mixers.get("s5").apply(config, params, x, None, reset)
  # float32, compiled and not.
  np.testing.assert_allclose(names["y"], y, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(names["final"], final, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(names["state"], final, rtol=1e-4, atol=1e-4)
  leaves = jax.tree.leaves(names["gradients"])
  assert len(leaves) == len(params)
  assert all(jnp.abs(leaf).max() > 0 for leaf in leaves)
  assert names["outputs"].shape == (128, 4, 64)
  assert np.isfinite(names["value"])
