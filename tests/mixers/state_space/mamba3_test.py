"""Mamba-3 against the reference in state-spaces/mamba's tests (float64)."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.state_space import mamba3
from tests.mixers.golden_cases import close

# The golden set's tolerances.
_FORWARD, _GRADIENT = 1e-10, 1e-9
_TIMED = "C", "B", "x", "ADT", "DT", "trap", "angles", "z"
_FIXED = "C_bias", "B_bias", "D"
_STATE = "angle0", "state0", "k0", "v0"


def siso(arguments, state):
  """y * silu(z), and the state, from the original's arguments."""
  heads = arguments["D"].shape[0]
  q, k = (
    jnp.repeat(arguments[name], heads // arguments[name].shape[-2], axis=-2)
    + arguments[f"{name}_bias"]
    for name in "CB"
  )
  decay, dt, trap = (
    jnp.moveaxis(arguments[name], -2, -1) for name in ("ADT", "DT", "trap")
  )
  x = arguments["x"]
  y, state = mamba3.scan(q, k, x, decay, dt, trap, arguments["angles"], state)
  y = y + arguments["D"][:, None] * x
  return y * jax.nn.silu(arguments["z"]), state


@pytest.mark.parametrize("begin", ["zero", "init"])
def test_golden_siso(x64, golden, begin):
  """Outputs, states and gradients, from nothing and from a state."""
  del x64
  data = golden("mamba3/siso")
  given = {name: data[name] for name in _STATE}
  if begin == "zero":
    given = jax.tree.map(np.zeros_like, given)

  def loss(arguments, given):
    angle, S, k, x = (given[name] for name in _STATE)
    state = mamba3.State(angle, S.swapaxes(-1, -2), k, x)
    y, state = siso(arguments, state)
    S = state.S.swapaxes(-1, -2)
    value = jnp.sum(y * data["w"]) + jnp.sum(S * data[f"{begin}/w_stateT"])
    return value, (y, state.angle, S, state.k, state.x)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  arguments = {name: data[name] for name in (*_TIMED, *_FIXED)}
  (_, found), (grads, grads_given) = gradient(arguments, given)
  names = "y", "angleT", "stateT", "kT", "vT"
  for name, value in zip(names, found):
    close(value, data[f"{begin}/{name}"], _FORWARD)
  for name, grad in grads.items():
    close(grad, data[f"{begin}/grad_{name}"], _GRADIENT)
  if begin == "init":
    for name, grad in grads_given.items():
      close(grad, data[f"init/grad_{name}"], _GRADIENT)


def _steps(config, params, xs):
  """Outputs of the equations in the module's docstring, one by one."""
  heads, width = config.heads, config.head_width
  group = config.heads // config.ngroups
  theta = np.zeros((heads, config.angles))
  S = np.zeros((heads, config.d_state, width))
  k_before, x_before = S[:, :, 0], S[:, 0, :]
  ys = []

  def norm(x, scale):
    square = np.mean(x * x, axis=-1, keepdims=True)
    return x / np.sqrt(square + config.norm_eps) * scale

  def turned(x):
    x = np.array(x)
    pairs = x[:, : 2 * config.angles].reshape(heads, -1, 2)
    values = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * theta)
    pairs = np.stack([values.real, values.imag], axis=-1)
    x[:, : 2 * config.angles] = pairs.reshape(heads, -1)
    return x

  def keys(x, name):
    x = norm(x.reshape(config.ngroups, -1), params[f"{name}_norm"])
    return turned(np.repeat(x, group, axis=0) + params[f"{name}_bias"])

  for u in xs:
    cuts = np.cumsum(config.parts)[:-1]
    z, x, B, C, dt, a, trap, angle = np.split(u @ params["in_proj"], cuts)
    x = x.reshape(heads, width)
    dt = np.log1p(np.exp(dt + params["dt_bias"]))
    A = -np.maximum(np.where(a > 0, 1 + a, 1 / (1 - a)), config.A_floor)
    tau = 1 / (1 + np.exp(-trap))
    theta = theta + math.pi * np.tanh(angle) * dt[:, None]
    k, q = keys(B, "B"), keys(C, "C")
    decay = np.exp(A * dt)[:, None, None]
    late, own = (
      w[:, None, None] * k[..., None] * x[:, None]
      for w, k, x in (((1 - tau) * dt, k_before, x_before), (tau * dt, k, x))
    )
    S = decay * (S + late) + own
    y = np.einsum("hn,hnp->hp", q, S) + params["D"][:, None] * x
    if config.norm:
      y = norm(y, params["norm_scale"])
    ys.append((y.ravel() * z / (1 + np.exp(-z))) @ params["out_proj"])
    k_before, x_before = k, x
  return np.stack(ys)


@pytest.mark.parametrize(
  "options",
  [
    {"ngroups": 2, "headdim": 2, "norm": True, "d_state": 7},
    pytest.param({"rotary_fraction": 1.0}, marks=pytest.mark.slow),
  ],
)
def test_the_layer_is_its_equations(x64, options):
  del x64
  config = mamba3.Config(4, **{"d_state": 6, "headdim": 4, **options})
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape),
    jax.device_get(mamba3.init(jax.random.key(0), config)),
  )
  x = 2 * rng.normal(size=(11, 4))
  y, _ = jax.jit(functools.partial(mamba3.apply, config))(params, x)
  # float64 rounding.
  np.testing.assert_allclose(y, _steps(config, params, x), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_angles_keep_their_digits():
  """After 50,000 elements of float32, whose angles add up to thousands."""
  time = 50_000
  rng = np.random.default_rng(0)
  turns = rng.uniform(0, 0.3, (time, 1, 1)).astype("f")
  phase, theta = jax.jit(
    lambda x: mamba3._phases(x, jnp.zeros((1, 1)), None, None)
  )(turns)
  exact = np.cumsum(turns.astype("d"), axis=0)
  # A product of so many rounded numbers, at 6e-8 each at random.
  np.testing.assert_allclose(phase, np.exp(1j * exact), rtol=0, atol=1e-4)
  np.testing.assert_allclose(theta, exact[-1] % (2 * np.pi), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_rates_of_any_size_have_finite_gradients():
  config = mamba3.Config(2, d_state=4, headdim=2)
  params = mamba3.init(jax.random.key(0), config)
  x = jnp.array([[1e3, -1e3], [0, 0], [-1e3, 1e3], [1, 2]])
  reset = jnp.array([False, False, True, False])

  def loss(params, x):
    return jnp.sum(jnp.square(mamba3.apply(config, params, x, None, reset)[0]))

  grads = jax.jit(jax.grad(loss, (0, 1)))(params, x)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
