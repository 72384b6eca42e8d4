"""MinGRU and minLSTM against minGRU-pytorch (float64)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close

_PROJECTIONS = {
  "mingru": "to_hidden_and_gate.weight",
  "minlstm": "to_hidden_and_f_i_gate.weight",
}


@pytest.mark.parametrize("name", _PROJECTIONS)
def test_golden(x64, golden, name):
  """From nothing, with gradients; from a state, at once and step by step."""
  del x64
  data, mixer = golden(f"rglru/{name}"), mixers.get(name)
  names = {"W": _PROJECTIONS[name], "W_out": "to_out.weight"}
  params = {ours: data[f"param/{theirs}"].T for ours, theirs in names.items()}
  width, hidden = data["x"].shape[-1], data["h0"].shape[-1]
  config = mixer.Config(width, d_hidden=hidden)

  def loss(params, x):
    y, state = mixer.apply(config, params, x)
    value = jnp.sum(y * data["w"]) + jnp.sum(state.h * data["w_hT"][:, 0])
    return value, (y, state.h)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, (y, h)), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y"], FORWARD)
  close(h, data["hT"][:, 0], FORWARD)
  close(grad_x, data["grad_x"], GRADIENT)
  for ours, theirs in names.items():
    close(grads[ours], data[f"grad_param/{theirs}"].T, GRADIENT)

  begin = mixer.State(jnp.asarray(data["h0"][:, 0]))
  y, state = mixer.apply(config, params, data["x"], begin)
  close(y, data["y_from_h0"], FORWARD)
  close(state.h, data["hT_from_h0"][:, 0], FORWARD)
  step = jax.jit(functools.partial(mixer.step, config, params))
  for t in range(data["x"].shape[1]):
    y, begin = step(data["x"][:, t], begin)
    close(y, data["y_from_h0"][:, t], FORWARD)


def test_gates_far_from_zero_stay_finite():
  """Neither gate of minLSTM underflows where both are all but closed."""
  module = mixers.get("minlstm")
  config = module.Config(1)
  params = {"W": jnp.array([[1.0, -200.0, -200.0]])}
  y, _ = module.apply(config, params, jnp.ones((1, 3, 1)))
  assert np.isfinite(np.asarray(y)).all()
