"""GTrXL's gate, beside its formula in NumPy, and its layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.nn import gtrxl_gate


def _problem(width=3, dtype="float32", **options):
  gate = gtrxl_gate.GTrXLGate(dtype=dtype, **options)
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 2, 4, width))
  return gate, jax.jit(gate.init)(jax.random.key(0), x, y), x, y


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
    jax.jit(gate.apply)(variables, x, y), expected, rtol=1e-12, atol=1e-14
  )


def test_a_large_bias_passes_the_stream_on():
  gate, variables, x, y = _problem(bias=20.0)
  np.testing.assert_array_equal(variables["params"]["bias"], 20)
  # sigmoid(-20) is 2e-9, times numbers of about 3.
  np.testing.assert_allclose(jax.jit(gate.apply)(variables, x, y), x, atol=1e-6)


def test_the_stream_keeps_its_dtype():
  gate, variables, x, y = _problem(dtype="bfloat16")
  y = jnp.asarray(y, jnp.bfloat16)
  for dtype in (jnp.float32, jnp.bfloat16):
    got = jax.jit(gate.apply)(variables, jnp.asarray(x, dtype), y)
    assert got.dtype == dtype
    apply = jax.jit(gtrxl_gate.GTrXLGate().apply)
    wide = apply(variables, x, y.astype(jnp.float32))
    # Operands of products are rounded to 8 bits.
    np.testing.assert_allclose(np.asarray(got, "f"), wide, atol=3e-2)


def test_shapes_must_agree():
  gate, variables, x, y = _problem()
  with pytest.raises(ValueError, match="y: got shape .*, expected .*that of x"):
    gate.apply(variables, x, y[:1])


@functools.cache
def _fresh_stack():
  model = nn.SequenceModel(nn.StackConfig.gtrxl(8, 2, heads=2, window=3))
  x = jax.random.normal(jax.random.key(1), (2, 7, 8))
  return model, jax.jit(model.init)(jax.random.key(0), x), x


def test_the_preset_is_the_form_of_the_paper():
  stack = nn.StackConfig.gtrxl(8, 3, heads=2, window=5, remat=True)
  options = {"heads": 2, "window": 5, "positions": "relative"}
  assert stack == nn.StackConfig(
    "attention",
    options,
    d_model=8,
    num_layers=3,
    activation="none",
    gate="gru",
    feedforward="relu",
    final_norm=False,
    remat=True,
  )
  wide = nn.StackConfig.gtrxl(8, mixer_options={"d_head": 6, "window": 2})
  assert (wide.mixer_config.d_head, wide.mixer_config.window) == (6, 2)
  _, variables, _ = _fresh_stack()
  layer = variables["params"]["layers_0"]
  assert set(layer) == {
    *("norm", "mixer", "gate"),
    *("feedforward_norm", "feedforward", "feedforward_gate"),
  }
  assert "final_norm" not in variables["params"]


def test_a_fresh_gate_keeps_its_input_within_15_percent():
  # Of a residual stream of unit size, and of a smaller one.
  for size in (1.0, 0.3):
    x = size * jax.random.normal(jax.random.key(1), (400, 32))
    y = jax.random.normal(jax.random.key(2), x.shape)
    gate = gtrxl_gate.GTrXLGate()
    variables = jax.jit(gate.init)(jax.random.key(0), x, y)
    out = jax.jit(gate.apply)(variables, x, y)
    kept = jnp.sum(out * x) / jnp.sum(x * x)
    assert 0.85 < kept < 0.9


@pytest.mark.slow
def test_steps_and_episodes_of_the_preset_are_those_of_whole_rows():
  model, variables, x = _fresh_stack()
  # An end inside the window of the elements behind it.
  reset = jnp.zeros((2, 7), bool).at[0, 5].set(True)
  y, _ = model.apply(variables, x, None, reset)
  last, _ = model.apply(variables, x[:1, 5:])
  np.testing.assert_allclose(y[:1, 5:], last, rtol=1e-5, atol=1e-6)
  states = model.initial_state((2,))
  step = jax.jit(lambda *given: model.apply(variables, *given, method="step"))
  for t in range(7):
    y_t, states = step(x[:, t], states, reset[:, t])
    np.testing.assert_allclose(y_t, y[:, t], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_gradients_reach_all_of_a_fresh_preset():
  model, variables, x = _fresh_stack()

  def loss(variables, x):
    return jnp.sum(model.apply(variables, x)[0][:, -1] ** 2)

  # One program: the other tests pay for two more.
  of_params, of_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables, x)
  for leaf in jax.tree.leaves(of_params):
    assert np.any(leaf)
  # As far back as two windows of three; but a fresh network is nearly one
  # without memory, so that the last element has the largest part.
  size = np.abs(of_x).max(axis=(0, 2))
  assert np.all(size > 0)
  assert size[-1] > 3 * size[:-1].max()
