import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn

_GRU = mixers.make_config("gru", d_model=4)


def _config(**options):
  options = {"norm": "none", "activation": "full_glu"} | options
  return nn.StackConfig("gru", d_model=4, **options)


def _x(*shape):
  return jax.random.normal(jax.random.key(5), (*shape, 4)) + 0.5


@functools.cache
def _layer(**options):
  layer = nn.SequenceLayer(_config(**options))
  variables = jax.jit(layer.init)(jax.random.key(0), _x(2, 3))
  return layer, variables


@functools.partial(jax.jit, static_argnums=0, static_argnames="train")
def _run(layer, variables, x, *, train=False, rngs=None):
  """The layer's outputs and, where it trains, its new batch statistics."""
  if not train:
    return layer.apply(variables, x)[0]
  (y, _), changed = layer.apply(
    variables, x, train=True, rngs=rngs, mutable=["batch_stats"]
  )
  return y, changed


@jax.jit
def _gru(variables, x):
  y, _ = mixers.get("gru").apply(_GRU, variables["params"]["mixer"], x)
  return y


def test_none_is_the_mixer_and_a_residual():
  layer, variables = _layer(activation="none")
  x = _x(2, 3)
  # float32; fused and not.
  close = {"rtol": 1e-5, "atol": 1e-6}
  y = _run(layer, variables, x)
  np.testing.assert_allclose(y, x + _gru(variables, x), **close)
  layer = nn.SequenceLayer(_config(activation="none", residual=False))
  y = _run(layer, variables, x)
  np.testing.assert_allclose(y, _gru(variables, x), **close)


@pytest.mark.parametrize(
  ("kind", "prenorm"),
  [
    ("layer", True),
    ("rms", True),
    ("batch", True),
    ("layer", False),
    pytest.param("rms", False, marks=pytest.mark.slow),
    pytest.param("batch", False, marks=pytest.mark.slow),
  ],
)
def test_norms(kind, prenorm):
  layer, variables = _layer(norm=kind, prenorm=prenorm, activation="none")
  x = _x(2, 3)

  def norm(x):
    match kind:
      case "layer":
        mean = x.mean(-1, keepdims=True)
        return (x - mean) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
      case "rms":
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
    return x / jnp.sqrt(1 + 1e-5)  # The running statistics at the start.

  y = _run(layer, variables, x)
  if prenorm:
    expected = x + _gru(variables, norm(x))
  else:
    expected = norm(x + _gru(variables, x))
  # float32, other formula of the variance.
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_gtrxl_norm_has_its_own_parameters_unless_shared():
  _, variables = _layer(norm="rms", gtrxl_norm=True)
  assert set(variables["params"]) == {
    "norm",
    "mixer_norm",
    "mixer",
    "out1",
    "out2",
  }
  shared, variables = _layer(norm="rms", gtrxl_norm=True, shared_norm=True)
  assert "mixer_norm" not in variables["params"]
  apart = nn.SequenceLayer(_config(norm="rms", gtrxl_norm=True))
  params = variables["params"] | {
    "norm": {"scale": jnp.asarray([1.0, 2.0, 3.0, 4.0])}
  }
  y = _run(shared, {"params": params}, _x(2, 3))
  params = params | {"mixer_norm": params["norm"]}
  expected = _run(apart, {"params": params}, _x(2, 3))
  np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_gtrxl_norm_alone_is_a_layer_norm():
  _, variables = _layer(gtrxl_norm=True)
  assert set(variables["params"]["mixer_norm"]) == {"scale", "bias"}
  assert "norm" not in variables["params"]


