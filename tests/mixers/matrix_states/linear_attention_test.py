"""Linear attention against the sum over all pairs, and original code."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers import positions
from jaxseq.mixers.matrix_states import linear_attention
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close

RETNET = {
  "feature_map": "none",
  "decay": "fixed",
  "normalization": "rms",
  "positions": "rotary",
  "gate": "silu",
}
GLA = {
  "d_key": 3,
  "feature_map": "none",
  "decay": "vector",
  "decay_rank": 2,
  "normalization": "rms",
  "gate": "silu",
}


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


FEATURES = {
  "elu": lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))),
  "relu": lambda x: np.maximum(x, 0),
  "silu": lambda x: x * sigmoid(x),
  "none": lambda x: x,
}


def decays(config, params, x):
  """Factors (time, heads, d_key) on the state."""
  shape = len(x), config.heads, config.key_width
  if config.decay == "none":
    return np.ones(shape)
  if config.decay == "fixed":
    heads = 1 - 2.0 ** (-5 - np.arange(config.heads))
    return np.broadcast_to(heads[:, None], shape)
  logits = x @ params["W_a"]
  if config.decay == "vector":
    logits = logits @ params["W_a2"]
  logits = (logits + params["b_a"]).reshape(len(x), config.heads, -1)
  alpha = sigmoid(logits) ** (1 / config.decay_temperature)
  return np.broadcast_to(alpha, shape)


def rotate(x, position):
  """Turns the channels of (heads, d) with complex numbers."""
  half = x.shape[-1] // 2
  angle = position * 10000.0 ** (-np.arange(half) / half)
  turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angle)
  return np.concatenate([turned.real, turned.imag], axis=-1)


def all_pairs(config, params, x):
  """The definition, every pair of elements by itself, for one sequence."""
  heads = config.heads

  def project(name):
    return (x @ params[name]).reshape(len(x), heads, -1)

  phi = FEATURES[config.feature_map]
  q, k, v = phi(project("W_q")), phi(project("W_k")), project("W_v")
  alpha = decays(config, params, x)
  o = np.zeros(v.shape)
  for t in range(len(x)):
    total = np.zeros((heads, 1))
    for j in range(t + 1):
      kept = np.prod(alpha[j + 1 : t + 1], axis=0)
      weight = np.sum(q[t] * kept * k[j], -1, keepdims=True)
      total += weight
      if config.positions == "rotary":
        turned = rotate(q[t], t) * kept * rotate(k[j], j)
        weight = np.sum(turned, -1, keepdims=True)
      o[t] += weight * v[j]
    if config.normalization == "sum":
      o[t] /= total + config.eps
    else:
      o[t] *= config.key_width**-0.5
      square = np.mean(o[t] ** 2, -1, keepdims=True)
      o[t] *= params["norm_scale"] / np.sqrt(square + config.eps)
  if config.gate == "silu":
    o *= FEATURES["silu"](project("W_g"))
  return o.reshape(len(x), -1) @ params["W_o"]


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"feature_map": "relu", "decay": "scalar", "decay_temperature": 2.0},
    {"decay": "fixed", "positions": "rotary", "d_value": 3},
    RETNET,
    GLA,
  ],
)
def test_equals_the_sum_over_all_pairs(x64, options):
  del x64
  config = linear_attention.Config(6, heads=2, **options)
  rng = np.random.default_rng(0)
  params = {
    name: np.float64(leaf) + 0.1 * rng.normal(size=leaf.shape)
    for name, leaf in linear_attention.init(jax.random.key(0), config).items()
  }
  x = rng.normal(size=(11, 6))
  apply = jax.jit(functools.partial(linear_attention.apply, config))
  y, state = apply(params, x)
  # float64 rounding.
  np.testing.assert_allclose(y, all_pairs(config, params, x), atol=1e-11)
  assert (state.z is None) == (config.normalization == "rms")
  assert (state.position is None) == (config.positions == "none")


def test_golden_memories(x64, golden):
  """OpenSparseLLMs/MoM: linear attention in several memories at a time.

  An element writes to and reads from two of them, which to the others is an
  element without a key. Outputs and gradients of sum(output * cotangent).
  """
  del x64
  data = golden("mom/linear_attn")
  params = {k[2:]: v for k, v in data.items() if k.startswith("p.")}
  memories, heads = int(data["num_memories"]), int(data["num_heads"])
  rows, time, width = data["x"].shape
  chosen = data["selected"][..., None] == np.arange(memories)

  def memory(params, x, e):
    q, k, v = (
      (x @ params[name].T).reshape(rows, time, heads, -1)
      for name in (
        "q_proj.weight",
        f"k_proj.{e}.weight",
        f"v_proj.{e}.weight",
      )
    )
    q, k = jax.nn.elu(q) + 1, jax.nn.elu(k) + 1
    member = chosen[..., e].any(-1)[..., None, None]
    scale = (width // heads) ** -0.5
    o, _ = recurrence.outer_scan_heads(
      q * scale, jnp.where(member, k, 0), v, chunk_size=4
    )
    return o

  def model(params, x):
    weights = jax.nn.softmax(x @ params["gate.weight"].T)
    weights = jnp.where(chosen.any(-2), weights, 0)
    weights = weights / weights.sum(-1, keepdims=True)
    o = sum(
      weights[..., e, None, None] * memory(params, x, e)
      for e in range(memories)
    )
    # One of its norms, as in the mixer.
    o = positions.rms_norm(o, params["norm.weight"], 1e-5)
    return o.reshape(x.shape) @ params["o_proj.weight"].T

  def loss(params, x):
    y = model(params, x)
    return jnp.sum(y * data["cot"]), y

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, y), (grads, d_x) = gradient(params, data["x"])
  # The golden set's tolerances for float64.
  np.testing.assert_allclose(y, data["o"], rtol=0, atol=1e-9)
  np.testing.assert_allclose(d_x, data["dx"], rtol=0, atol=1e-8)
  for name, grad in grads.items():
    np.testing.assert_allclose(grad, data[f"g.{name}"], rtol=0, atol=1e-8)


def test_uniform_keys_average_the_values(x64):
  """With W_k = 0 every element has the same key: y is a running mean."""
  del x64
  config = linear_attention.Config(4, heads=1, eps=1e-12)
  identity = np.eye(4)
  params = {"W_q": identity, "W_k": 0 * identity, "W_v": identity}
  params["W_o"] = identity
  x = np.random.default_rng(0).normal(size=(9, 4))
  y, _ = jax.jit(linear_attention.apply, static_argnums=0)(config, params, x)
  mean = np.cumsum(x, 0) / np.arange(1, 10)[:, None]
  # eps, and float64 rounding.
  np.testing.assert_allclose(y, mean, rtol=0, atol=1e-10)


def test_initial_parameters():
  config = linear_attention.Config(64, d_value=32, **GLA)
  shapes = {
    "W_q": (64, 12),
    "W_k": (64, 12),
    "W_v": (64, 128),
    "W_o": (128, 64),
    "W_a": (64, 2),
    "W_a2": (2, 12),
    "b_a": (12,),
    "W_g": (64, 128),
    "norm_scale": (32,),
  }
  params = jax.jit(linear_attention.init, static_argnums=1)(
    jax.random.key(0), config
  )
  assert {name: leaf.shape for name, leaf in params.items()} == shapes
  assert all(leaf.dtype == jnp.float32 for leaf in params.values())
  config = linear_attention.Config(64, decay="scalar")
  params = jax.jit(linear_attention.init, static_argnums=1)(
    jax.random.key(0), config
  )
  assert params["W_a"].shape == (64, 4)
  # 4096 normal draws estimate their standard deviation to 1.1 %.
  assert abs(np.std(params["W_q"]) * 8 - 1) < 0.05


LOG_LINEAR = {
  "feature_map": "none",
  "decay": "scalar",
  "normalization": "rms",
}


def test_golden_levels(x64, golden):
  """flash-linear-attention's naive form, of inputs that contain its arguments.

  The mixer's projections pick queries, keys, values, decays and weights of
  levels out of the features, by matrices of zeros and ones.
  """
  del x64
  data = golden("log_linear/log_linear")
  rows, time, heads, levels = data["level_scales"].shape
  d_key, d_value = data["q"].shape[-1], data["v"].shape[-1]
  temperature = 2.0
  # Arguments of the mixer's sigmoid and softplus.
  inside = {
    "W_q": data["q"],
    "W_k": data["k"],
    "W_v": data["v"],
    "W_a": -np.log(np.expm1(-temperature * data["decay"])),
    "level_proj": np.log(np.expm1(data["level_scales"])),
  }
  parts = {k: v.reshape(rows, time, -1) for k, v in inside.items()}
  x = np.concatenate(list(parts.values()), axis=-1)
  width = x.shape[-1]
  ends = np.cumsum([part.shape[-1] for part in parts.values()])
  params = {
    name: np.eye(width)[:, end - part.shape[-1] : end]
    for (name, part), end in zip(parts.items(), ends)
  }
  params["W_o"] = np.eye(width)[: heads * d_value]
  params["b_a"] = np.zeros(heads)
  params["L_scale"] = np.ones((heads, levels))
  params["norm_scale"] = np.ones(d_value)
  config = linear_attention.Config(
    width,
    heads=heads,
    d_key=d_key,
    d_value=d_value,
    decay_temperature=temperature,
    levels=levels,
    **LOG_LINEAR,
  )
  apply = jax.jit(functools.partial(linear_attention.apply, config))
  y, state = apply(params, x)
  o = data["o"] * d_key**-0.5
  o /= np.sqrt(np.mean(o**2, -1, keepdims=True) + config.eps)
  close(y[..., : heads * d_value], o.reshape(rows, time, -1), FORWARD)
  close(state.S, np.moveaxis(data["state"], 1, 2), FORWARD)
  np.testing.assert_array_equal(state.position, data["count"])


@pytest.mark.parametrize("options", [{}, LOG_LINEAR, {"positions": "rotary"}])
def test_equal_weights_of_levels_are_linear_attention(x64, options):
  """A common factor of all levels disappears in the normalization."""
  del x64
  plain = linear_attention.Config(6, heads=2, eps=1e-16, **options)
  config = dataclasses.replace(plain, levels=3)
  params = jax.jit(linear_attention.init, static_argnums=1)(
    jax.random.key(0), config
  )
  params = jax.tree.map(np.float64, params)
  params["L_scale"] *= 0
  x = np.random.default_rng(0).normal(size=(2, 37, 6))
  reset = np.zeros((2, 37), bool)
  reset[0, 5] = True
  apply = jax.jit(linear_attention.apply, static_argnums=0)
  got, _ = apply(config, params, x, None, reset)
  for name in ("L_scale", "level_proj"):
    del params[name]
  expected, _ = apply(plain, params, x, None, reset)
  # eps, and float64 rounding.
  np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


def test_levels_that_are_refused():
  with pytest.raises(ValueError, match="levels: got 1, expected 2 to 23"):
    linear_attention.Config(8, levels=1)
  with pytest.raises(ValueError, match="levels: got 3, expected None with"):
    linear_attention.Config(
      8, levels=3, feature_map="none", decay="vector", normalization="rms"
    )
