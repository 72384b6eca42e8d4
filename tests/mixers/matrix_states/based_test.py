"""Based against flash-linear-attention (float64)."""

from jaxseq.mixers.matrix_states import based
from tests.mixers import golden_cases
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  return {f"W_{name}": data[f"{prefix}{name}_proj.weight"].T for name in "qkvo"}


def test_golden_layer(x64, golden):
  del x64
  data = golden("based/layer_based")
  config = based.Config(
    int(data["cfg/hidden_size"]),
    heads=int(data["cfg/num_heads"]),
    d_feature=int(data["cfg/feature_dim"]),
  )
  params, expected = (
    parameters(data, prefix) for prefix in ("param/", "grad_param/")
  )
  state = golden_cases.check_layer(based, config, params, data, expected)
  close(state.S, data["state_kv"], FORWARD)
  close(state.z, data["state_k"], FORWARD)
