import chex
from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import lstm

# float64 against float64 of another program: a few roundings per step.
_GOLDEN = {"rtol": 1e-11, "atol": 1e-12}


def _golden_mixer(data):
  """An LSTM whose input is the golden file's projected input, laid flat.

  The input kernels pick the gates out of the flat input; the hidden state is
  read from the state.
  """
  _, _, gates, heads, features = data["Wx"].shape
  width = heads * features
  d_model = gates * width
  config = lstm.Config(d_model, d_hidden=width, heads=heads)
  params = {
    "W": jnp.eye(d_model).reshape(d_model, gates, width),
    "R": jnp.asarray(data["R"].transpose(1, 3, 0, 2)),
    "b": jnp.asarray(data["b"].reshape(-1, width)),
    "W_out": jnp.eye(width, d_model),
    "b_out": jnp.zeros(d_model),
  }
  x = jnp.asarray(data["Wx"].reshape(*data["Wx"].shape[:2], -1))
  h, c = jnp.asarray(data["states_initial"].reshape(2, len(x), width))
  return config, params, x, lstm.State(h, c)


@pytest.mark.parametrize(
  "name",
  [pytest.param("lstm_zeroinit", marks=pytest.mark.slow), "lstm_randinit"],
)
@pytest.mark.parametrize("through", ["apply", "step"])
def test_golden(golden, x64, name, through):
  data = golden(f"flashrnn/{name}")
  config, params, x, state = _golden_mixer(data)
  width = config.d_hidden
  batch, time, _ = x.shape
  cotangent = data["cot"].reshape(2, batch, time, width)

  def loss(params, x, state):
    # The golden loss weighs the cell at every step, and `apply` returns the
    # last one: so it runs over sequences of length 1.
    states = []
    for t in range(time):
      if through == "apply":
        _, state = lstm.apply(config, params, x[:, t : t + 1], state)
      else:
        _, state = lstm.step(config, params, x[:, t], state)
      states.append(jnp.stack(state))
    states = jnp.stack(states, 2)
    return jnp.sum(states * cotangent), (states, state)

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
      "states": data["states"].reshape(2, batch, time, width),
      "last_states": data["last_states"].reshape(2, batch, width),
      "dWx": data["dWx"].reshape(batch, time, -1),
      "dR": data["dR"],
      "db": data["db"],
      "dstates_initial": data["dstates_initial"].reshape(2, batch, width),
    },
    **_GOLDEN,
  )


def test_golden_in_one_call(golden, x64):
  data = golden("flashrnn/lstm_randinit")
  config, params, x, state = _golden_mixer(data)
  apply = jax.jit(lstm.apply, static_argnums=0)
  y, last = apply(config, params, x, state)
  width = config.d_hidden
  np.testing.assert_allclose(
    y[..., :width],
    data["states"][0].reshape(*x.shape[:2], width),
    rtol=1e-11,
    atol=1e-12,
  )
  np.testing.assert_allclose(
    jnp.stack(last),
    data["last_states"].reshape(2, len(x), width),
    rtol=1e-11,
    atol=1e-12,
  )


def test_equals_flax_cell(x64):
  """The mapping that the module's docstring tells."""
  d_model, batch, time = 5, 3, 6
  keys = jax.random.split(jax.random.key(0), 4)
  cell = linen.OptimizedLSTMCell(d_model, param_dtype=jnp.float64)
  x = jax.random.normal(keys[0], (batch, time, d_model), jnp.float64)
  c, h = jax.random.normal(keys[1], (2, batch, d_model), jnp.float64)
  variables = jax.jit(cell.init)(keys[2], (c, h), x[:, 0])
  # Biases start at zero, which would hide a wrong order.
  theirs = jax.tree.map(
    lambda leaf: leaf + jax.random.normal(keys[3], leaf.shape, leaf.dtype),
    variables["params"],
  )
  gates = "ifgo"
  mine = {
    "W": jnp.stack([theirs[f"i{gate}"]["kernel"] for gate in gates], 1),
    "R": jnp.stack([theirs[f"h{gate}"]["kernel"] for gate in gates], 1)[None],
    "b": jnp.stack([theirs[f"h{gate}"]["bias"] for gate in gates]),
  }
  apply = jax.jit(lstm.apply, static_argnums=0)
  step = jax.jit(cell.apply)
  y, state = apply(lstm.Config(d_model), mine, x, lstm.State(h, c))
  for t in range(time):
    (c, h), expected = step({"params": theirs}, (c, h), x[:, t])
    np.testing.assert_allclose(y[:, t], expected, rtol=1e-11, atol=1e-12)
  np.testing.assert_allclose(state.h, h, rtol=1e-11, atol=1e-12)
  np.testing.assert_allclose(state.c, c, rtol=1e-11, atol=1e-12)


def test_forget_bias():
  params = lstm.init(jax.random.key(0), lstm.Config(4, forget_bias=2.0))
  np.testing.assert_array_equal(
    params["b"], [[0.0] * 4, [2.0] * 4, [0.0] * 4, [0.0] * 4]
  )


def test_bad_config():
  with pytest.raises(ValueError, match="a multiple of heads"):
    lstm.Config(6, heads=4)
