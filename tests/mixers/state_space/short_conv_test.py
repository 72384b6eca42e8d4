"""LFM2's gated short convolution against transformers (float64)."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxseq.mixers.state_space import short_conv
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close

_NAMES = {
  "W_in": "in_proj.weight",
  "W_in_bias": "in_proj.bias",
  "conv_weight": "conv.weight",
  "conv_bias": "conv.bias",
  "W_out": "out_proj.weight",
  "W_out_bias": "out_proj.bias",
}


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  params = {}
  for name, original in _NAMES.items():
    if prefix + original in data:
      value = data[prefix + original]
      params[name] = (value[:, 0] if value.ndim == 3 else value).T
  return params


@pytest.mark.parametrize("name", ["plain", "bias"])
def test_golden(x64, golden, name):
  """Outputs and the gradients of sum(y * w); then step by step."""
  del x64
  data = golden(f"short_conv/{name}")
  params = parameters(data, "param/")
  taps, width = params["conv_weight"].shape
  config = short_conv.Config(width, d_conv=taps, bias=name == "bias")

  def loss(params, x):
    y, _ = short_conv.apply(config, params, x)
    return jnp.sum(y * data["w"]), y

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, y), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y"], FORWARD)
  close(grad_x, data["grad_x"], GRADIENT)
  expected = parameters(data, "grad_param/")
  assert grads.keys() == expected.keys()
  for key in grads:
    close(grads[key], expected[key], GRADIENT)

  step = jax.jit(functools.partial(short_conv.step, config, params))
  state = short_conv.initial_state(config, (2,), jnp.float64)
  for t in range(data["x"].shape[1]):
    y, state = step(data["x"][:, t], state)
    close(y, data["y"][:, t], FORWARD)


def test_a_convolution_has_more_than_one_tap():
  with pytest.raises(ValueError, match="d_conv: got 1, expected an integer of"):
    short_conv.Config(4, d_conv=1)