def test_batch_norm_sees_batch_and_time():
  layer, variables = _layer(norm="batch", activation="none")
  x = _x(3, 5)
  y, changed = _run(layer, variables, x, train=True)
  normed = (x - x.mean((0, 1))) / jnp.sqrt(x.var((0, 1)) + 1e-5)
  # float32, other formula of the variance.
  np.testing.assert_allclose(
    y, x + _gru(variables, normed), rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(
    changed["batch_stats"]["norm"]["mean"], 0.05 * x.mean((0, 1)), rtol=1e-4
  )


@pytest.mark.parametrize(
  "activation",
  [
    "half_glu2",
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("none", "gelu")),
  ],
)
def test_dropout_mask_is_shared_over_time(activation):
  layer, variables = _layer(dropout=0.5, residual=False, activation=activation)
  x = jnp.broadcast_to(_x(1, 1), (64, 7, 4)) + _x(64, 7)
  rngs = {"dropout": jax.random.key(1)}
  y, _ = _run(layer, variables, x, train=True, rngs=rngs)
  dropped = y == 0
  np.testing.assert_array_equal(dropped, dropped[:, :1].repeat(7, 1))
  # 256 fair coins: five standard deviations are 0.16.
  assert abs(dropped[:, 0].mean() - 0.5) < 0.16
  assert not jnp.any(_run(layer, variables, x) == 0)


def test_step_equals_sequence():
  layer, variables = _layer(norm="layer", gtrxl_norm=True, dropout=0.3)
  x = _x(2, 3)
  y, final = jax.jit(layer.apply)(variables, x)
  step = jax.jit(functools.partial(layer.apply, method="step"))
  state = layer.initial_state((2,))
  for t in range(3):
    y_t, state = step(variables, x[:, t], state)
    np.testing.assert_allclose(y_t, y[:, t], rtol=1e-5, atol=1e-5)
  chex.assert_trees_all_close(state, final, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ("norm", "activation"),
  [
    ("layer", "full_glu"),
    pytest.param("rms", "half_glu1", marks=pytest.mark.slow),
    pytest.param("batch", "gelu", marks=pytest.mark.slow),
  ],
)
def test_bfloat16(norm, activation):
  options = {"norm": norm, "activation": activation, "gtrxl_norm": True}
  _, variables = _layer(**options)
  config = _config(dtype="bfloat16", **options)
  layer = nn.SequenceLayer(config)
  variables_low = jax.jit(layer.init)(jax.random.key(0), _x(2, 9))
  chex.assert_trees_all_equal(variables, variables_low)
  y, state = jax.jit(layer.apply)(variables, _x(2, 9))
  assert y.dtype == jnp.bfloat16
  assert state.h.dtype == jnp.float32
  full, _ = _layer(**options)
  expected = _run(full, variables, _x(2, 9))
  # A few roundings of 4e-3 each.
  difference = jnp.abs(y.astype(jnp.float32) - expected).max()
  assert difference < 2e-2 * jnp.abs(expected).max()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"norm": "group"}, "norm: got 'group', expected one of 'none', 'layer'"),
    ({"activation": "relu"}, "activation: got 'relu', expected one of 'full_g"),
    ({"dropout": 1.0}, "dropout: got 1.0, expected a rate, 0 <= rate < 1"),
    ({"dtype": "int8"}, "dtype: got 'int8', expected one of 'float32'"),
    ({"dtype": jnp.int8}, "dtype: got 'int8', expected one of 'float32'"),
    ({"dtype": 8}, "dtype: got 8, expected one of 'float32'"),
    ({"shared_norm": True, "norm": "rms"}, "shared_norm: got True, expected F"),
    ({"shared_norm": True, "gtrxl_norm": True}, "shared_norm: got True, expec"),
  ],
)
def test_bad_config(options, message):
  with pytest.raises(ValueError, match=message):
    _config(**options)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.dtype(jnp.bfloat16)])
def test_a_dtype_is_its_name(dtype):
  assert _config(dtype=dtype) == _config(dtype="bfloat16")


def test_bad_width():
  layer, variables = _layer(norm="layer")
  with pytest.raises(ValueError, match=r"x: got shape \(2, 3, 5\), expected 4"):
    layer.apply(variables, jnp.ones((2, 3, 5)))
