"""LightNet's options against its definition, arrays of several axes, masks."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import positions
from jaxseq.mixers.averages import lightnet


def close(actual, expected, tolerance):
  np.testing.assert_allclose(
    actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max())
  )


def random_params(config):
  params = jax.jit(lightnet.init, static_argnums=1)(jax.random.key(0), config)
  rng = np.random.default_rng(0)
  return {
    name: np.asarray(value + 0.1 * rng.normal(size=value.shape))
    for name, value in params.items()
  }


def silu(x):
  return x / (1 + np.exp(-x))


def positioned(x, places, config):
  """LRPE of (time, H, D) by its definition."""
  half = config.key_width // 2
  if config.lrpe == "none":
    return x
  if config.lrpe == "rotary":
    theta = config.lrpe_base ** (-np.arange(half) / half)
    turn = np.exp(1j * places[:, None, None] * theta)
    z = (x[..., :half] + 1j * x[..., half:]) * turn
    return np.concatenate([z.real, z.imag], -1)
  theta = config.lrpe_base ** (-np.arange(2 * half) / half)
  phase = places[:, None, None] * theta
  return np.concatenate([x * np.cos(phase), x * np.sin(phase)], -1)


def definition(config, params, x):
  """One sequence (time, d_model), every output from all weights before it."""
  heads = lambda y: y.reshape(len(x), config.num_heads, -1)  # noqa: E731
  q, k, v = (heads(x @ params[f"W_{name}"]) for name in "qkv")
  q = silu(q) * (config.key_width**-0.5 if config.scale_q else 1)
  if config.decay == "scalar":
    g, k = (x @ params["W_f"])[..., None], silu(k)
  else:
    g, k = k, np.ones_like(k)
  total = config.delta_0 + np.cumsum(np.exp(g), 0)
  # The gain with which an element enters, times total.
  own = np.exp(g)
  if config.decay == "scalar" and not config.input_gate:
    own = total
  o = np.zeros_like(v)
  places = np.arange(len(x))
  q = positioned(q, places, config)
  for t in places:
    keys = positioned(
      own[: t + 1] / total[t] * k[: t + 1], places[: t + 1], config
    )
    weights = np.einsum("hd,shd->sh", q[t], keys)
    o[t] = np.einsum("sh,she->he", weights, v[: t + 1])
  o = o.reshape(len(x), -1)
  gate = x @ params["W_u1"] @ params["W_u2"]
  gate = silu(gate) if config.gate == "silu" else 1 / (1 + np.exp(-gate))
  if config.gate_position == "pre":
    o = o * gate
  square = (o * o).sum(-1, keepdims=True)
  if config.norm_eps_on == "sum":
    square = (square + config.norm_eps) / config.d_model
  else:
    square = square / config.d_model + config.norm_eps
  o = o / np.sqrt(square) * params["norm"]
  if config.gate_position == "post":
    o = o * gate
  return o @ params["W_o"]


@pytest.mark.slow
@pytest.mark.parametrize(
  "options",
  [
    {"lrpe": "none", "delta_0": 0},
    {"lrpe": "none", "delta_0": 1, "gate": "silu", "norm_eps": 0.1},
    {"lrpe": "cosine", "delta_0": 0, "lrpe_base": 100.0, "scale_q": True},
    {"lrpe": "rotary", "norm_eps_on": "mean", "norm_eps": 0.1},
    {"decay": "scalar", "lrpe": "none", "delta_0": 0},
    {"decay": "scalar", "lrpe": "cosine", "input_gate": True},
    {"decay": "scalar", "lrpe": "rotary", "gate_position": "post"},
  ],
)
def test_options_equal_the_definition(x64, options):
  """Both values of delta_0, positions, decays, gates, norms."""
  del x64
  config = lightnet.Config(8, heads=2, **options)
  params = random_params(config)
  x = np.random.default_rng(1).normal(size=(11, 8))
  reset = np.arange(11) == 6
  y, _ = jax.jit(lambda *a: lightnet.apply(config, *a))(params, x, None, reset)
  close(y[:6], definition(config, params, x[:6]), 1e-11)
  close(y[6:], definition(config, params, x[6:]), 1e-11)


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 2)])
def test_arrays_of_any_number_of_axes(x64, shape):
  """Every element sees all others, at their distances; a token before them."""
  del x64
  config = lightnet.Config(8, heads=2, lrpe_base=10.0)
  params = random_params(config)
  x = np.random.default_rng(1).normal(size=(13, 8))
  y, state = jax.jit(
    functools.partial(lightnet.apply, config, shape=shape, num_extra=1)
  )(params, x)
  assert state is None
  heads = lambda name: (x @ params[name]).reshape(13, 2, 4)  # noqa: E731
  q, g, v = silu(heads("W_q")), heads("W_k"), heads("W_v")
  keys = np.exp(g) / np.exp(g).sum(0)
  theta = positions.md_frequencies(4, len(shape), 10.0)
  grid = np.stack(np.indices(shape), -1).reshape(12, -1)
  # One block of channels for each axis, and none for the token.
  phase = (grid[:, :, None] * theta).reshape(12, -1)[:, :4]
  phase = np.concatenate([np.zeros((1, 4)), phase])
  cos = np.cos(phase[:, None] - phase)
  weights = np.einsum("thd,tsd,shd->tsh", q, cos, keys)
  o = np.einsum("tsh,she->the", weights, v).reshape(13, 8)
  o = o / (1 + np.exp(-x @ params["W_u1"] @ params["W_u2"]))
  o = o / np.sqrt(((o * o).sum(-1, keepdims=True) + 1e-5) / 8) * params["norm"]
  close(y, o @ params["W_o"], 1e-11)


def test_arrays_without_positions_have_no_order(x64):
  """A permutation goes through; what is masked is as if not there."""
  del x64
  config = lightnet.Config(8, heads=2, lrpe="none")
  params = random_params(config)
  rng = np.random.default_rng(1)
  x = rng.normal(size=(2, 12, 8))

  @functools.partial(jax.jit, static_argnames="shape")
  def apply(x, shape, mask=None):
    return lightnet.apply(config, params, x, shape=shape, mask=mask)[0]

  y = apply(x, (3, 4))
  order = rng.permutation(12)
  # float64 rounding, here and below.
  options = {"rtol": 1e-11, "atol": 1e-12}
  np.testing.assert_allclose(apply(x[:, order], (3, 4)), y[:, order], **options)
  np.testing.assert_allclose(apply(x, (12,)), y, **options)
  mask = np.arange(12) < np.array([[5], [0]])
  masked = apply(x, (3, 4), mask)
  alone = apply(x[:1, :5], (5,))
  np.testing.assert_allclose(masked[:1, :5], alone, **options)
  # All of the second row is masked.
  assert not masked[1].any()
  slope = jax.jit(jax.grad(lambda x: jnp.sum(apply(x, (3, 4), mask))))(x)
  chex.assert_tree_all_finite(slope)


@pytest.mark.slow
@pytest.mark.parametrize(
  "decay", ["vector", pytest.param("scalar", marks=pytest.mark.slow)]
)
def test_leading_padding_has_finite_gradients(decay):
  """Also where there is nothing but padding, with and without the phantom."""
  x = np.random.default_rng(1).normal(size=(3, 6, 8)).astype("f")
  x[2, 3:] = x[0, 2:5]
  mask = np.arange(6) >= np.array([[2], [6], [3]])
  for delta_0 in (0, 1):
    config = lightnet.Config(
      8, heads=2, decay=decay, delta_0=delta_0, lrpe="none"
    )
    params = jax.jit(lightnet.init, static_argnums=1)(jax.random.key(0), config)

    @jax.jit
    def gradient(params, x, config=config):
      def loss(params, x):
        y, _ = lightnet.apply(config, params, x, mask=mask)
        return jnp.sum(y**2), y

      return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    (_, y), grads = gradient(params, x)
    chex.assert_tree_all_finite(grads)
    assert not y[0, :2].any()
    assert not y[1].any()
    # Different paddings, one sequence: float32 rounding.
    np.testing.assert_allclose(y[2, 3:], y[0, 2:5], rtol=1e-4, atol=1e-5)


def test_sizes():
  """Heads and ranks of the two codes, by default; shapes of all parameters."""
  assert lightnet.Config(1024).num_heads == 8
  assert lightnet.Config(2048).num_heads == 16
  config = lightnet.Config(64, heads=4, d_key=8, decay="scalar")
  params = jax.jit(lightnet.init, static_argnums=1)(jax.random.key(0), config)
  chex.assert_type(list(params.values()), jnp.float32)
  assert {name: leaf.shape for name, leaf in params.items()} == {
    "W_q": (64, 32),
    "W_k": (64, 32),
    "W_v": (64, 64),
    "W_u1": (64, 16),
    "W_u2": (16, 64),
    "W_o": (64, 64),
    "W_f": (64, 4),
    "norm": (64,),
  }
  # The count that the first author's layer has: 4 d^2 + 2 d d/H + d.
  params = jax.jit(lightnet.init, static_argnums=1)(
    jax.random.key(0), lightnet.Config(64, heads=4)
  )
  count = sum(leaf.size for leaf in params.values())
  assert count == 4 * 64**2 + 2 * 64 * 16 + 64
  # 4096 draws of a normal of this width estimate it to 1 %.
  np.testing.assert_allclose(params["W_k"].std(), 64**-0.5, rtol=0.05)


@pytest.mark.parametrize(
  ("options", "kwargs", "message"),
  [
    ({}, {"num_extra": 1}, "num_extra: got 1, expected 0 without shape"),
    (
      {},
      {"shape": (2, 4)},
      r"x: got .*6.*, expected .*prod\(shape\) = 8 elements",
    ),
    ({}, {"shape": (6,), "reset": jnp.ones((2, 6), bool)}, "there is no time"),
    ({"lrpe": "rotary"}, {"shape": (6,)}, "lrpe: got 'rotary', expected"),
    ({"decay": "scalar"}, {"shape": (6,)}, "decay: got 'scalar', expected"),
    ({}, {"mask": jnp.ones((2, 6))}, "mask: got dtype float32"),
    ({}, {"shape": (6,), "mask": jnp.ones(6, bool)}, "mask: got shape"),
  ],
)
def test_bad_arguments_are_named(options, kwargs, message):
  config = lightnet.Config(8, **options)
  params = lightnet.init(jax.random.key(0), config)
  with pytest.raises(ValueError, match=message):
    lightnet.apply(config, params, jnp.ones((2, 6, 8)), **kwargs)
