"""The gated networks beside FlashRNN's numbers and Flax's cells."""

import chex
from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from tests.mixers import checks

# float64 against float64 of another program: a few roundings per step.
_GOLDEN = {"rtol": 1e-11, "atol": 1e-12}


def _golden_problem(mixer, data):
  """A mixer whose input is the golden file's projected input, laid flat.

  The input kernels pick the gates out of the flat input, and the output
  projection copies the hidden state into the first outputs.
  """
  batch, time, gates, heads, features = data["Wx"].shape
  width = heads * features
  d_model = gates * width
  config = mixer.Config(d_model, d_hidden=width, heads=heads)
  params = {
    "W": jnp.eye(d_model).reshape(d_model, gates, width),
    "R": jnp.asarray(data["R"].transpose(1, 3, 0, 2)),
    "b": jnp.asarray(data["b"].reshape(-1, width)),
  }
  if d_model != width:
    params |= {"W_out": jnp.eye(width, d_model), "b_out": jnp.zeros(d_model)}
  x = jnp.asarray(data["Wx"].reshape(batch, time, d_model))
  state = data["states_initial"].reshape(-1, batch, width)
  return config, params, x, mixer.State(*map(jnp.asarray, state))


def _states(mixer, through, config, params, x, state):
  """The states (states, batch, time, width), and the last one."""
  if through == "apply":  # Outputs are hidden states.
    y, state = mixer.apply(config, params, x, state)
    return y[None, ..., : config.width], state
  states = []
  for t in range(x.shape[1]):
    if through == "step":
      _, state = mixer.step(config, params, x[:, t], state)
    else:
      _, state = mixer.apply(config, params, x[:, t : t + 1], state)
    states.append(jnp.stack(state))
  return jnp.stack(states, 2), state


@pytest.mark.parametrize(
  "init", [pytest.param("zeroinit", marks=pytest.mark.slow), "randinit"]
)
@pytest.mark.parametrize(
  ("name", "through"),
  [
    pytest.param("elman", "apply", marks=pytest.mark.slow),
    ("gru", "apply"),
    # The golden loss weighs the cell at every step, and `apply` returns the
    # last one: so it runs over sequences of length 1.
    ("lstm", "apply to each"),
    pytest.param("lstm", "step", marks=pytest.mark.slow),
    ("slstm", "apply"),
  ],
)
def test_golden(golden, x64, name, init, through):
  mixer, data = mixers.get(name), golden(f"flashrnn/{name}_{init}")
  config, params, x, state = _golden_problem(mixer, data)
  lead = (-1, *x.shape[:2], config.width)

  def loss(params, x, state):
    states, last = _states(mixer, through, config, params, x, state)
    cotangent = data["cot"].reshape(lead)[: len(states)]
    return jnp.sum(states * cotangent), (states, last)

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
  gradients, (states, last) = gradient(params, x, state)
  d_params, d_x, d_state = gradients
  chex.assert_trees_all_close(
    {
      "states": states,
      "last_states": jnp.stack(last),
      "dWx": d_x,
      "dR": d_params["R"].transpose(2, 0, 3, 1),
      "db": d_params["b"].reshape(data["db"].shape),
      "dstates_initial": jnp.stack(d_state),
    },
    {
      "states": data["states"].reshape(lead)[: len(states)],
      "last_states": data["last_states"].reshape(np.shape(last)),
      "dWx": data["dWx"].reshape(x.shape),
      "dR": data["dR"],
      "db": data["db"],
      "dstates_initial": data["dstates_initial"].reshape(np.shape(last)),
    },
    **_GOLDEN,
  )


def test_golden_lstm_in_one_call(golden, x64):
  mixer, data = mixers.get("lstm"), golden("flashrnn/lstm_randinit")
  config, params, x, state = _golden_problem(mixer, data)
  apply = jax.jit(mixer.apply, static_argnums=0)
  y, last = apply(config, params, x, state)
  hidden = data["states"][0].reshape(*x.shape[:2], -1)
  np.testing.assert_allclose(y[..., : config.width], hidden, **_GOLDEN)
  expected = data["last_states"].reshape(np.shape(last))
  np.testing.assert_allclose(jnp.stack(last), expected, **_GOLDEN)


# The cell, and the names of its layers whose weights stand side by side.
_CELLS = {
  "elman": (linen.SimpleCell, ["i"], ["h"], ["i"]),
  "gru": (
    linen.GRUCell,
    ["ir", "iz", "in"],
    ["hn", "hr", "hz"],
    ["hn", "ir", "iz", "in"],
  ),
  "lstm": (
    linen.OptimizedLSTMCell,
    ["ii", "if", "ig", "io"],
    ["hi", "hf", "hg", "ho"],
    ["hi", "hf", "hg", "ho"],
  ),
}


