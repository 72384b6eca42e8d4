"""Retention against torchscale and flash-linear-attention (float64)."""

import jax
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import retention
from tests.mixers import golden_cases
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close

_NAMES = {
  "W_q": ("q_proj.weight",),
  "W_k": ("k_proj.weight",),
  "W_v": ("v_proj.weight",),
  "W_g": ("g_proj.weight",),
  "norm_scale": ("g_norm_swish_gate.weight",),
  "W_o": ("out_proj.weight", "o_proj.weight"),
}


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  return {
    ours: data[prefix + name].T
    for ours, names in _NAMES.items()
    for name in names
    if prefix + name in data
  }


@pytest.mark.parametrize(
  "name",
  ["layer_retnet", pytest.param("layer_retention_fla", marks=pytest.mark.slow)],
)
def test_golden_layer(x64, golden, name):
  del x64
  data = golden(f"retention/{name}")
  if name == "layer_retnet":
    heads, eps = int(data["cfg/heads"]), float(data["cfg/eps"])
    options = {}
  else:
    heads, eps = int(data["cfg/num_heads"]), float(data["cfg/norm_eps"])
    options = {"rotation": "halves", "divided": False, "norm_weight": True}
  config = retention.Config(
    data["x"].shape[-1], heads=heads, eps=eps, **options
  )
  params, expected = (
    parameters(data, prefix) for prefix in ("param/", "grad_param/")
  )
  state = golden_cases.check_layer(retention, config, params, data, expected)
  # torchscale scales the keys, and not the queries.
  scale = config.key_width**-0.5 if name == "layer_retnet" else 1
  close(scale * state.S, data["state"], FORWARD)
  np.testing.assert_array_equal(state.position, data["x"].shape[1])


def test_places_far_from_the_beginning_keep_their_digits():
  """A state of 1,000,000 elements is read as one in float64 is."""
  config = retention.Config(8, heads=2)
  params = retention.init(jax.random.key(0), config)
  x = np.asarray(jax.random.normal(jax.random.key(1), (5, 8)))

  def outputs(dtype):
    state = retention.initial_state(config, (), dtype)
    state = state._replace(position=np.asarray(1e6, dtype))
    return retention.apply(config, params, x.astype(dtype), state)[0]

  narrow = outputs(np.float32)
  with jax.enable_x64():
    wide = outputs(np.float64)
  # float32 rounding of a few sums.
  np.testing.assert_allclose(narrow, wide, rtol=0, atol=3e-6)
