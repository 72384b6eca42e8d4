"""RTUs against the authors' code (float64), and their online gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import rtrl
from jaxseq.mixers.state_space import rtu
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import subtree

_NAMES = {
  "nu_log": "r_param",
  "theta_log": "theta_param",
  "W_1": "wx1/kernel",
  "W_2": "wx2/kernel",
}


def _params(arrays, width):
  """Parameters, or gradients, by our names; inputs get rows of zeros."""
  params = {name: arrays[theirs] for name, theirs in _NAMES.items()}
  for name in ("nu_log", "theta_log"):
    params[name] = params[name].ravel()
  for name in ("W_1", "W_2"):
    params[name] = np.pad(
      params[name], ((0, width - len(params[name])), (0, 0))
    )
  return params


@pytest.fixture(params=["linear", "non_linear"])
def case(x64, golden, request):
  """Inputs are made as wide as the outputs, which then need no projection."""
  del x64
  data = golden(f"rtu/rtu_{request.param}")
  inputs, width = data["x"].shape[-1], data["y"].shape[-1]
  linear, activation = request.param == "linear", str(data["cfg/activation"])
  config = rtu.Config(width, linear=linear, activation=activation)
  data["x"] = np.pad(data["x"], ((0, 0), (0, 0), (0, width - inputs)))
  return config, _params(subtree(data, "param/"), width), data, inputs


def test_golden(case):
  """Outputs at once and by steps, last states, and gradients of sum(y * w)."""
  config, params, data, inputs = case

  def loss(params, x):
    y, state = rtu.apply(config, params, x)
    return jnp.sum(y * data["w"]), (y, state.h)

  gradient = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
  (grads, grad_x), (y, h) = gradient(params, data["x"])
  close(y, data["y"], FORWARD)
  close(jnp.real(h), data["state_1"], FORWARD)
  close(jnp.imag(h), data["state_2"], FORWARD)
  close(grad_x[..., :inputs], data["grad_x"], GRADIENT)
  _check(grads, _params(subtree(data, "grad_param/"), config.d_model), inputs)
  step = jax.jit(functools.partial(rtu.step, config, params))
  state = rtu.initial_state(config, (2,), jnp.float64)
  for t in range(data["x"].shape[1]):
    y, state = step(data["x"][:, t], state)
    close(y, data["y"][:, t], FORWARD)


def test_online_gradients_are_those_of_all_elements(case):
  """One element a call; the original's lack a factor theta, which is here."""
  config, params, data, inputs = case
  online = rtrl.Config(config)

  @jax.jit
  def gradient(params, x, w, state):
    def loss(params):
      y, after = rtrl.step(online, params, x, state)
      return jnp.sum(y * w), after

    return jax.grad(loss, has_aux=True)(params)

  state = rtrl.initial_state(online, (2,), jnp.float64)
  total = jax.tree.map(np.zeros_like, params)
  for t in range(data["x"].shape[1]):
    part = data["x"][:, t], data["w"][:, t]
    grads, state = gradient(params, *part, state)
    total = jax.tree.map(np.add, total, grads)
  width = config.d_model
  _check(total, _params(subtree(data, "grad_param/"), width), inputs)
  original = _params(subtree(data, "online_grad_param/"), width)
  original["theta_log"] = original["theta_log"] * np.exp(params["theta_log"])
  del original["nu_log"]  # Its scale of inputs has another derivative there.
  _check(total, original, inputs)


def _check(found, expected, inputs):
  for name, want in expected.items():
    rows = np.s_[:inputs] if name.startswith("W") else np.s_[:]
    close(found[name][rows], want[rows], GRADIENT)


def test_eigenvalues_at_the_start():
  config = rtu.Config(512, r_min=0.8, r_max=0.9, max_phase=0.1)
  params = rtu.init(jax.random.key(0), config)
  size = np.exp(-np.exp(np.asarray(params["nu_log"], np.float64)))
  # Drawn between these, with the rounding of two logarithms in float32.
  assert 0.7999 < size.min()
  assert size.max() < 0.9001
  assert np.exp(np.asarray(params["theta_log"])).max() < 0.1


def test_the_ring_is_no_wider_than_one():
  with pytest.raises(ValueError, match="r_min: got 0.9, expected 0 <= r_min <"):
    rtu.Config(4, r_min=0.9, r_max=0.8)
