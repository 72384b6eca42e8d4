import chex
from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import elman

# float64 against float64 of another program: a few roundings per step.
_GOLDEN = {"rtol": 1e-11, "atol": 1e-12}


@pytest.mark.parametrize(
  "name",
  [pytest.param("elman_zeroinit", marks=pytest.mark.slow), "elman_randinit"],
)
def test_golden(golden, x64, name):
  """The input is the golden file's projected input, laid flat."""
  data = golden(f"flashrnn/{name}")
  batch, time, _, heads, features = data["Wx"].shape
  width = heads * features
  config = elman.Config(width, heads=heads)
  params = {
    "W": jnp.eye(width)[:, None],
    "R": jnp.asarray(data["R"].transpose(1, 3, 0, 2)),
    "b": jnp.asarray(data["b"].reshape(1, width)),
  }
  cotangent = data["cot"].reshape(batch, time, width)

  def loss(params, x, state):
    y, final = elman.apply(config, params, x, state)
    return jnp.sum(y * cotangent), (y, final.h)

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
  gradients, (hidden, last) = gradient(
    params,
    jnp.asarray(data["Wx"].reshape(batch, time, width)),
    elman.State(jnp.asarray(data["states_initial"].reshape(batch, width))),
  )
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
      "dWx": data["dWx"].reshape(batch, time, width),
      "dR": data["dR"],
      "db": data["db"],
      "dstates_initial": data["dstates_initial"].reshape(batch, width),
    },
    **_GOLDEN,
  )


def test_equals_flax_cell(x64):
  keys = jax.random.split(jax.random.key(0), 4)
  cell = linen.SimpleCell(5, param_dtype=jnp.float64)
  x = jax.random.normal(keys[0], (3, 6, 5), jnp.float64)
  h = jax.random.normal(keys[1], (3, 5), jnp.float64)
  variables = jax.jit(cell.init)(keys[2], h, x[:, 0])
  # Biases start at zero, which would hide that one is missing.
  theirs = jax.tree.map(
    lambda leaf: leaf + jax.random.normal(keys[3], leaf.shape, leaf.dtype),
    variables["params"],
  )
  mine = {
    "W": theirs["i"]["kernel"][:, None],
    "R": theirs["h"]["kernel"][None, :, None],
    "b": theirs["i"]["bias"][None],
  }
  apply = jax.jit(elman.apply, static_argnums=0)
  step = jax.jit(cell.apply)
  y, state = apply(elman.Config(5), mine, x, elman.State(h))
  for t in range(6):
    h, expected = step({"params": theirs}, h, x[:, t])
    np.testing.assert_allclose(y[:, t], expected, **_GOLDEN)
  np.testing.assert_allclose(state.h, h, **_GOLDEN)


def test_bad_config():
  with pytest.raises(ValueError, match="a multiple of heads"):
    elman.Config(6, heads=4)
