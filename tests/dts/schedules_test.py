"""Schedules, against the published code, and their ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.dts import schedules


def test_schedules_equal_the_reference(x64, golden):
  arrays = golden("dts/schedules")
  total, cycles = int(arrays["n_steps"]), int(arrays["n_cycle"])
  ratio = float(arrays["ratio"])

  @jax.jit
  def run(step):
    results = {
      f"cycle_{shape}": schedules.anneal(
        step, total, "cyclical", shape=shape, cycles=cycles, ratio=ratio
      )
      for shape in schedules.SHAPES
    }
    return results | {
      "mono_linear": schedules.anneal(step, total, "monotonic"),
      "dann_lambda": schedules.dann_lambda(step, total),
      "codats_lambda": schedules.dann_lambda(step, total + 1),
      "none": schedules.anneal(step, total, "none"),
      # The same by the part of the training that is done.
      "progress": schedules.anneal(step / total, 1.0, "monotonic"),
      "ramp": schedules.ramp(step, 50, 150),
    }

  got = run(jnp.arange(total))
  expected = {key: arrays[key] for key in arrays if "_" in key}
  for key in ("n_steps", "n_cycle"):
    expected.pop(key)
  expected |= {
    "none": np.ones(total),
    "progress": arrays["mono_linear"],
    "ramp": np.clip((np.arange(total) - 50) / 100, 0, 1),
  }
  assert set(got) == set(expected)
  for key, value in expected.items():
    # The reference adds up the steps of the rise.
    np.testing.assert_allclose(
      got[key], value, rtol=1e-10, atol=1e-12, err_msg=key
    )


def test_what_is_refused():
  with pytest.raises(
    ValueError, match="kind: got .* expected one of 'none', 'monotonic'"
  ):
    schedules.anneal(0, 10, "linear")
  with pytest.raises(
    ValueError, match="shape: got .* expected one of 'linear', 'sigmoid'"
  ):
    schedules.anneal(0, 10, "monotonic", shape="square")
  with pytest.raises(ValueError, match="ratio: got 0.*, .* of at most 1"):
    schedules.anneal(0, 10, "cyclical", ratio=0.0)
  with pytest.raises(
    ValueError, match="cycles: got .* expected an integer of at least 1"
  ):
    schedules.anneal(0, 10, "cyclical", cycles=0)
