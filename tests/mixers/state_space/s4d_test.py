"""S4D against the original implementations (float64), and its own options."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.state_space import s4d
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import stored
from tests.mixers.golden_cases import subtree

CASES = {
  "min": {},
  "diag_zoh": {},
  "diag_bilinear": {"discretization": "bilinear"},
  "diag_real": {"init": "real"},
  "diag_legs_dtfree": {"dt_tie": False},
}


def problem(case, data):
  """Configuration and parameters of a case of s4d_kernel."""
  options = CASES[case]
  H, M = data["C"].shape
  N = M if options.get("init") == "real" else 2 * M
  config = s4d.Config(H, N, **options)
  params = {"C": stored(data["C"]), "D": jnp.zeros(H)}
  if case == "min":
    params["Lambda_re"] = jnp.asarray(data["log_A_real"])
    params["Lambda_im"] = jnp.asarray(data["A_imag"])
    params["B"] = stored(np.ones((H, M), complex))
    params["log_step"] = jnp.asarray(data["log_dt"])
    return config, params
  params["Lambda_re"] = jnp.asarray(data["A_real"])
  params["B"] = stored(data["B"])
  dt = data["inv_dt"]
  params["log_step"] = jnp.asarray(dt[:, 0] if config.dt_tie else dt)
  if "A_imag" in data:
    params["Lambda_im"] = -jnp.asarray(data["A_imag"])
  return config, params


@pytest.mark.parametrize(
  "case",
  [
    "min",
    "diag_bilinear",
    "diag_real",
    pytest.param("diag_zoh", marks=pytest.mark.slow),
    pytest.param("diag_legs_dtfree", marks=pytest.mark.slow),
  ],
)
def test_golden_kernel(x64, golden, case):
  """The kernel and its gradients, as the response to an impulse."""
  del x64
  data = subtree(golden("ssm/s4d_kernel"), f"{case}/")
  config, params = problem(case, data)
  config = dataclasses.replace(config, method="convolution")
  H, length = data["K"].shape

  def loss(params):
    impulse = jnp.zeros((length, H), jnp.float64).at[0].set(1)
    K = s4d.apply(config, params, impulse)[0].T
    return jnp.sum(K * data["w"]), K

  gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, K), grads = gradient(params)
  close(K, data["K"], FORWARD)
  expected = {
    "C": data["grad_C"],
    "Lambda_re": data.get("grad_A_real", data.get("grad_log_A_real")),
    "log_step": data.get("grad_inv_dt", data.get("grad_log_dt")),
  }
  if case != "min":
    expected["B"] = data["grad_B"]
  if "grad_A_imag" in data:
    sign = 1 if case == "min" else -1
    expected["Lambda_im"] = sign * data["grad_A_imag"]
  for name, value in expected.items():
    close(grads[name], value.reshape(grads[name].shape), GRADIENT)


@pytest.mark.parametrize(
  "case",
  [pytest.param("diag_bilinear", marks=pytest.mark.slow), "diag_legs_dtfree"],
)
def test_golden_states(x64, golden, case):
  """From a state: outputs, what the state adds to them, and the last state."""
  del x64
  data = subtree(golden("ssm/s4d_kernel"), f"{case}/")
  config, params = problem(case, data)
  u, state0 = jnp.swapaxes(jnp.asarray(data["u"]), 1, 2), data["state0"]
  for method in ("convolution", "chunks"):
    apply = jax.jit(
      functools.partial(s4d.apply, dataclasses.replace(config, method=method))
    )
    y, state = apply(params, u, state0)
    close(jnp.swapaxes(y, 1, 2), data["step_y"], FORWARD)
    close(state, data["state1"], FORWARD)
    y = apply(params, jnp.zeros_like(u), state0)[0]
    close(jnp.swapaxes(y, 1, 2), data["K_state"], FORWARD)

  def body(state, u_t):
    y, state = s4d.step(config, params, u_t, state)
    return state, y

  state, y = jax.jit(lambda *xs: jax.lax.scan(body, *xs))(
    state0, jnp.swapaxes(u, 0, 1)
  )
  close(jnp.transpose(y, (1, 2, 0)), data["step_y"], FORWARD)
  close(state, data["state1"], FORWARD)


def glu(y, weight, bias):
  """Exact GELU, dense to twice the width, gate; the layer of the paper."""
  y = jax.nn.gelu(y, approximate=False) @ weight.T + bias
  value, gate = jnp.split(y, 2, -1)
  return value * jax.nn.sigmoid(gate)


def test_golden_layer(x64, golden):
  """The layer of the short version, with gradients."""
  del x64
  data = subtree(golden("ssm/s4d_kernel"), "layer/")
  raw = subtree(data, "param/")
  H, M = raw["kernel.A_imag"].shape
  config = s4d.Config(H, 2 * M, method="convolution")
  names = {
    "D": "D",
    "C": "kernel.C",
    "log_step": "kernel.log_dt",
    "Lambda_re": "kernel.log_A_real",
    "Lambda_im": "kernel.A_imag",
  }
  params = {ours: jnp.asarray(raw[name]) for ours, name in names.items()}
  params["B"] = stored(np.ones((H, M), complex))

  def loss(params, weight, bias, u):
    y, _ = s4d.apply(config, params, jnp.swapaxes(u, 1, 2))
    y = jnp.swapaxes(glu(y, weight, bias), 1, 2)
    return jnp.sum(y * data["w"]), y

  gradient = jax.jit(jax.value_and_grad(loss, range(4), has_aux=True))
  weight, bias = raw["output_linear.0.weight"], raw["output_linear.0.bias"]
  (_, y), (grads, grad_weight, grad_bias, grad_u) = gradient(
    params, weight[..., 0], bias, data["u"]
  )
  close(y, data["y"], FORWARD)
  close(grad_u, data["grad/u"], GRADIENT)
  close(grad_weight, data["grad/output_linear.0.weight"][..., 0], GRADIENT)
  close(grad_bias, data["grad/output_linear.0.bias"], GRADIENT)
  for ours, name in names.items():
    close(grads[ours], data[f"grad/{name}"], GRADIENT)


@pytest.mark.parametrize(
  "case",
  [
    "bi_glu",
    pytest.param("uni_glu", marks=pytest.mark.slow),
    pytest.param("bi_id", marks=pytest.mark.slow),
  ],
)
def test_golden_block(x64, golden, case):
  """state-spaces/s4's block, whose reference arrays have diagonal kernels."""
  del x64
  data = subtree(golden("ssm/s4_block"), f"{case}/")
  raw = subtree(data, "param/layer.kernel.")
  both = case.startswith("bi")
  H, M = raw["A_real"].shape
  config = s4d.Config(H, 2 * M, dt_transform="softplus", bidirectional=both)
  params = {
    "Lambda_re": jnp.asarray(raw["A_real"]),
    "Lambda_im": -jnp.asarray(raw["A_imag"]),
    "B": jnp.asarray(raw["B"][0]),
    "C": jnp.asarray(raw["C"] if both else raw["C"][0]),
    "D": jnp.asarray(data["param/layer.D"][0]),
    "log_step": jnp.asarray(raw["inv_dt"][:, 0]),
  }
  weight = data["param/output_linear.0.weight"]
  bias = data["param/output_linear.0.bias"]
  for method in ("convolution", "chunks"):
    chosen = dataclasses.replace(config, method=method)
    y, _ = jax.jit(functools.partial(s4d.apply, chosen))(params, data["x"])
    if case.endswith("glu"):
      y = glu(y, weight, bias)
    else:
      y = jax.nn.gelu(y, approximate=False) @ weight.T + bias
    close(y, data["y"], FORWARD)


