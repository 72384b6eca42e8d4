"""SHM against the authors' code (float64)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import shm
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import subtree

_MATRICES = "key", "query", "value", "vc_net", "eta"


def _params(arrays):
  """Parameters, or gradients, by our names; six outputs of five inputs."""
  matrices = [arrays[f"{name}.weight"].T for name in _MATRICES]
  return {
    "scale": arrays["norm.weight"],
    "shift": arrays["norm.bias"],
    "W": np.concatenate(matrices, axis=1),
    "theta": arrays["theta_matrix"],
    "W_out": arrays["out.weight"].T,
    "b_out": arrays["out.bias"],
  }


def _run(config, params, *arguments, function=shm.apply, **options):
  """All outputs, by two calls, as the mixer's are as wide as its inputs."""
  width = config.d_model
  parts = []
  for columns in (np.s_[:width], np.s_[-width:]):
    out = {name: params[name][..., columns] for name in ("W_out", "b_out")}
    y, state = function(config, params | out, *arguments, **options)
    parts.append(y)
  extra = params["b_out"].shape[0] - width
  return jnp.concatenate([parts[0], parts[1][..., -extra:]], -1), state


@pytest.fixture
def case(x64, golden):
  del x64
  data = golden("shm/shm")
  params = _params(subtree(data, "param/"))
  rows, size = params["theta"].shape
  config = shm.Config(data["x"].shape[-1], d_memory=size, rows=rows)
  return config, params, data


@pytest.mark.parametrize("drawn", [False, True])
def test_golden(case, drawn):
  """Outputs, states and gradients, with row 0 and with rows that are given."""
  config, params, data = case
  rows, prefix = (data["rows/index"], "rows/") if drawn else (None, "")

  def loss(params, x):
    y, state = _run(config, params, x, rows=rows)
    return jnp.sum(y * data["w"]), (y, state.M)

  gradient = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
  (grads, grad_x), (y, M) = gradient(params, data["x"])
  close(y, data[f"{prefix}y"], FORWARD)
  close(M, data[f"{prefix}state"], FORWARD)
  close(grad_x, data[f"{prefix}grad_x"], GRADIENT)
  if drawn:
    close(grads["theta"], data["rows/grad_theta_matrix"], GRADIENT)
    return
  expected = _params(subtree(data, "grad_param/"))
  for name in params:
    close(grads[name], expected[name], GRADIENT)


@pytest.mark.parametrize("prefix", ["", "rows/", "carried/"])
def test_golden_by_steps(case, prefix):
  """With row 0; with rows that are given; with these from a state."""
  config, params, data = case
  state = shm.initial_state(config, (2,), jnp.float64)
  if prefix == "carried/":
    state = shm.State(jnp.asarray(data["carried/init"]))
  step = jax.jit(functools.partial(_run, config, params, function=shm.step))
  for t in range(data["x"].shape[1]):
    rows = data["rows/index"][:, t] if prefix else None
    y, state = step(data["x"][:, t], state, rows=rows)
    close(y, data[f"{prefix}y"][:, t], FORWARD)
  close(state.M, data[f"{prefix}state"], FORWARD)


def test_an_input_that_does_not_change_grows_as_the_factors_say():
  """After n elements M is the sum of the powers of C, times what is added."""
  config = shm.Config(4, d_memory=3)
  params = shm.init(jax.random.key(0), config)
  x = jnp.broadcast_to(jnp.array([1.0, -2.0, 0.5, 3.0]), (20, 4))
  _, once = shm.apply(config, params, x[:1])
  _, twice = shm.apply(config, params, x[:2])
  _, last = shm.apply(config, params, x)
  added = np.asarray(once.M)
  used = np.abs(added) > 0
  C = np.asarray(twice.M)[used] / added[used] - 1
  sums = sum(C**n for n in range(20))
  np.testing.assert_allclose(
    np.asarray(last.M)[used], sums * added[used], rtol=1e-3
  )


def test_rows_that_do_not_fit_get_one_sentence():
  config = shm.Config(4, rows=2)
  params = shm.init(jax.random.key(0), config)
  x = np.zeros((2, 5, 4), np.float32)
  message = r"rows: got 'int32 of shape \(5,\)', expected integers of"
  with pytest.raises(ValueError, match=message):
    shm.apply(config, params, x, rows=np.zeros(5, np.int32))
