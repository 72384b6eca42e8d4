"""Gated DeltaNet and its relatives against flash-linear-attention (float64)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import gated_deltanet
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close

_SIDE_BY_SIDE = ("q", "k", "v")
# The other names of the original; its linear weights are transposed.
_NAMES = {
  "A_log": "A_log",
  "dt_bias": "dt_bias",
  "W_a": ("a_proj.weight", "f_proj.0.weight"),
  "W_a2": "f_proj.1.weight",
  "W_b": "b_proj.weight",
  "W_g": ("g_proj.weight", "g_proj.0.weight"),
  "W_g2": "g_proj.1.weight",
  "W_g2_bias": "g_proj.1.bias",
  "norm_scale": "o_norm.weight",
  "W_o": "o_proj.weight",
}


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""

  def joined(form, take):
    names = (f"{prefix}{form.format(name)}" for name in _SIDE_BY_SIDE)
    return np.concatenate([take(data[name]) for name in names])

  params = {
    "W_qkv": joined("{}_proj.weight", lambda x: x).T,
    "conv_weight": joined("{}_conv1d.weight", lambda x: x[:, 0]).T,
  }
  for name, originals in _NAMES.items():
    for original in [originals] if isinstance(originals, str) else originals:
      if prefix + original in data:
        value = data[prefix + original]
        is_matrix = original.endswith("weight") and value.ndim == 2
        params[name] = value.T if is_matrix else value
  return params


def configuration(name, data):
  width, heads = int(data["cfg/hidden_size"]), int(data["cfg/num_heads"])
  options = {"heads": heads, "eps": float(data["cfg/norm_eps"])}
  if name == "layer_deltanet":
    options |= {"decay": "none", "gate": "none"}
  elif name == "layer_gated_deltanet":
    key = int(data["cfg/head_dim"])
    value = int(key * data["cfg/expand_v"])
    options |= {"d_key": key, "d_value": value}
  else:
    rank = int(data["cfg/head_dim"])
    options |= {"decay": "channel", "decay_rank": rank}
    options |= {"gate": "sigmoid", "gate_rank": rank}
  return gated_deltanet.Config(width, **options)


@pytest.mark.parametrize(
  "name",
  [
    pytest.param("layer_deltanet", marks=pytest.mark.slow),
    pytest.param("layer_gated_deltanet", marks=pytest.mark.slow),
    "layer_kda",
  ],
)
def test_golden_layer(x64, golden, name):
  """Outputs, states and the gradients of sum(y * w); then step by step."""
  del x64
  data = golden(f"delta/{name}")
  config = configuration(name, data)
  params = parameters(data, "param/")

  def loss(params, x):
    y, state = gated_deltanet.apply(config, params, x)
    return jnp.sum(y * data["w"]), (y, state)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, (y, state)), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y"], FORWARD)
  close(state.S, data["state"], FORWARD)
  window = [data[f"conv_state_{name}"] for name in _SIDE_BY_SIDE]
  close(state.conv, np.concatenate(window, axis=-1), FORWARD)
  close(grad_x, data["grad_x"], GRADIENT)
  expected = parameters(data, "grad_param/")
  assert grads.keys() == expected.keys()
  for key in grads:
    close(grads[key], expected[key], GRADIENT)

  step = jax.jit(functools.partial(gated_deltanet.step, config, params))
  state = gated_deltanet.initial_state(config, (2,), jnp.float64)
  for t in range(data["x"].shape[1]):
    y, state = step(data["x"][:, t], state)
    close(y, data["y"][:, t], FORWARD)


def test_parity_needs_negative_eigenvalues():
  """One write of beta 2 at a fixed key turns the sign of what stands there."""
  config = gated_deltanet.Config(
    1, heads=1, d_conv=1, decay="none", gate="none", negative_eigenvalues=True
  )
  params = gated_deltanet.init(jax.random.key(0), config)
  # Keys and queries of one sign, values of nothing, beta of 2 for x = 1 and of
  # 0 for x = -1: S -> -S at each 1.
  params |= {
    "W_qkv": jnp.array([[0.0, 0.0, 0.0]]),
    "W_b": jnp.array([[40.0]]),
  }
  bits = np.array([1, -1, 1, 1, -1], np.float32)[None, :, None]
  params["W_qkv"] = jnp.array([[1.0, 1.0, 0.0]])
  state = gated_deltanet.initial_state(config, (1,))
  state = state._replace(S=jnp.ones_like(state.S))
  signs = []
  step = jax.jit(gated_deltanet.step, static_argnums=0)
  for t in range(5):
    _, state = step(config, params, bits[:, t], state)
    signs.append(float(state.S[0, 0, 0, 0]))
  # Keys are of length 1 but for the eps of the norm.
  np.testing.assert_allclose(signs, [-1, -1, 1, -1, -1], atol=1e-4)