@pytest.mark.parametrize("name", _CELLS)
def test_equals_flax_cell(x64, name):
  """The mapping that the modules' docstrings tell."""
  cell_type, inputs, recurrent, biases = _CELLS[name]
  mixer, d_model, batch, time = mixers.get(name), 5, 3, 6
  keys = jax.random.split(jax.random.key(0), 4)
  cell = cell_type(d_model, param_dtype=jnp.float64)
  x = jax.random.normal(keys[0], (batch, time, d_model), jnp.float64)
  shape = (len(mixer.State._fields), batch, d_model)
  state = mixer.State(*jax.random.normal(keys[1], shape, jnp.float64))
  # Flax has the cell before the hidden state, which it has alone without one.
  carry = state[::-1] if len(state) > 1 else state[0]
  variables = jax.jit(cell.init)(keys[2], carry, x[:, 0])
  # Biases start at zero, which would hide a wrong order.
  theirs = jax.tree.map(
    lambda leaf: leaf + jax.random.normal(keys[3], leaf.shape, leaf.dtype),
    variables["params"],
  )
  mine = {
    "W": jnp.stack([theirs[layer]["kernel"] for layer in inputs], 1),
    "R": jnp.stack([theirs[layer]["kernel"] for layer in recurrent], 1)[None],
    "b": jnp.stack([theirs[layer]["bias"] for layer in biases]),
  }
  apply = jax.jit(mixer.apply, static_argnums=0)
  step = jax.jit(cell.apply)
  y, last = apply(mixer.Config(d_model), mine, x, state)
  for t in range(time):
    carry, expected = step({"params": theirs}, carry, x[:, t])
    np.testing.assert_allclose(y[:, t], expected, **_GOLDEN)
  carry = carry[::-1] if len(state) > 1 else [carry]
  np.testing.assert_allclose(jnp.stack(last), jnp.stack(carry), **_GOLDEN)


@pytest.mark.parametrize("d_hidden", [None, 12])
def test_init(d_hidden):
  gru = mixers.get("gru")
  config = gru.Config(8, d_hidden=d_hidden, heads=2)
  params = jax.jit(gru.init, static_argnums=1)(jax.random.key(0), config)
  width = d_hidden or 8
  shapes = {
    "W": (8, 3, width),
    "R": (2, width // 2, 3, width // 2),
    "b": (4, width),
  }
  if d_hidden:
    shapes |= {"W_out": (width, 8), "b_out": (8,)}
  assert jax.tree.map(jnp.shape, params) == shapes
  chex.assert_tree_all_finite(params)
  blocks = jnp.moveaxis(params["R"], 2, 1)
  identity = jnp.broadcast_to(jnp.eye(width // 2), blocks.shape)
  # Float32 QR.
  np.testing.assert_allclose(
    blocks @ blocks.swapaxes(-1, -2), identity, atol=1e-5
  )


def test_scale_of_the_input_kernel():
  gru = mixers.get("gru")
  init = jax.jit(gru.init, static_argnums=1)
  params = init(jax.random.key(0), gru.Config(256))
  # 196,608 draws: the relative error of the deviation is about 0.2 %.
  np.testing.assert_allclose(params["W"].std(), 256**-0.5, rtol=0.01)


@pytest.mark.parametrize("name", ["lstm", "slstm"])
def test_forget_bias(name):
  mixer = mixers.get(name)
  params = mixer.init(jax.random.key(0), mixer.Config(4, forget_bias=2.0))
  np.testing.assert_array_equal(
    params["b"], [[0.0] * 4, [2.0] * 4, [0.0] * 4, [0.0] * 4]
  )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["elman", "gru", "lstm", "slstm"])
def test_errors_of_bfloat16_do_not_grow_with_time(name):
  mixer, width, time = mixers.get(name), 32, 1024
  config = mixer.Config(width)
  params = jax.jit(mixer.init, static_argnums=1)(jax.random.key(0), config)
  shape = 2, time, width
  x = jax.random.normal(jax.random.key(1), shape, jnp.bfloat16)
  apply = jax.jit(mixer.apply, static_argnums=0)
  y, _ = jax.device_get(apply(config, params, x))
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, "d"), (params, x))
    exact, _ = jax.device_get(apply(config, *wide))
  # Of 64 elements each, over the size of the numbers: one rounding of y is 2e-3
  # at most, and the state forgets what products were rounded by.
  errors = np.linalg.norm((y - exact).reshape(2, -1, 64 * width), axis=(0, 2))
  sizes = np.linalg.norm(exact.reshape(2, -1, 64 * width), axis=(0, 2))
  assert (errors / sizes).max() < checks.of(name).bfloat16_error[0]
