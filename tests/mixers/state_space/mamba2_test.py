"""Mamba-2 against the original code (float64), and its own options."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.state_space import mamba2
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import check_block
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import renamed

# Names of the original's parameters; its linear weights are transposed.
NAMES = {
  "A_log": "A_log",
  "D": "D",
  "dt_bias": "dt_bias",
  "in_proj": "in_proj.weight",
  "conv_weight": "conv1d.weight",
  "conv_bias": "conv1d.bias",
  "norm_scale": "norm.weight",
  "out_proj": "out_proj.weight",
}


@pytest.fixture
def block(golden):
  data = golden("ssm/mamba2_block")
  config = mamba2.Config(
    int(data["cfg/d_model"]),
    expand=int(data["cfg/expand"]),
    headdim=int(data["cfg/headdim"]),
    d_state=int(data["cfg/d_state"]),
    ngroups=int(data["cfg/ngroups"]),
  )
  return data, renamed(data, "param/", NAMES), config


def test_golden_block(x64, block):
  """state-spaces/mamba: outputs, and the gradients of sum(y * w)."""
  del x64
  data, params, config = block
  apply = functools.partial(mamba2.apply, config)
  check_block(apply, params, data, renamed(data, "grad/", NAMES))


def test_golden_prompt_then_steps(x64, block):
  """A prompt at once and the rest one by one, also if shorter than the conv."""
  del x64
  data, params, config = block
  apply = jax.jit(functools.partial(mamba2.apply, config, params))
  step = jax.jit(functools.partial(mamba2.step, config, params))
  _, end = apply(data["x"])
  for length in (2, 7):
    y, state = apply(data["x"][:, :length])
    close(y, data["y"][:, :length], FORWARD)
    for t in range(length, data["x"].shape[1]):
      y, state = step(data["x"][:, t], state)
      close(y, data["y"][:, t], FORWARD)
    chex.assert_trees_all_close(state, end, rtol=0, atol=FORWARD)


def loop(config, params, x):
  """The block as its definition says, one sequence, in numpy."""

  def silu(x):
    return x / (1 + np.exp(-x))

  inner, N = config.d_inner, config.d_state
  groups, heads, width = config.ngroups, config.heads, config.head_width
  taps = config.d_conv
  projected = x @ params["in_proj"] + params["in_proj_bias"]
  z, xBC, dt = np.split(projected, [inner, 2 * inner + 2 * groups * N], axis=-1)
  dt = np.log1p(np.exp(dt + params["dt_bias"]))
  dt = np.clip(dt, *config.dt_limit)
  padded = np.pad(xBC, ((taps - 1, 0), (0, 0)))
  state, y = np.zeros((heads, N, width)), np.zeros((len(x), inner))
  for t in range(len(x)):
    now = np.sum(padded[t : t + taps] * params["conv_weight"], axis=0)
    now = silu(now + params["conv_bias"])
    u = now[:inner].reshape(heads, width)
    B, C = now[inner:].reshape(2, groups, N)
    for h in range(heads):
      g = h // (heads // groups)
      A = -np.exp(params["A_log"][h])
      state[h] = np.exp(dt[t, h] * A) * state[h]
      state[h] += dt[t, h] * np.outer(B[g], u[h])
      y[t, h * width : (h + 1) * width] = C[g] @ state[h]
      y[t, h * width : (h + 1) * width] += params["D"][h] * u[h]

  def norm(y):
    parts = np.stack(np.split(y, config.norm_groups, -1), -2)
    square = np.mean(parts**2, -1, keepdims=True)
    parts = parts / np.sqrt(square + config.norm_eps)
    return parts.reshape(y.shape) * params["norm_scale"]

  y = {
    "after_gate": lambda: norm(y * silu(z)),
    "before_gate": lambda: norm(y) * silu(z),
    "none": lambda: y * silu(z),
  }[config.norm]()
  return y @ params["out_proj"] + params.get("out_proj_bias", 0)


@pytest.mark.parametrize(
  "options",
  [
    {"norm_eps": 0.1},
    {"norm": "before_gate", "channels": 24, "norm_groups": 2},
    {"norm": "none", "channels": 18, "out_bias": False},
  ],
)
def test_groups_limits_biases_and_norms(x64, options):
  """Options that the golden block lacks."""
  del x64
  config = mamba2.Config(
    6,
    headdim=3,
    d_state=4,
    ngroups=2,
    d_conv=3,
    dt_limit=(0.01, 0.05),
    bias=True,
    **options,
  )
  rng = np.random.default_rng(0)
  params = {
    name: np.float64(leaf) + 0.1 * rng.normal(size=leaf.shape)
    for name, leaf in jax.jit(mamba2.init, static_argnums=1)(
      jax.random.key(0), config
    ).items()
  }
  x = rng.normal(size=(11, 6))
  apply = jax.jit(functools.partial(mamba2.apply, config))
  y, _ = apply(params, x)
  # float64 rounding.
  np.testing.assert_allclose(y, loop(config, params, x), rtol=0, atol=1e-12)
  # Both bounds were met, so that they matter.
  inner = 2 * config.d_inner + 2 * config.ngroups * config.d_state
  dt = (x @ params["in_proj"] + params["in_proj_bias"])[:, inner:]
  dt = np.log1p(np.exp(dt + params["dt_bias"]))
  assert dt.min() < 0.01 < 0.05 < dt.max()


def test_initial_parameters():
  config = mamba2.Config(
    256, headdim=4, d_state=8, ngroups=2, bias=True, dt_init_floor=0.002
  )
  params = jax.jit(mamba2.init, static_argnums=1)(jax.random.key(0), config)
  shapes = {
    "in_proj": (256, 512 + 512 + 32 + 128),
    "in_proj_bias": (1184,),
    "conv_weight": (4, 544),
    "conv_bias": (544,),
    "dt_bias": (128,),
    "A_log": (128,),
    "D": (128,),
    "norm_scale": (512,),
    "out_proj": (512, 256),
    "out_proj_bias": (256,),
  }
  assert {k: v.shape for k, v in params.items()} == shapes
  chex.assert_type(list(params.values()), jnp.float32)
  A = np.exp(params["A_log"])
  # 128 uniform draws between 1 and 16: their mean is within 3 of 8.5.
  assert A.min() >= 1 - 1e-6
  assert A.max() <= 16 + 1e-5
  assert abs(A.mean() - 8.5) < 3
  dt = jax.nn.softplus(params["dt_bias"])
  # float32 rounding.
  np.testing.assert_allclose(dt.min(), 0.002, rtol=1e-5)
  assert dt.max() <= 0.1 + 1e-6
  # Log-uniform: the mean logarithm is that of the geometric mean; 128 draws
  # of standard deviation 1.33 estimate it to 0.12. The floor adds 0.05.
  assert abs(np.log(dt).mean() - np.log(0.01)) < 0.5
  for name, fan_in in (
    ("in_proj", 256),
    ("conv_weight", 4),
    ("conv_bias", 4),
    ("out_proj", 512),
  ):
    largest, bound = np.abs(params[name]).max(), fan_in**-0.5
    # The largest of at least 500 uniform draws.
    assert 0.97 * bound < largest <= bound


def test_default_head_widths():
  """64 as in the paper, or what divides the channels."""
  assert mamba2.Config(768).head_width == 64
  assert mamba2.Config(768).heads == 24
  assert mamba2.Config(6).head_width == 12
  assert mamba2.Config(50).head_width == 50
  assert mamba2.Config(8, headdim=2).heads == 8


def test_configs_are_hashable_and_unlimited_by_default():
  config = mamba2.Config(4, dt_limit=[0.0, math.inf])
  assert hash(config) == hash(mamba2.Config(4))
