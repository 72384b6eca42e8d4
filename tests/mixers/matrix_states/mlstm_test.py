"""The mLSTM's block against NX-AI/xlstm (float64)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import mlstm
from jaxseq.mixers.matrix_states import mlstm_large
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close

# What the original's outputs at once differ by from its steps, relative to 1:
# its parallel form leaves out that m is at least that of a state of zeros.
_PARALLEL = 1e-6


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  cell = f"{prefix}mlstm_cell."

  def gates(part):
    both = (data[f"{cell}{name}gate.{part}"] for name in "if")
    return np.concatenate(list(both))

  params = {
    "W_up": data[f"{prefix}proj_up.weight"].T,
    "W_down": data[f"{prefix}proj_down.weight"].T,
    "conv_weight": data[f"{prefix}conv1d.conv.weight"][:, 0].T,
    "conv_bias": data[f"{prefix}conv1d.conv.bias"],
    "W_if": gates("weight").T,
    "W_if_bias": gates("bias"),
    "norm_scale": data[f"{cell}outnorm.weight"],
    "skip": data[f"{prefix}learnable_skip"],
  }
  for name in "qkv":
    params[f"W_{name}"] = data[f"{prefix}{name}_proj.weight"].swapaxes(1, 2)
  return params


def configuration(data):
  hidden = data["param/learnable_skip"].shape[0]
  return mlstm.Config(
    int(data["cfg/embedding_dim"]),
    d_hidden=hidden,
    heads=int(data["cfg/num_heads"]),
    d_conv=int(data["cfg/conv1d_kernel_size"]),
    d_block=int(data["cfg/qkv_proj_blocksize"]),
  )


def test_golden_layer(x64, golden):
  """At once, with gradients, and step by step, with the last state."""
  del x64
  data = golden("mlstm/layer_mlstm")
  config = configuration(data)
  params = parameters(data, "param/")
  # The original keeps what the scale has beyond 1.
  params["norm_scale"] = params["norm_scale"] + 1

  def loss(params, x):
    y, state = mlstm.apply(config, params, x)
    return jnp.sum(y * data["w"]), (y, state)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, (y, state)), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y_step"], FORWARD)
  close(y, data["y"], _PARALLEL)
  close(grad_x, data["grad_x"], _PARALLEL)
  expected = parameters(data, "grad_param/")
  assert grads.keys() == expected.keys()
  for key in grads:
    close(grads[key], expected[key], _PARALLEL)

  def check(state):
    for leaf, name in zip(state.memory, "cnm"):
      close(leaf, data[f"{name}T"], FORWARD)
    # The original keeps one input more.
    close(state.conv, data["conv_state"][:, 1:], FORWARD)

  check(state)
  step = jax.jit(functools.partial(mlstm.step, config, params))
  state = mlstm.initial_state(config, (2,), jnp.float64)
  for t in range(data["x"].shape[1]):
    y, state = step(data["x"][:, t], state)
    close(y, data["y_step"][:, t], FORWARD)
  check(state)


def test_biases_are_added_where_they_are_written():
  """Against the block in numpy, one element after a fresh state."""
  config = mlstm.Config(4, d_hidden=8, heads=2, d_conv=2, bias=True)
  rng = np.random.default_rng(0)
  params = {
    name: rng.normal(size=leaf.shape).astype(np.float32)
    for name, leaf in mlstm.init(jax.random.key(0), config).items()
  }
  x = rng.normal(size=4).astype(np.float32)
  state = mlstm.initial_state(config)
  got, _ = jax.jit(mlstm.step, static_argnums=0)(config, params, x, state)

  def silu(x):
    return x / (1 + np.exp(-x))

  def blocks(name, x):
    y = np.einsum("bi,bij->bj", x.reshape(2, 4), params[f"W_{name}"])
    return y.reshape(-1) + params[f"W_{name}_bias"]

  u, z = np.split(x @ params["W_up"] + params["W_up_bias"], 2)
  c = silu(params["conv_weight"][1] * u + params["conv_bias"])
  q, k, v = blocks("q", c), blocks("k", c), blocks("v", u)
  gates = np.concatenate([q, k, v]) @ params["W_if"] + params["W_if_bias"]
  i = gates[:2, None]
  q, k, v = (x.reshape(2, 4) for x in (q, k, v))
  # Of a state of zeros no more is left than one element under exp(i).
  weight = np.exp(i) * np.sum(q * k, -1, keepdims=True) / 2
  h = weight * v / np.maximum(np.abs(weight), 1)
  h = h - h.mean(-1, keepdims=True)
  h = h / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
  y = (params["norm_scale"] * h.reshape(-1) + params["skip"] * c) * silu(z)
  want = y @ params["W_down"] + params["W_down_bias"]
  # float32 rounding, and the eps beside the divisor.
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mixer", [mlstm, mlstm_large])
def test_gates_at_the_start(mixer):
  params = mixer.init(jax.random.key(0), mixer.Config(16))
  assert not np.any(params["W_if"])
  np.testing.assert_allclose(params["W_if_bias"][4:], [3, 4, 5, 6])


def test_widths():
  assert mlstm.Config(6).width == 12
  assert mlstm.Config(7, heads=3).width == 24
  config = mlstm_large.Config(64, heads=4)
  assert (config.key_width, config.value_width) == (8, 16)
