"""Gated slot attention against flash-linear-attention (float64)."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.mixers.matrix_states import gsa
from tests.mixers import golden_cases
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close

_NAMES = {
  "W_f": "f_proj.weight",
  "norm_scale": "g_norm.weight",
  "W_o": "o_proj.weight",
}


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  qkv = [data[f"{prefix}{name}_proj.weight"].T for name in "qkv"]
  params = {ours: data[prefix + name].T for ours, name in _NAMES.items()}
  return params | {"W_qkv": np.concatenate(qkv, axis=-1)}


def test_golden_layer(x64, golden):
  del x64
  data = golden("gsa/layer_gsa")
  config = gsa.Config(
    int(data["cfg/hidden_size"]),
    heads=int(data["cfg/num_heads"]),
    slots=int(data["cfg/num_slots"]),
    decay_temperature=float(data["cfg/gate_logit_normalizer"]),
  )
  params, expected = (
    parameters(data, prefix) for prefix in ("param/", "grad_param/")
  )
  state = golden_cases.check_layer(gsa, config, params, data, expected)
  close(jnp.swapaxes(state.K, -1, -2), data["state_k"], FORWARD)
  close(state.V, data["state_v"], FORWARD)


def test_a_slot_that_is_never_written_stays_at_zero():
  """A gate at 1 keeps all, so that outputs are those of nothing."""
  config = gsa.Config(4, heads=1, slots=1)
  params = gsa.init(jax.random.key(0), config)
  params["W_f"] = jnp.full_like(params["W_f"], 100.0)
  y, state = gsa.apply(config, params, jnp.ones((5, 4)))
  assert not np.any(y)
  assert not np.any(state.V)
