"""RWKV-4's time mix: its formula, and initial values by layer and depth."""

import jax
import numpy as np

from jaxseq.mixers.averages import rwkv4


def test_the_formula(x64):
  """In numpy, element by element, without the maxima."""
  del x64
  config = rwkv4.Config(4, d_hidden=3)
  rng = np.random.default_rng(0)
  params = rwkv4.init(jax.random.key(0), config)
  params = jax.tree.map(lambda p: p + rng.normal(size=p.shape), params)
  p = jax.tree.map(np.asarray, params)
  x = rng.normal(size=(6, 4))
  apply = jax.jit(rwkv4.apply, static_argnums=0)
  y, _ = apply(config, params, x[None])
  last, above, below = np.zeros(4), np.zeros(3), np.zeros(3)
  for t in range(6):
    k, v, r = (
      (x[t] + (last - x[t]) * p[f"mu_{c}"]) @ p[f"W_{c}"] for c in "kvr"
    )
    now = np.exp(p["bonus"] + k)
    o = (above + now * v) / (below + now)
    expected = (o / (1 + np.exp(-r))) @ p["W_o"]
    np.testing.assert_allclose(y[0, t], expected, rtol=1e-11)
    kept = np.exp(-np.exp(p["decay"]))
    above = kept * above + np.exp(k) * v
    below = kept * below + np.exp(k)
    last = x[t]


def test_initial_values():
  """Of the second of three layers, after the original's formulas."""
  config = rwkv4.Config(8, d_hidden=6, layer=1, num_layers=3)
  params = jax.tree.map(np.asarray, rwkv4.init(jax.random.key(0), config))
  share = np.arange(8) / 8
  expected = {
    "mu_k": share ** (2 / 3),
    "mu_v": share ** (2 / 3) + 0.15,
    "mu_r": share ** (1 / 3),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(1 - params[name], value, rtol=1e-5, atol=1e-7)
  speed = -5 + 8 * (np.arange(6) / 5) ** (0.7 + 0.65)
  np.testing.assert_allclose(params["decay"], speed, rtol=1e-5)
  zigzag = np.log(0.3) + np.array([0, 0.5, -0.5] * 2)
  np.testing.assert_allclose(params["bonus"], zigzag, rtol=1e-5)
  square = params["W_v"].T @ params["W_v"]
  np.testing.assert_allclose(square, np.eye(6), atol=1e-5)
  for name in ("W_k", "W_r", "W_o"):
    assert not params[name].any()


def test_a_layer_alone_is_a_first_one():
  alone = rwkv4.init(jax.random.key(0), rwkv4.Config(8))
  first = rwkv4.init(jax.random.key(0), rwkv4.Config(8, num_layers=9))
  jax.tree.map(np.testing.assert_array_equal, alone, first)