@pytest.mark.parametrize("init", ["lin", "inv", "legs", "real", "inv2", "quad"])
def test_golden_initial_eigenvalues(golden, init):
  data = golden("ssm/hippo_dplr")
  N = 16
  config = s4d.Config(4, N, init=init, n_ssm=2)
  params = s4d.init(jax.random.key(0), config)
  states = N if init == "real" else N // 2
  A = data[f"s4d/{init}/N{N}/A"]
  pair = () if init == "real" else (2,)
  shapes = {
    "Lambda_re": (2, states),
    "B": (2, states, *pair),
    "C": (4, states, *pair),
    "D": (4,),
    "log_step": (4,),
  }
  if init != "real":
    shapes["Lambda_im"] = (2, states)
    # float32 parameters; the original keeps imaginary parts off zero by 1e-4.
    expected = np.broadcast_to(A.imag, (2, states))
    np.testing.assert_allclose(
      params["Lambda_im"], expected, rtol=1e-6, atol=1.01e-4
    )
  assert {k: v.shape for k, v in params.items()} == shapes
  chex.assert_type(list(params.values()), jnp.float32)
  # The golden set has the first N / 2 of the real ones.
  re = -np.exp(params["Lambda_re"])[:, : A.size]
  np.testing.assert_allclose(re, np.broadcast_to(A.real, re.shape), rtol=1e-5)
