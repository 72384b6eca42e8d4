"""Gated linear attention against flash-linear-attention (float64)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import recurrence
from jaxseq.mixers.matrix_states import gla
from tests.mixers import golden_cases
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close

_SIDE_BY_SIDE = "q", "k", "v"
_NAMES = {
  "W_a": "gk_proj.0.weight",
  "W_a2": "gk_proj.1.weight",
  "b_a": "gk_proj.1.bias",
  "W_g": "g_proj.weight",
  "norm_scale": "g_norm_swish_gate.weight",
  "W_o": "o_proj.weight",
}


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  qkv = [data[f"{prefix}{name}_proj.weight"].T for name in _SIDE_BY_SIDE]
  params = {"W_qkv": np.concatenate(qkv, axis=-1)}
  if f"{prefix}q_conv1d.weight" in data:
    taps = [data[f"{prefix}{name}_conv1d.weight"] for name in _SIDE_BY_SIDE]
    params["conv_weight"] = np.concatenate([x[:, 0].T for x in taps], axis=-1)
  for name, original in _NAMES.items():
    params[name] = data[prefix + original].T
  return params


def test_golden_layer(x64, golden):
  del x64
  data = golden("gla_hgrn2/layer_gla")
  config = gla.Config(
    int(data["cfg/hidden_size"]),
    heads=int(data["cfg/num_heads"]),
    expand_k=float(data["cfg/expand_k"]),
    expand_v=float(data["cfg/expand_v"]),
    d_conv=4 if data["cfg/use_short_conv"] else 1,
    decay_rank=int(data["cfg/gate_low_rank_dim"]),
    decay_temperature=float(data["cfg/gate_logit_normalizer"]),
    eps=float(data["cfg/norm_eps"]),
  )
  params, expected = (
    parameters(data, prefix) for prefix in ("param/", "grad_param/")
  )
  state = golden_cases.check_layer(gla, config, params, data, expected)
  close(state.S, data["state"], FORWARD)


def test_golden_recurrence_of_extreme_decays(x64, golden):
  del x64
  data = golden("gla_hgrn2/gla_extreme")
  names = "q", "k", "v", "decay", "init"

  def loss(arguments):
    q, *others = arguments
    q = q * q.shape[-1] ** -0.5
    o, final = recurrence.outer_scan(
      q, *others, method="chunked", chunk_size=16
    )
    value = jnp.sum(o * data["w"]) + jnp.sum(final * data["w_final"])
    return value, (o, final)

  run = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (o, final)), grads = run([data[name] for name in names])
  close(o, data["o"], FORWARD)
  close(final, data["final"], FORWARD)
  for name, grad in zip(names, grads):
    close(grad, data[f"grad_{name}"], GRADIENT)


@pytest.mark.slow
def test_equals_the_setting_of_linear_attention(x64):
  del x64
  heads, width, rank = 2, 8, 3
  config = gla.Config(width, heads=heads, decay_rank=rank)
  other = mixers.make_config(
    "linear_attention",
    d_model=width,
    heads=heads,
    d_key=config.key_width,
    d_value=config.value_width,
    feature_map="none",
    decay="vector",
    decay_rank=rank,
    normalization="rms",
    gate="silu",
    eps=config.eps,
  )
  params = gla.init(jax.random.key(0), config)
  x = jax.random.normal(jax.random.key(1), (2, 9, width), jnp.float64)
  keys = heads * config.key_width
  theirs = dict(params)
  W_qkv = theirs.pop("W_qkv")
  W_q, W_k, W_v = jnp.split(W_qkv, (keys, 2 * keys), axis=-1)
  theirs |= {"W_q": W_q, "W_k": W_k, "W_v": W_v}
  module = mixers.get("linear_attention")
  # float64 rounding.
  np.testing.assert_allclose(
    gla.apply(config, params, x)[0],
    module.apply(other, theirs, x)[0],
    rtol=0,
    atol=1e-13,
  )


def test_widths():
  config = gla.Config(6, heads=4)
  # 3 of all heads' keys, and 6 of their values, rounded up.
  assert (config.key_width, config.value_width) == (1, 2)
  config = gla.Config(1024)
  assert (config.key_width, config.value_width) == (128, 256)
