import chex
import jax
from jax import test_util
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import slstm

# float64 against float64 of another program: a few roundings per step.
_GOLDEN = {"rtol": 1e-11, "atol": 1e-12}


@pytest.mark.parametrize(
  "name",
  [pytest.param("slstm_zeroinit", marks=pytest.mark.slow), "slstm_randinit"],
)
def test_golden(golden, x64, name):
  """All four states; the golden loss weighs the hidden state only."""
  data = golden(f"flashrnn/{name}")
  batch, time, gates, heads, features = data["Wx"].shape
  width = heads * features
  d_model = gates * width
  config = slstm.Config(d_model, d_hidden=width, heads=heads)
  # The input kernels pick the gates out of the flat projected input, and the
  # output projection copies the hidden state into the first outputs.
  params = {
    "W": jnp.eye(d_model).reshape(d_model, gates, width),
    "R": jnp.asarray(data["R"].transpose(1, 3, 0, 2)),
    "b": jnp.asarray(data["b"].reshape(gates, width)),
    "W_out": jnp.eye(width, d_model),
    "b_out": jnp.zeros(d_model),
  }
  cotangent = data["cot"][0].reshape(batch, time, width)

  def loss(params, x, state):
    y, final = slstm.apply(config, params, x, state)
    return jnp.sum(y[..., :width] * cotangent), (y[..., :width], final)

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
  gradients, (hidden, last) = gradient(
    params,
    jnp.asarray(data["Wx"].reshape(batch, time, d_model)),
    slstm.State(*data["states_initial"].reshape(4, batch, width)),
  )
  d_params, d_x, d_state = gradients
  chex.assert_trees_all_close(
    {
      "states": hidden,
      "last_states": jnp.stack(last),
      "dWx": d_x,
      "dR": d_params["R"].transpose(2, 0, 3, 1),
      "db": d_params["b"].reshape(data["db"].shape),
      "dstates_initial": jnp.stack(d_state),
    },
    {
      "states": data["states"][0].reshape(batch, time, width),
      "last_states": data["last_states"].reshape(4, batch, width),
      "dWx": data["dWx"].reshape(batch, time, d_model),
      "dR": data["dR"],
      "db": data["db"],
      "dstates_initial": data["dstates_initial"].reshape(4, batch, width),
    },
    **_GOLDEN,
  )


def _unstabilised(gates, c, n):
  """The sLSTM without scale: exp(i) and sigmoid(f) as they are."""
  i, f, z, o = gates
  f = 1 / (1 + np.exp(-f))
  c = f * c + np.exp(i) * np.tanh(z)
  n = f * n + np.exp(i)
  return c / n / (1 + np.exp(-o)), c, n


def test_large_gates_stay_finite_and_exact(x64):
  """The scale m cancels: one episode inside a batch, with a reset."""
  config = slstm.Config(3)
  params = jax.jit(slstm.init, static_argnums=1)(jax.random.key(0), config)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  params["R"] = np.zeros_like(params["R"])
  apply = jax.jit(slstm.apply, static_argnums=0)
  x = 40 * np.random.default_rng(0).normal(size=(2, 9, 3))
  reset = np.zeros((2, 9), bool)
  reset[1, 4] = True
  y, _ = apply(config, params, jnp.asarray(x), None, reset)
  gates = np.einsum("bti,igo->gbto", x, params["W"]) + np.asarray(
    params["b"][:, None, None]
  )
  c = n = np.zeros((2, 3))
  for t in range(9):
    keep = ~np.asarray(reset[:, t, None])
    h, c, n = _unstabilised(gates[:, :, t], c * keep, n * keep)
    # float64 rounding; exponents of up to 100 are well within its range.
    np.testing.assert_allclose(y[:, t], h, rtol=1e-10, atol=1e-12)
  y32, state = apply(
    config,
    jax.tree.map(lambda leaf: leaf.astype(np.float32), params),
    jnp.asarray(100 * x, jnp.float32),
  )
  chex.assert_tree_all_finite((y32, state))


def test_gradient_where_the_bound_below_n_holds(x64):
  """States that no sequence leaves behind, n below 1, by finite differences."""
  config = slstm.Config(2)
  params = jax.jit(slstm.init, static_argnums=1)(jax.random.key(0), config)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 2)))
  # exp(l - m) = 1 and exp(i - m) vanishes: n stays at its bound.
  h, c, n = jnp.asarray([[[0.1, 0.2]], [[0.5, 0.3]], [[0.2, 0.4]]])
  state = slstm.State(h, c, n, jnp.full((1, 2), 50.0))

  @jax.jit
  def run(params, x, state):
    return slstm.apply(config, params, x, state)

  _, final = run(params, x, state)
  np.testing.assert_array_equal(final.n, 1)
  test_util.check_grads(
    run,
    (params, x, state),
    order=1,
    modes=["rev"],
    eps=1e-5,
    atol=1e-6,
    rtol=1e-6,
  )


def test_forget_bias():
  params = slstm.init(jax.random.key(0), slstm.Config(4, forget_bias=2.0))
  np.testing.assert_array_equal(params["b"][:, 0], [0, 2, 0, 0])


def test_bad_config():
  with pytest.raises(ValueError, match="a multiple of heads"):
    slstm.Config(6, heads=4)
