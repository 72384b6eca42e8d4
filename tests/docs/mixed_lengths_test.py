"""The page on mixed lengths runs, and trains on what it says."""

import pathlib
import re

import jax
import numpy as np
import pytest

from jaxseq.planner import rows

pytestmark = pytest.mark.devices

_PAGE = (
  pathlib.Path(__file__).resolve().parents[2] / "docs" / "mixed_lengths.md"
)


@pytest.mark.slow
def test_the_example_runs_and_does_not_depend_on_the_plan():
  blocks = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
  names = {}
  exec(compile("\n".join(blocks), str(_PAGE), "exec"), names)
  assert {row.degree for row in names["assignment"].rows} > {1}
  # The same documents as one stream over all devices.
  stream = names["planner"].plan(
    names["lengths"],
    names["num_devices"],
    names["cost_model"],
    names["capacity"],
    method="stream",
  )
  batch = rows.lay_out(
    stream, names["documents"], names["chunks"], uniform=True
  )
  loss, gradients = names["loss_and_grad"](names["params"], batch)
  # float32, summed in another order.
  np.testing.assert_allclose(names["loss"], loss, rtol=1e-5)
  for one, other in zip(
    jax.tree.leaves(names["gradients"]), jax.tree.leaves(gradients)
  ):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
