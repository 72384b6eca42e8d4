"""RG-LRU and its block against recurrentgemma (float64)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers.state_space import rglru
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close

_GATES = {"i": "input_gate", "r": "a_gate"}


def gates(data, prefix):
  """The original's parameters of the gates, or their gradients."""
  params = {"Lambda": data[f"{prefix}a_param"]}
  for name, original in _GATES.items():
    params[f"W_{name}"] = data[f"{prefix}{original}.w"]
    params[f"b_{name}"] = data[f"{prefix}{original}.b"].reshape(-1)
  return params


@pytest.mark.parametrize("name", ["rglru", "rglru_extreme"])
def test_golden_recurrence(x64, golden, name):
  """Outputs, states and gradients, with resets and a carried state."""
  del x64
  data = golden(f"rglru/{name}")
  reset = np.asarray(data["reset"], bool)

  def loss(params, x, h0):
    a, b = rglru._coefficients(params, x, reset)
    y, last = recurrence.linear_scan(a, b, h0, reset=reset)
    value = jnp.sum(y * data["w"]) + jnp.sum(last * data["w_hT"])
    return value, (y, last)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))
  arguments = gates(data, "param/"), data["x"], data["h0"]
  (_, (y, last)), (grads, grad_x, grad_h0) = gradient(*arguments)
  close(y, data["y"], FORWARD)
  close(last, data["hT"], FORWARD)
  close(grad_x, data["grad_x"], GRADIENT)
  close(grad_h0, data["grad_h0"], GRADIENT)
  for key, expected in gates(data, "grad_param/").items():
    close(grads[key], expected, GRADIENT)


def test_golden_block(x64, golden):
  """The block, with documents and as one, at once and step by step."""
  del x64
  data = golden("rglru/griffin_block")
  hidden, width = data["param/linear_y.weight"].shape
  config = rglru.Config(
    width, d_hidden=hidden, heads=int(data["num_heads"]), d_conv=4
  )
  params = gates(data, "param/rg_lru.") | {
    "conv_weight": data["param/conv_1d.w"],
    "conv_bias": data["param/conv_1d.b"],
  }
  for ours, original in {
    "y": "linear_y",
    "x": "linear_x",
    "o": "linear_out",
  }.items():
    params[f"W_{ours}"] = data[f"param/{original}.weight"].T
    params[f"b_{ours}"] = data[f"param/{original}.bias"]
  apply = jax.jit(functools.partial(rglru.apply, config, params))
  step = jax.jit(functools.partial(rglru.step, config, params))
  for suffix, reset in (
    ("", np.asarray(data["reset"], bool)),
    ("_one_document", None),
  ):
    y, state = apply(data["x"], None, reset)
    close(y, data[f"y{suffix}"], FORWARD)
    close(state.h, data[f"hT{suffix}"], FORWARD)
    close(state.conv, data[f"conv_state{suffix}"], FORWARD)
  state = rglru.initial_state(config, (2,), jnp.float64)
  for t in range(data["x"].shape[1]):
    y, state = step(data["x"][:, t], state)
    close(y, data["y_one_document"][:, t], FORWARD)


def test_decays_at_the_start():
  params = rglru.init(jax.random.key(0), rglru.Config(64))
  slowest = np.exp(-np.log1p(np.exp(np.asarray(params["Lambda"]))))
  # Drawn between these, with the rounding of an inverse softplus in float32.
  assert 0.8999 < slowest.min()
  assert slowest.max() < 0.99901
