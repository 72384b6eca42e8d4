"""FFM against the authors' PyTorch file (float64)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.state_space import ffm
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import subtree

# The original multiplies by powers of the decay and divides by them again.
FORWARD = 1e-11


def _params(arrays, width):
  """Parameters, or gradients, by our names; inputs get columns of zeros."""
  W = arrays["pre.weight"].T
  return {
    "W_in": np.pad(W, ((0, width - len(W)), (0, 0))),
    "b_in": arrays["pre.bias"],
    "decay": arrays["ffa.a"].ravel(),
    "frequency": arrays["ffa.b"].ravel(),
    "W_mix": arrays["mix.weight"].T,
    "b_mix": arrays["mix.bias"],
  }


@pytest.fixture
def case(x64, golden):
  del x64
  data = golden("ffm/ffm")
  width, inputs = data["y"].shape[-1], data["x"].shape[-1]
  memory, count = data["state"].shape[1:]
  config = ffm.Config(width, d_memory=memory, frequencies=count)
  data["x"] = np.pad(data["x"], ((0, 0), (0, 0), (0, width - inputs)))
  params = _params(subtree(data, "param/"), width)
  return config, params, data, inputs


def test_golden(case):
  """Outputs, the last state, and the gradients of sum(y * w)."""
  config, params, data, inputs = case

  def loss(params, x):
    y, state = ffm.apply(config, params, x)
    return jnp.sum(y * data["w"]), (y, state.S)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (value, (y, S)), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y"], FORWARD)
  close(S, data["state"], FORWARD)
  close(value, data["loss"], 1e-8)  # Stored with nine digits.
  close(grad_x[..., :inputs], data["grad_x"], GRADIENT)
  expected = _params(subtree(data, "grad_param/"), config.d_model)
  expected["W_in"] = expected["W_in"][:inputs]
  grads["W_in"] = grads["W_in"][:inputs]
  for name in params:
    close(grads[name], expected[name], GRADIENT)


def test_golden_from_a_state_by_steps(case):
  config, params, data, _ = case
  state = ffm.State(jnp.asarray(data["carried/init"]))
  step = jax.jit(functools.partial(ffm.step, config, params))
  for t in range(data["x"].shape[1]):
    y, state = step(data["x"][:, t], state)
    close(y, data["carried/y"][:, t], FORWARD)
  close(state.S, data["carried/state"], FORWARD)


def test_a_decay_that_was_trained_away_keeps_its_bounds():
  """Absolute values stay below 1, and above that of `fastest`."""
  config = ffm.Config(4, d_memory=2, frequencies=1, fastest=0.5)
  params = ffm.init(jax.random.key(0), config)
  params["decay"] = jnp.array([2.0, -9.0])
  size = np.abs(ffm._eigenvalues(config, params))[:, 0]
  np.testing.assert_allclose(size, [1, np.exp(-0.5)], rtol=1e-6)
  free = ffm.Config(4, d_memory=2, frequencies=1, fastest=None)
  size = np.abs(ffm._eigenvalues(free, params))[:, 0]
  np.testing.assert_allclose(size, [1, np.exp(-9)], rtol=1e-6)
