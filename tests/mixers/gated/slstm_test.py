import chex
import jax
from jax import test_util
import jax.numpy as jnp
import numpy as np

from jaxseq.mixers.gated import slstm


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
