"""TTT against the authors' JAX code (float64)."""

import functools

import jax
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import ttt
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import check_layer
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import subtree

_NAMES = {
  "W_q": "wq.kernel",
  "W_v": "wv.kernel",
  "W_o": "wo.kernel",
  "W_0": "ttt_dense_0",
  "norm_scale": "ttt_norm/scale",
  "norm_bias": "ttt_norm/bias",
  "place_rate": "learnable_token_idx",
  "out_scale": "post_norm.scale",
  "out_bias": "post_norm.bias",
}


def _case(data, name):
  """The configuration, and a function that renames arrays."""
  names = dict(_NAMES)
  plain = name.endswith("base")
  if plain:
    names["W_k"] = "wk.kernel"
  else:
    names |= {"W_g": "wg.kernel"}
    names |= {f"conv_{x}_bias": f"conv_{x}.bias" for x in "qk"}
  if name.endswith("mlp"):
    names["W_1"] = "ttt_dense_1"

  def renamed(prefix):
    arrays = subtree(data, prefix)
    params = {ours: arrays[theirs] for ours, theirs in names.items()}
    params["W_rate"] = arrays["learnable_ttt_lr/kernel"][..., 0].T
    params["b_rate"] = arrays["learnable_ttt_lr/bias"][:, 0]
    for i in range(2 if name.endswith("mlp") else 1):
      params[f"b_{i}"] = arrays[f"ttt_bias_{i}"][:, 0]
    if not plain:
      for x in "qk":
        params[f"conv_{x}"] = arrays[f"conv_{x}.kernel"][:, 0]
    return params

  config = ttt.Config(
    int(data["cfg/d"]),
    heads=int(data["cfg/heads"]),
    network="mlp" if name.endswith("mlp") else "linear",
    mini_batch=int(data["cfg/K"]),
    base_rate=float(data["cfg/base_lr"]),
    d_conv=1 if plain else 4,
    gate=not plain,
  )
  return config, renamed


@pytest.mark.parametrize("name", ["ttt_linear", "ttt_linear_base", "ttt_mlp"])
def test_golden_layer(x64, golden, name):
  """Outputs at once and by steps, gradients, and the network afterwards."""
  del x64
  data = golden(f"ttt/{name}")
  config, renamed = _case(data, name)
  params = renamed("param/")
  last = check_layer(ttt, config, params, data, renamed("grad_param/"))
  close(params["W_0"] + last.W[0], data["state/W"], FORWARD)
  close(params["b_0"] + last.b[0], data["state/b"][:, :, 0], FORWARD)
  if name.endswith("mlp"):
    close(params["W_1"] + last.W[1], data["state/W2"], FORWARD)
    close(params["b_1"] + last.b[1], data["state/b2"][:, :, 0], FORWARD)


@pytest.mark.parametrize(
  "size", [pytest.param(1, marks=pytest.mark.slow), 3, 4]
)
def test_resets_beside_the_end_of_a_mini_batch(x64, size):
  """Rows have phases of their own; whole episodes are as if alone."""
  del x64
  config = ttt.Config(4, heads=1, mini_batch=size, network="mlp", d_conv=2)
  params = ttt.init(jax.random.key(0), config)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  x = np.random.default_rng(0).normal(size=(3, 11, 4))
  reset = np.zeros((3, 11), bool)
  for row in range(3):
    reset[row, [3 + row, 8]] = True  # One before, at, and one after the end.
  apply = jax.jit(functools.partial(ttt.apply, config, params))
  y, _ = apply(x, None, reset)
  for row in range(3):
    begin = 0
    for end in (3 + row, 8, 11):
      alone, _ = apply(x[row : row + 1, begin:end])
      np.testing.assert_allclose(y[row, begin:end], alone[0], rtol=1e-10)
      begin = end
