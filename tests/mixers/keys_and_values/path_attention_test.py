"""PaTH attention against flash-linear-attention's naive form (float64)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers.keys_and_values import path_attention
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import check_layer
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import subtree

_NAMES = "q", "k", "v", "read", "beta", "decay"


@pytest.mark.parametrize("size", [5, 64])
@pytest.mark.parametrize("name", ["path", "path_forget"])
def test_golden_recurrence(x64, golden, name, size):
  """Outputs and the gradients of sum(o * w), in chunks and at once."""
  del x64
  data = golden(f"path/{name}")
  rows, time, heads, d = data["q"].shape
  groups, dv = data["v"].shape[2:]
  sizes = time, heads, groups, (d, dv)
  state = recurrence.path_initial((rows,), *sizes, np.float64)

  def loss(*arrays):
    o, _ = recurrence.path_scan(*arrays, state, chunk_size=size)
    return jnp.sum(o * data["w"]), o

  gradient = jax.jit(jax.grad(loss, tuple(range(6)), has_aux=True))
  grads, o = gradient(*(data[key] for key in _NAMES))
  close(o, data["o"], FORWARD)
  for key, grad in zip(_NAMES, grads):
    close(grad, data[f"grad_{key}"], GRADIENT)


@pytest.mark.parametrize("name", ["layer_path", "layer_path_forget"])
def test_golden_layer(x64, golden, name):
  del x64
  data = golden(f"path/{name}")
  heads = int(data["cfg/num_heads"])
  low_rank = "param/w_proj.0.weight" in data
  config = path_attention.Config(
    int(data["cfg/hidden_size"]),
    heads=heads,
    window=16,
    rank=32 if low_rank else None,
    forget_gate="param/g_proj.weight" in data,
    qk_norm="param/maybe_q_norm.weight" in data,
  )
  names = {"W_q": "q_proj", "W_k": "k_proj", "W_v": "v_proj", "W_o": "o_proj"}
  names |= {"W_b": "bt_proj", "W_w": "w_proj"}
  if low_rank:
    names |= {"W_w": "w_proj.0", "W_w2": "w_proj.1"}
  if config.forget_gate:
    names["W_f"] = "g_proj"
  vectors = {"b_b": "bt_proj.bias"}
  if config.forget_gate:
    vectors["b_f"] = "g_proj.bias"
  if config.qk_norm:
    vectors["q_norm"] = "maybe_q_norm.weight"
    vectors["k_norm"] = "maybe_k_norm.weight"

  def renamed(prefix):
    arrays = subtree(data, prefix)
    params = {ours: arrays[f"{name}.weight"].T for ours, name in names.items()}
    params |= {ours: arrays[name] for ours, name in vectors.items()}
    return params | {"conv_weight": arrays["w_conv1d.weight"][:, 0].T}

  expected = renamed("grad_param/")
  check_layer(path_attention, config, renamed("param/"), data, expected)


def test_without_turns_it_is_attention(x64):
  """A beta of 0: attention to the same window, without positions."""
  del x64
  rng = np.random.default_rng(0)
  q, k, v, w = rng.normal(size=(4, 2, 19, 2, 4))
  reset = rng.random((2, 19)) < 0.1
  nothing = np.zeros((2, 19, 2))
  state = recurrence.path_initial((2,), 6, 2, 2, (4, 4), np.float64)
  o, _ = recurrence.path_scan(
    q, k, v, w, nothing, nothing, state, reset=reset, chunk_size=5
  )
  for row in range(2):
    for head in range(2):
      expected = _attention(q, k, v, reset, row, head, 6)
      np.testing.assert_allclose(o[row, :, head], expected, rtol=1e-10)


def _attention(q, k, v, reset, row, head, window):
  """Softmax attention of one head, one element after the other."""
  outputs, begin = [], 0
  for t in range(q.shape[1]):
    begin = t if reset[row, t] else begin
    seen = slice(max(begin, t - window), t + 1)
    scores = k[row, seen, head] @ q[row, t, head] / np.sqrt(q.shape[-1])
    shares = np.exp(scores - scores.max())
    outputs.append(shares / shares.sum() @ v[row, seen, head])
  return np.stack(outputs)


def test_two_turns_by_two_about_one_direction_are_none(x64):
  """With beta = 2 and one w, keys come back after every other element."""
  del x64
  rng = np.random.default_rng(0)
  w = np.broadcast_to([0.6, 0.8], (1, 5, 1, 2))
  q, k, v = rng.normal(size=(3, 1, 5, 1, 2))
  two, nothing = np.full((1, 5, 1), 2.0), np.zeros((1, 5, 1))
  state = recurrence.path_initial((1,), 8, 1, 1, (2, 2), np.float64)
  _, last = recurrence.path_scan(q, k, v, w, two, nothing, state)
  turned = k - 2 * np.sum(k * w, axis=-1, keepdims=True) * w
  expected = np.where([[[[1]], [[0]], [[1]], [[0]], [[1]]]], k, turned)
  np.testing.assert_allclose(last.keys[:, -5:], expected, rtol=1e-12)
