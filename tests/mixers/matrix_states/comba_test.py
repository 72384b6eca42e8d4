"""Comba against flash-linear-attention (float64)."""

import jax
import numpy as np

from jaxseq.mixers.matrix_states import comba
from jaxseq.mixers.matrix_states import gated_deltanet
from tests.mixers import golden_cases
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close

_NAMES = {
  "inner_decay": "decay",
  "D": "D",
  "A_log": "A_log",
  "dt_bias": "dt_bias",
  "W_a": "a_proj.weight",
  "W_b": "b_proj.weight",
  "W_g": "g_proj.weight",
  "norm_scale": "o_norm.weight",
  "W_o": "o_proj.weight",
}


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  qkv = [data[f"{prefix}{name}_proj.weight"].T for name in "qkv"]
  taps = [data[f"{prefix}{name}_conv1d.weight"][:, 0].T for name in "qkv"]
  params = {ours: data[prefix + name].T for ours, name in _NAMES.items()}
  return params | {
    "W_qkv": np.concatenate(qkv, axis=-1),
    "conv_weight": np.concatenate(taps, axis=-1),
  }


def test_golden_layer(x64, golden):
  del x64
  data = golden("comba/layer_comba")
  width = int(data["cfg/head_dim"])
  config = comba.Config(
    int(data["cfg/hidden_size"]),
    heads=int(data["cfg/num_heads"]),
    d_key=width,
    d_value=int(width * data["cfg/expand_v"]),
    eps=float(data["cfg/norm_eps"]),
  )
  params, expected = (
    parameters(data, prefix) for prefix in ("param/", "grad_param/")
  )
  state = golden_cases.check_layer(comba, config, params, data, expected)
  close(state.S, data["state"], FORWARD)
  window = [data[f"conv_state_{name}"] for name in "qkv"]
  close(state.conv, np.concatenate(window, axis=-1), FORWARD)


def test_without_decay_and_correction_it_is_deltanet(x64):
  """What is read with the key, before a decay of nothing, is a delta rule."""
  del x64
  config = comba.Config(6, heads=2, correction=0.0, gate="none")
  params = comba.init(jax.random.key(0), config)
  x = jax.random.normal(jax.random.key(1), (2, 9, 6), np.float64)
  # A rate of exp(-1000) is 0.
  y, _ = comba.apply(config, params | {"A_log": np.full(2, -1000.0)}, x)
  plain = gated_deltanet.Config(6, heads=2, decay="none", gate="none")
  shared = "W_qkv", "conv_weight", "W_b", "norm_scale", "W_o"
  params = {name: params[name] for name in shared}
  expected, _ = gated_deltanet.apply(plain, params, x)
  # Reads of length 1 differ by the eps of lengths.
  np.testing.assert_allclose(y, expected, rtol=0, atol=1e-3)
