"""MesaNet against flash-linear-attention's naive form and layer (float64)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import mesa
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import check_layer
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import subtree

_NAMES = "q", "k", "v", "decay", "beta", "lam", "init_kk", "init_kv"


def _config(data, method):
  heads, width = data["q"].shape[-2:]
  return mesa.Config(heads * width, heads=heads, d_key=width, method=method)


def _scan(config, q, k, v, decay, beta, lam, init_kk, init_kv):
  elements = q, beta[..., None] * k, k, v, decay[..., None], lam
  return mesa._scan(config, *elements, init_kk, init_kv, reset=None)


@pytest.mark.parametrize("method", ["solve", "cg"])
def test_golden_recurrence(x64, golden, method):
  """Outputs and states; gradients of both where they are well conditioned."""
  del x64
  data = golden("mesa/mesa_exact" if method == "solve" else "mesa/mesa_cg")
  config = _config(data, method)

  def loss(*arrays):
    o, kk, kv = _scan(config, *arrays)
    value = jnp.sum(o * data["w"]) + jnp.sum(kk * data["w_final_kk"])
    return value + jnp.sum(kv * data["w_final_kv"]), (o, kk, kv)

  places = tuple(range(len(_NAMES)))
  gradient = jax.jit(jax.grad(loss, places, has_aux=True))
  grads, (o, kk, kv) = gradient(*(data[name] for name in _NAMES))
  close(o, data["o"], FORWARD)
  close(kk, data["final_kk"], FORWARD)
  close(kv, data["final_kv"], FORWARD)
  # 30 steps in a row magnify rounding.
  tolerance = GRADIENT if method == "solve" else 1e-5
  for name, grad in zip(_NAMES, grads):
    close(grad, data[f"grad_{name}"], tolerance)


def test_steps_of_conjugate_gradients_reach_the_solution(x64, golden):
  """To what the number beside the divisors lets through."""
  del x64
  data = golden("mesa/mesa_exact")
  arrays = [data[name] for name in _NAMES]
  o, *_ = _scan(_config(data, "cg"), *arrays)
  np.testing.assert_allclose(o, data["o"], rtol=0, atol=3e-3)


@pytest.mark.parametrize("method", ["solve", "cg"])
def test_golden_layer(x64, golden, method):
  del x64
  name = {"solve": "exact", "cg": "cg"}[method]
  data = golden(f"mesa/layer_mesa_{name}")
  heads = int(data["cfg/num_heads"])
  config = mesa.Config(
    int(data["cfg/hidden_size"]),
    heads=heads,
    d_key=int(data["cfg/head_dim"]),
    d_value=int(data["cfg/head_dim"]),
    method=method,
    lower_bound=float(data["cfg/lambda_lower_bound"]),
  )

  def renamed(prefix):
    arrays = subtree(data, prefix)
    weights = {
      name.removesuffix(".weight"): array.T if array.ndim == 2 else array
      for name, array in arrays.items()
    }
    conv = [weights[f"{name}_conv1d"][:, 0].T for name in "qk"]
    return {
      "W_qk": np.concatenate([weights["q_proj"], weights["k_proj"]], axis=1),
      "W_v": weights["v_proj"],
      "conv_weight": np.concatenate(conv, axis=1),
      "W_b": weights["b_proj"],
      "b_b": weights["b_proj.bias"],
      "W_a": weights["a_proj"],
      "b_a": weights["a_proj.bias"],
      "lambda": weights["lambda_params"].reshape(heads, -1),
      "norm_scale": weights["o_norm"],
      "W_o": weights["o_proj"],
    }

  expected = renamed("grad_param/")
  last = check_layer(mesa, config, renamed("param/"), data, expected)
  close(last.H, data["state_kk"], FORWARD)
  close(last.G, data["state_kv"], FORWARD)


def test_a_large_lambda_divides_queries_alone(x64):
  """(H + lambda)^{-1} q is then q / lambda: linear attention."""
  del x64
  rng = np.random.default_rng(0)
  q, k, v = rng.normal(size=(3, 2, 6, 1, 4))
  decay, beta = np.zeros((2, 6, 1)), np.ones((2, 6, 1))
  lam, zeros = np.full((1, 4), 1e9), np.zeros((2, 1, 4, 4))
  config = mesa.Config(4, heads=1)
  o, *_ = _scan(config, q, k, v, decay, beta, lam, zeros, zeros)
  scores = np.tril(np.einsum("bthk,bshk->bts", q, k))
  expected = np.einsum("bts,bshv->bthv", scores, v)
  np.testing.assert_allclose(o * 1e9, expected, rtol=1e-6, atol=1e-6)
