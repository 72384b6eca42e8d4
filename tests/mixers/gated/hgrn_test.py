"""HGRN against flash-linear-attention (float64)."""

import numpy as np
import pytest

from jaxseq.mixers.gated import hgrn
from tests.mixers import golden_cases
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close

_NAMES = {
  "W_i": "i_proj.weight",
  "W_f": "f_proj.weight",
  "W_g": "g_proj.weight",
  "norm_scale": "g_norm.weight",
  "W_o": "o_proj.weight",
}


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  params = {ours: data[prefix + name].T for ours, name in _NAMES.items()}
  if f"{prefix}i_conv1d.weight" in data:
    taps = [data[f"{prefix}{name}_conv1d.weight"][:, 0].T for name in "if"]
    params["conv_weight"] = np.concatenate(taps, axis=-1)
  return params


@pytest.mark.parametrize(
  "name",
  [
    pytest.param("layer_hgrn", marks=pytest.mark.slow),
    "layer_hgrn_lower_bound",
  ],
)
def test_golden_layer(x64, golden, name):
  del x64
  data = golden(f"hgrn/{name}")
  convolved = "conv_state_i" in data
  width = int(data["cfg/hidden_size"])
  config = hgrn.Config(
    width,
    d_hidden=width * int(data["cfg/expand_ratio"]),
    d_conv=4 if convolved else 1,
    eps=float(data["cfg/norm_eps"]),
  )
  params, expected = (
    parameters(data, prefix) for prefix in ("param/", "grad_param/")
  )
  options = {"lower_bound": data.get("call/lower_bound")}
  state = golden_cases.check_layer(
    hgrn, config, params, data, expected, **options
  )
  close(state.h, data["state"], FORWARD)
  if convolved:
    window = [data[f"conv_state_{name}"] for name in "if"]
    close(state.conv, np.concatenate(window, axis=-1), FORWARD)
