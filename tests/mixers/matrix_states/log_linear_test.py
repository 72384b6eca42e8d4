"""Log-linear Mamba-2 against flash-linear-attention's layer (float64)."""

import numpy as np
import pytest

from jaxseq.mixers.matrix_states import log_linear
from tests.mixers.golden_cases import check_layer
from tests.mixers.golden_cases import renamed

_NAMES = {
  "A_log": "A_log",
  "D": "D",
  "L_scale": "L",
  "dt_bias": "dt_bias",
  "in_proj": "in_proj.weight",
  "conv_weight": "conv1d.weight",
  "norm_scale": "norm.weight",
  "out_proj": "out_proj.weight",
}


def _params(data, prefix):
  """Parameters by our names: that of the levels is a matrix of its own."""
  params = renamed(data, prefix, _NAMES)
  columns = params["L_scale"].size
  inside, levels = np.split(params.pop("in_proj"), [-columns], axis=1)
  return params | {"in_proj": inside, "level_proj": levels}


def test_golden_layer(x64, golden):
  del x64
  data = golden("log_linear/layer_log_linear_mamba2")
  config = log_linear.Config(
    int(data["cfg/hidden_size"]),
    expand=int(data["cfg/expand"]),
    headdim=int(data["cfg/head_dim"]),
    d_state=int(data["cfg/state_size"]),
    ngroups=int(data["cfg/n_groups"]),
    norm_groups=int(data["cfg/n_groups"]),
    conv_bias=False,
    levels=data["param/L"].shape[1],
  )
  params = _params(data, "param/")
  expected = _params(data, "grad_param/")
  check_layer(log_linear, config, params, data, expected)


def test_levels_are_two_or_more():
  with pytest.raises(ValueError, match="levels: got 1, expected 2 to 23"):
    log_linear.Config(8, levels=1)
