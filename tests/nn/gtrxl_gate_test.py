"""GTrXL's gate, beside its formula in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.nn import gtrxl_gate


def _problem(width=3, dtype="float32", **options):
  gate = gtrxl_gate.GTrXLGate(dtype=dtype, **options)
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 2, 4, width))
  return gate, gate.init(jax.random.key(0), x, y), x, y


def test_formula(x64):
  del x64
  gate, variables, x, y = _problem()
  variables = jax.tree.map(
    lambda leaf: np.random.default_rng(1).normal(size=leaf.shape), variables
  )
  params = variables["params"]

  def sigmoid(v):
    return 1 / (1 + np.exp(-v))

  out = np.maximum(y, 0) @ params["output"]["kernel"]
  stream = x @ params["stream"]["kernel"]
  r = sigmoid(out[..., :3] + stream[..., :3])
  z = sigmoid(out[..., 3:6] + stream[..., 3:] - params["bias"])
  h = np.tanh(out[..., 6:] + (r * x) @ params["kept"]["kernel"])
  expected = (1 - z) * x + z * h
  # Rounding of a few float64 operations.
  np.testing.assert_allclose(
    gate.apply(variables, x, y), expected, rtol=1e-12, atol=1e-14
  )


def test_a_large_bias_passes_the_stream_on():
  gate, variables, x, y = _problem(bias=20.0)
  np.testing.assert_array_equal(variables["params"]["bias"], 20)
  # sigmoid(-20) is 2e-9, times numbers of about 3.
  np.testing.assert_allclose(gate.apply(variables, x, y), x, atol=1e-6)


def test_the_stream_keeps_its_dtype():
  gate, variables, x, y = _problem(dtype="bfloat16")
  y = jnp.asarray(y, jnp.bfloat16)
  for dtype in (jnp.float32, jnp.bfloat16):
    got = gate.apply(variables, jnp.asarray(x, dtype), y)
    assert got.dtype == dtype
    wide = gtrxl_gate.GTrXLGate().apply(variables, x, y.astype(jnp.float32))
    # Operands of products are rounded to 8 bits.
    np.testing.assert_allclose(np.asarray(got, "f"), wide, atol=3e-2)


def test_shapes_must_agree():
  gate, variables, x, y = _problem()
  with pytest.raises(ValueError, match="y: got shape .*, expected .*that of x"):
    gate.apply(variables, x, y[:1])
