"""RWKV-6's time mix against RWKV-LM and flash-linear-attention (float64)."""

import jax
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import rwkv6
from tests.mixers import golden_cases
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close

_MATRICES = {
  "W_r": ("receptance.weight", "r_proj.linear.weight"),
  "W_k": ("key.weight", "k_proj.linear.weight"),
  "W_v": ("value.weight", "v_proj.linear.weight"),
  "W_g": ("gate.weight", "g_proj.linear.weight"),
  "W_o": ("output.weight", "o_proj.weight"),
}
_FLA_ORDER = "rwkvg"


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  data = golden_cases.subtree(data, prefix)
  params = {
    ours: data[name].T
    for ours, names in _MATRICES.items()
    for name in names
    if name in data
  }
  if "time_maa_x" in data:
    mu = [data[f"time_maa_{name}"][0, 0] for name in "wkvrg"]
    return params | {
      "mu_x": data["time_maa_x"][0, 0],
      "mu": np.stack(mu),
      "M1": data["time_maa_w1"],
      "M2": data["time_maa_w2"],
      "w0": data["time_decay"][0, 0],
      "w1": data["time_decay_w1"],
      "w2": data["time_decay_w2"],
      "u": data["time_faaaa"],
      "norm_scale": data["ln_x.weight"],
      "norm_bias": data["ln_x.bias"],
    }
  places = [_FLA_ORDER.index(name) for name in "wkvrg"]
  width = data["x_bias"].shape[-1]
  # Ranks side by side, of all mixtures.
  first = data["x_proj.0.linear.weight"].T.reshape(width, 5, -1)
  second = data["x_proj.2.weight"].T.reshape(5, -1, width)
  return params | {
    "mu_x": data["x_proj.0.mu"],
    "mu": data["x_bias"][places],
    "M1": first[:, places].reshape(width, -1),
    "M2": second[places],
    "w0": data["w_proj.linear.lora.2.bias"],
    "w1": data["w_proj.linear.lora.0.weight"].T,
    "w2": data["w_proj.linear.lora.2.weight"].T,
    "u": data["bonus"],
    "norm_scale": data["g_norm.weight"],
    "norm_bias": data["g_norm.bias"],
  }


@pytest.mark.parametrize(
  "name",
  ["rwkv6_time_mix", pytest.param("layer_rwkv6_fla", marks=pytest.mark.slow)],
)
def test_golden_layer(x64, golden, name):
  del x64
  data = golden(f"rwkv/{name}")
  params, expected = (
    parameters(data, prefix) for prefix in ("param/", "grad_param/")
  )
  heads, d_key = params["u"].shape
  width = data["x"].shape[-1]
  config = rwkv6.Config(
    width,
    head_size=width // heads,
    d_key=d_key,
    mix_rank=params["M2"].shape[1],
    decay_rank=params["w1"].shape[1],
    eps=float(data["eps"]) if "eps" in data else float(data["cfg/norm_eps"]),
  )
  state = golden_cases.check_layer(rwkv6, config, params, data, expected)
  close(state.S, data["state"], FORWARD)
  if "more/x" in data:
    close(state.last, data["shift_state"], FORWARD)
    y, state = rwkv6.apply(config, params, data["more/x"], state)
    close(y, data["more/y"], FORWARD)
    close(state.S, data["more/state"], FORWARD)


def test_initial_parameters_are_those_of_the_original():
  """By its formulas, at a few channels."""
  config = rwkv6.Config(8, head_size=4, layer=1, num_layers=3)
  params = rwkv6.init(jax.random.key(0), config)
  # One layer of three: p = 1 / 2, n = 2 / 3.
  np.testing.assert_allclose(params["mu_x"][4], 1 - 0.5 ** (2 / 3), rtol=1e-6)
  np.testing.assert_allclose(
    params["mu"][:, 4] - params["mu_x"][4],
    [
      0,
      0,
      -0.15,
      0.5 ** (2 / 3) - 0.5 ** (1 / 3),
      0.5 ** (2 / 3) - 0.5 ** (1 / 3),
    ],
    rtol=1e-5,
    atol=1e-6,
  )
  np.testing.assert_allclose(params["w0"][::7], [-6, -1], rtol=1e-6)
  np.testing.assert_allclose(params["u"][0, :2], [0.5, 3 / 7 + 0.1], rtol=1e-6)
