import chex
from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import gru

# float64 against float64 of another program: a few roundings per step.
_GOLDEN = {"rtol": 1e-11, "atol": 1e-12}


def _golden_mixer(data):
  """A GRU whose input is the golden file's projected input, laid flat.

  The input kernels pick the gates out of the flat input, and the output
  projection copies the hidden state into the first outputs.
  """
  _, _, gates, heads, features = data["Wx"].shape
  width = heads * features
  d_model = gates * width
  config = gru.Config(d_model, d_hidden=width, heads=heads)
  params = {
    "W": jnp.eye(d_model).reshape(d_model, gates, width),
    "R": jnp.asarray(data["R"].transpose(1, 3, 0, 2)),
    "b": jnp.asarray(data["b"].reshape(-1, width)),
    "W_out": jnp.eye(width, d_model),
    "b_out": jnp.zeros(d_model),
  }
  x = jnp.asarray(data["Wx"].reshape(*data["Wx"].shape[:2], -1))
  (h,) = data["states_initial"].reshape(1, len(x), width)
  return config, params, x, gru.State(jnp.asarray(h))


@pytest.mark.parametrize(
  "name", [pytest.param("gru_zeroinit", marks=pytest.mark.slow), "gru_randinit"]
)
def test_golden(golden, x64, name):
  data = golden(f"flashrnn/{name}")
  config, params, x, state = _golden_mixer(data)
  width = config.d_hidden
  batch, time, _ = x.shape
  cotangent = data["cot"][0].reshape(batch, time, width)

  def loss(params, x, state):
    y, final = gru.apply(config, params, x, state)
    return jnp.sum(y[..., :width] * cotangent), (y[..., :width], final.h)

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
  gradients, (hidden, last) = gradient(params, x, state)
  d_params, d_x, d_state = gradients
  chex.assert_trees_all_close(
    {
      "states": hidden,
      "last_states": last,
      "dWx": d_x,
      "dR": d_params["R"].transpose(2, 0, 3, 1),
      "db": d_params["b"].reshape(data["db"].shape),
      "dstates_initial": d_state.h,
    },
    {
      "states": data["states"].reshape(batch, time, width),
      "last_states": data["last_states"].reshape(batch, width),
      "dWx": data["dWx"].reshape(batch, time, -1),
      "dR": data["dR"],
      "db": data["db"],
      "dstates_initial": data["dstates_initial"].reshape(batch, width),
    },
    **_GOLDEN,
  )


def test_equals_flax_cell(x64):
  """The mapping that the module's docstring tells."""
  d_model, batch, time = 5, 3, 6
  keys = jax.random.split(jax.random.key(0), 4)
  cell = linen.GRUCell(d_model, param_dtype=jnp.float64)
  x = jax.random.normal(keys[0], (batch, time, d_model), jnp.float64)
  h = jax.random.normal(keys[1], (batch, d_model), jnp.float64)
  variables = jax.jit(cell.init)(keys[2], h, x[:, 0])
  # Biases start at zero, which would hide a wrong order.
  theirs = jax.tree.map(
    lambda leaf: leaf + jax.random.normal(keys[3], leaf.shape, leaf.dtype),
    variables["params"],
  )
  mine = {
    "W": jnp.stack([theirs[k]["kernel"] for k in ("ir", "iz", "in")], 1),
    "R": jnp.stack([theirs[k]["kernel"] for k in ("hn", "hr", "hz")], 1)[None],
    "b": jnp.stack([theirs[k]["bias"] for k in ("hn", "ir", "iz", "in")]),
  }
  apply = jax.jit(gru.apply, static_argnums=0)
  step = jax.jit(cell.apply)
  y, state = apply(gru.Config(d_model), mine, x, gru.State(h))
  for t in range(time):
    h, expected = step({"params": theirs}, h, x[:, t])
    np.testing.assert_allclose(y[:, t], expected, rtol=1e-11, atol=1e-12)
  np.testing.assert_allclose(state.h, h, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("d_hidden", [None, 12])
def test_init(d_hidden):
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
  params = jax.jit(gru.init, static_argnums=1)(
    jax.random.key(0), gru.Config(256)
  )
  # 196,608 draws: the relative error of the deviation is about 0.2 %.
  np.testing.assert_allclose(params["W"].std(), 256**-0.5, rtol=0.01)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"d_model": 0}, "d_model: got 0, expected an integer of at least 1"),
    (
      {"d_model": 6, "heads": 0},
      "heads: got 0, expected an integer of at least 1",
    ),
    (
      {"d_model": 6, "heads": 4},
      "d_hidden: got 6, expected a multiple of heads = 4",
    ),
    (
      {"d_model": 6, "d_hidden": 0},
      "d_hidden: got 0, expected an integer of at least 1",
    ),
  ],
)
def test_bad_config(options, message):
  with pytest.raises(ValueError, match=message):
    gru.Config(**options)
