"""RWKV-7's time mix against BlinkDL's RWKV-LM (float64), and its layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import rwkv7
from tests.mixers.golden_cases import close

# The tolerances that the golden set gives, relative to the largest value.
FORWARD, GRADIENT = 1e-10, 1e-9

_NAMES = {
  "receptance.weight": "W_r",
  "key.weight": "W_k",
  "value.weight": "W_v",
  "output.weight": "W_o",
  "ln_x.weight": "norm_scale",
  "ln_x.bias": "norm_bias",
}


def parameters(data, prefix, layer):
  """The original's parameters, or their gradients, by our names."""
  params = {}
  for key, value in data.items():
    if not key.startswith(prefix):
      continue
    key = key.removeprefix(prefix)
    if not layer and key in ("v0", "v1", "v2"):
      continue
    value = value.squeeze((0, 1)) if value.ndim == 3 else value
    is_mu = key.startswith("x_")
    name = _NAMES.get(key, f"mu_{key[2:]}" if is_mu else key)
    params[name] = value.T if key.endswith("weight") else value
  return params


def configuration(params, layer, layers, head_size):
  """The configuration whose parameters these are."""
  ranks = {"decay_rank": "w1", "rate_rank": "a1", "gate_rank": "g1"}
  if layer:
    ranks["value_rank"] = "v1"
  return rwkv7.Config(
    params["W_r"].shape[0],
    head_size=head_size,
    layer=layer,
    num_layers=layers,
    **{field: params[name].shape[1] for field, name in ranks.items()},
  )


@pytest.mark.parametrize("layer", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_golden_layer(x64, golden, layer):
  """Outputs, the shared values and all gradients; then step by step."""
  del x64
  data = golden(f"rwkv/rwkv7_time_mix_layer{layer}")
  params = parameters(data, "param/", layer)
  config = configuration(params, layer, 2, int(data["head_size"]))
  shared = {"v_first": data["v_first_in"]} if layer else {}

  def loss(params, x, shared):
    run = rwkv7.apply_shared(config, params, x, None, None, shared)
    y, _, shared = run
    return jnp.sum(y * data["w"]), (y, shared)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))
  (_, (y, after)), grads = gradient(params, data["x"], shared)
  close(y, data["y"], FORWARD)
  close(after["v_first"], data["v_first_out"], FORWARD)
  close(grads[1], data["grad_x"], GRADIENT)
  if layer:
    close(grads[2]["v_first"], data["grad_v_first"], GRADIENT)
  expected = parameters(data, "grad_param/", layer)
  assert grads[0].keys() == expected.keys()
  for key in expected:
    close(grads[0][key], expected[key], GRADIENT)

  step = jax.jit(functools.partial(rwkv7.step_shared, config, params))
  state = rwkv7.initial_state(config, (2,), jnp.float64)
  for t in range(data["x"].shape[1]):
    now = jax.tree.map(lambda v, t=t: v[:, t], shared)
    y, state, _ = step(data["x"][:, t], state, None, now)
    close(y, data["y"][:, t], FORWARD)


@pytest.mark.slow
def test_a_layer_without_shared_values_is_a_first_one(x64):
  del x64
  config = rwkv7.Config(6, layer=1, num_layers=2)
  params = rwkv7.init(jax.random.key(0), config)
  noise = np.random.default_rng(0)
  params = jax.tree.map(lambda p: p + noise.normal(size=p.shape) / 9, params)
  x = noise.normal(size=(2, 4, 6))
  alone, state = rwkv7.apply(config, params, x)
  run = functools.partial(rwkv7.apply_shared, config, params)
  y, same, shared = run(x, None, None, {"other": 1})
  np.testing.assert_array_equal(y, alone)
  jax.tree.map(np.testing.assert_array_equal, same, state)
  assert shared["other"] == 1
  # Its own values change nothing, others do.
  again, _, kept = run(x, None, None, shared)
  np.testing.assert_allclose(again, alone, rtol=1e-12)
  np.testing.assert_array_equal(kept["v_first"], shared["v_first"])
  other, _, _ = run(x, None, None, {"v_first": np.ones_like(x)})
  assert np.abs(other - alone).max() > 1e-3
  with pytest.raises(ValueError, match="shared.*shape"):
    run(x, None, None, {"v_first": np.ones((2, 3, 6))})


def test_initial_values():
  """Of the last of three layers of 128, after the original's formulas."""
  config = rwkv7.Config(128, layer=2, num_layers=3)
  assert (config.width, config.heads) == (64, 2)
  assert config.ranks == {"w": 32, "a": 32, "v": 32, "g": 64}
  params = jax.tree.map(np.asarray, rwkv7.init(jax.random.key(0), config))
  # Channel 127 of 128 is at the end of its head; channel 64 at its start.
  share = 1 - (127 / 128) ** (0.9 / 3)
  np.testing.assert_allclose(params["mu_w"][127], share, rtol=1e-4)
  assert params["mu_r"][0] == 1
  w0 = params["w0"]
  np.testing.assert_allclose(w0[[0, 127]], [-8, 3], rtol=1e-6)
  middle = -5.5 + 6 * (64 / 127) ** 2 - 2.5
  np.testing.assert_allclose(w0[64], middle, rtol=1e-6)
  np.testing.assert_allclose(params["a0"][127], 0.31, rtol=1e-5)
  np.testing.assert_allclose(params["v0"][[0, 127]], [0.93, 0.53], rtol=1e-6)
  np.testing.assert_allclose(params["k_k"][[0, 127]], [0.76, 0.66], rtol=1e-6)
  np.testing.assert_allclose(params["norm_scale"], 1)
  # Rows of length 0.1, orthogonal.
  square = params["w2"] @ params["w2"].T
  np.testing.assert_allclose(square, 0.01 * np.eye(32), atol=1e-6)
  for name, bound in (("W_r", 0.5), ("W_k", 0.05), ("W_v", 0.5)):
    largest = np.abs(params[name]).max()
    assert 0.99 * bound < largest * 128**0.5 <= bound
  assert not params["W_o"].any()
  assert not params["w1"].any()


def test_a_layer_alone_has_the_first_ones_values():
  """There is no layer to count to, so that it counts as the first."""
  params = rwkv7.init(jax.random.key(0), rwkv7.Config(8))
  assert not {"v0", "v1", "v2"} & params.keys()
  linear = np.arange(8) / 7
  np.testing.assert_allclose(params["mu_k"], 1 - (np.arange(8) / 8) ** 0.7)
  # The exponent of the first of many.
  along = (np.arange(8) - 3.5) / 3.5
  expected = -5.5 + 6 * linear + 2.5 * along * np.abs(along)
  np.testing.assert_allclose(params["w0"], expected, rtol=1e-5)
  np.testing.assert_allclose(params["norm_scale"], 1)
