"""Gated DeltaNet-2 against flash-linear-attention (float64)."""

import numpy as np

from jaxseq.mixers.matrix_states import gdn2
from tests.mixers import golden_cases
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close

_NAMES = {
  "A_log": "A_log",
  "dt_bias": "dt_bias",
  "W_a": "f_proj.0.weight",
  "W_a2": "f_proj.1.weight",
  "W_b": "b_proj.weight",
  "W_w": "w_proj.weight",
  "W_g": "g_proj.0.weight",
  "W_g2": "g_proj.1.weight",
  "W_g2_bias": "g_proj.1.bias",
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
  data = golden("delta/layer_gdn2")
  width = int(data["cfg/head_dim"])
  config = gdn2.Config(
    int(data["cfg/hidden_size"]),
    heads=int(data["cfg/num_heads"]),
    d_key=width,
    d_value=width,
    eps=float(data["cfg/norm_eps"]),
  )
  params, expected = (
    parameters(data, prefix) for prefix in ("param/", "grad_param/")
  )
  state = golden_cases.check_layer(gdn2, config, params, data, expected)
  close(state.S, data["state"], FORWARD)
  window = [data[f"conv_state_{name}"] for name in "qkv"]
  close(state.conv, np.concatenate(window, axis=-1), FORWARD)
