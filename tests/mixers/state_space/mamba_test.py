"""Mamba against the original implementation (float64), and its own options."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.state_space import mamba
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import check_block
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import renamed

# Names of the original's parameters; its linear weights are transposed.
NAMES = {
  "A_log": "A_log",
  "D": "D",
  "in_proj": "in_proj.weight",
  "conv_weight": "conv1d.weight",
  "conv_bias": "conv1d.bias",
  "x_proj": "x_proj.weight",
  "dt_proj": "dt_proj.weight",
  "dt_bias": "dt_proj.bias",
  "out_proj": "out_proj.weight",
}


def config_for(params):
  d_model = params["in_proj"].shape[0]
  d_inner, d_state = params["A_log"].shape
  return mamba.Config(
    d_model,
    expand=d_inner // d_model,
    d_state=d_state,
    d_conv=params["conv_weight"].shape[0],
    dt_rank=params["dt_proj"].shape[0],
  )


@pytest.fixture
def block(golden):
  data = golden("ssm/mamba_block")
  params = renamed(data, "param/", NAMES)
  return data, params, config_for(params)


def test_golden_block(x64, block):
  """state-spaces/mamba: outputs, and the gradients of sum(y * w)."""
  del x64
  data, params, config = block
  apply = functools.partial(mamba.apply, config)
  check_block(apply, params, data, renamed(data, "grad/", NAMES))


def test_golden_steps_and_their_states(x64, block):
  del x64
  data, params, config = block
  step = jax.jit(functools.partial(mamba.step, config, params))
  state = mamba.initial_state(config, (2,), jnp.float64)
  for t in range(data["x"].shape[1]):
    y, state = step(data["x"][:, t], state)
    close(y, data["step_y"][:, t], FORWARD)
    check_state(
      state, data["step_conv_state"][:, t], data["step_ssm_state"][:, t]
    )


def check_state(state, conv, ssm):
  """The original keeps the present input of the convolution as well."""
  close(state.conv, np.swapaxes(conv[..., 1:], 1, 2), FORWARD)
  close(state.ssm, ssm, FORWARD)


def test_golden_states_after_a_prompt(x64, block):
  """Also a prompt that is shorter than the convolution."""
  del x64
  data, params, config = block
  apply = jax.jit(functools.partial(mamba.apply, config, params))
  for prefix, length in (
    ("prefill", int(data["prefill_len"])),
    ("prefill2", 2),
  ):
    y, state = apply(data["x"][:, :length])
    check_state(
      state, data[f"{prefix}_conv_state"], data[f"{prefix}_ssm_state"]
    )
    if prefix == "prefill":
      close(y, data["prefill_y"], FORWARD)


def test_golden_language_model(x64, golden):
  """Two blocks with their norms, tied embeddings."""
  del x64
  data = golden("ssm/mamba_lm")

  def norm(x, weight):
    return weight * x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5)

  @jax.jit
  def model(embedding, layers):
    x = embedding[data["ids"]]
    for weight, params in layers:
      y, _ = mamba.apply(config_for(params), params, norm(x, weight))
      x = x + y
    return norm(x, data["param/norm_f.weight"]) @ embedding.T, x

  layers = [
    (
      data[f"param/layers.{i}.norm.weight"],
      renamed(data, f"param/layers.{i}.mixer.", NAMES),
    )
    for i in range(2)
  ]
  logits, x = model(data["param/embedding"], layers)
  close(x, data["residual_out"], FORWARD)
  close(logits, data["logits"], FORWARD)


def loop(config, params, x):
  """A block with norms as its definition says, one sequence, in numpy."""

  def silu(x):
    return x / (1 + np.exp(-x))

  def norm(name, x):
    square = np.mean(x**2, -1, keepdims=True)
    return x / np.sqrt(square + config.norm_eps) * params.get(f"{name}_norm", 1)

  u, z = np.split(x @ params["in_proj"], 2, axis=-1)
  padded = np.pad(u, ((config.d_conv - 1, 0), (0, 0)))
  windows = np.stack([padded[t : t + config.d_conv] for t in range(len(x))])
  u = silu(
    np.sum(windows * params["conv_weight"], axis=1) + params["conv_bias"]
  )
  dt, B, C = np.split(
    u @ params["x_proj"], [config.rank, config.rank + config.d_state], axis=-1
  )
  dt, B, C = norm("dt", dt), norm("B", B), norm("C", C)
  dt = np.log1p(np.exp(dt @ params["dt_proj"] + params["dt_bias"]))
  state, y = 0, []
  for t in range(len(x)):
    decay = np.exp(-np.exp(params["A_log"]) * dt[t][:, None])
    state = decay * state + np.outer(dt[t] * u[t], B[t])
    y.append(state @ C[t] + params["D"] * u[t])
  return (np.stack(y) * silu(z)) @ params["out_proj"]


@pytest.mark.parametrize("norm", ["plain", "scaled"])
def test_norms_of_step_sizes_and_projections(x64, norm):
  del x64
  config = mamba.Config(
    6, d_state=4, d_conv=3, dt_rank=3, norm=norm, norm_eps=0.01
  )
  rng = np.random.default_rng(0)
  params = {
    name: np.float64(leaf) + 0.1 * rng.normal(size=leaf.shape)
    for name, leaf in mamba.init(jax.random.key(0), config).items()
  }
  assert ("B_norm" in params) == (norm == "scaled")
  x = rng.normal(size=(11, 6))
  y, _ = jax.jit(functools.partial(mamba.apply, config))(params, x)
  # float64 rounding.
  np.testing.assert_allclose(y, loop(config, params, x), rtol=0, atol=1e-12)


def test_initial_parameters():
  config = mamba.Config(64, d_state=8, bias=True)
  params = jax.jit(mamba.init, static_argnums=1)(jax.random.key(0), config)
  shapes = {
    "in_proj": (64, 256),
    "in_proj_bias": (256,),
    "conv_weight": (4, 128),
    "conv_bias": (128,),
    "x_proj": (128, 4 + 16),
    "dt_proj": (4, 128),
    "dt_bias": (128,),
    "A_log": (128, 8),
    "D": (128,),
    "out_proj": (128, 64),
    "out_proj_bias": (64,),
  }
  assert {k: v.shape for k, v in params.items()} == shapes
  chex.assert_type(list(params.values()), jnp.float32)
  # float32 rounding, here and below.
  np.testing.assert_allclose(
    np.exp(params["A_log"]), np.tile(np.arange(1, 9), (128, 1)), rtol=1e-6
  )
  dt = jax.nn.softplus(params["dt_bias"])
  assert np.all((dt >= 0.001 - 1e-6) & (dt <= 0.1 + 1e-6))
  # Log-uniform: the mean logarithm is that of the geometric mean; 128 draws
  # of standard deviation 1.33 estimate it to 0.12.
  assert abs(np.log(dt).mean() - np.log(0.01)) < 0.5
  for name, fan_in in (
    ("in_proj", 64),
    ("conv_weight", 4),
    ("conv_bias", 4),
    ("x_proj", 128),
    ("dt_proj", 4),
    ("out_proj", 128),
  ):
    largest, bound = np.abs(params[name]).max(), fan_in**-0.5
    # The largest of at least 128 uniform draws.
    assert 0.9 * bound < largest <= bound


def test_options_of_the_initial_step_sizes():
  config = mamba.Config(
    32, dt_init="constant", dt_scale=0.5, dt_init_floor=0.05, dt_rank=4
  )
  params = mamba.init(jax.random.key(0), config)
  # float32 rounding.
  np.testing.assert_allclose(params["dt_proj"], 0.25, rtol=1e-6)
  dt = jax.nn.softplus(params["dt_bias"])
  np.testing.assert_allclose(dt.min(), 0.05, rtol=1e-5)
  assert dt.max() > 0.06
