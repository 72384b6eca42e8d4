"""RWKV's channel mix: the original's values (float64), and the contract."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.nn import channel_mix
from tests.mixers.golden_cases import close

P = jax.sharding.PartitionSpec
# float64 rounding.
_FLOAT64 = {"rtol": 1e-12, "atol": 1e-13}
_KINDS = pytest.mark.parametrize("receptance", [False, True])


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  return {
    "mu_k": data[f"{prefix}x_k"][0, 0],
    "W_k": data[f"{prefix}key.weight"].T,
    "W_v": data[f"{prefix}value.weight"].T,
  }


def problem(receptance, *batch):
  """A configuration, its parameters moved away from zeros, x and flags."""
  config = channel_mix.Config(3, width=5, receptance=receptance)
  rng = np.random.default_rng(0)
  params = channel_mix.init(jax.random.key(0), config)
  params = jax.tree.map(lambda p: p + rng.normal(size=p.shape), params)
  x = rng.normal(size=(*batch, 8, 3))
  state = rng.normal(size=(*batch, 3))
  return config, params, x, state, rng.random(x.shape[:-1]) < 0.4


def test_golden_values(x64, golden):
  del x64
  data = golden("rwkv/rwkv7_channel_mix")
  params = parameters(data, "param/")
  config = channel_mix.Config(*params["W_k"].shape)

  def loss(params, x):
    y, _ = channel_mix.apply(config, params, x)
    return jnp.sum(y * data["w"]), y

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, y), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y"], 1e-10)
  close(grad_x, data["grad_x"], 1e-9)
  expected = parameters(data, "grad_param/")
  assert grads.keys() == expected.keys()
  for name in grads:
    close(grads[name], expected[name], 1e-9)


def test_the_gate_of_rwkv_4(x64):
  """Against its formula, written out."""
  del x64
  config, params, x, _, _ = problem(True, 2)
  before = np.concatenate([np.zeros((2, 1, 3)), x[:, :-1]], axis=1)
  k, r = (x + (before - x) * params[f"mu_{name}"] for name in "kr")
  value = np.maximum(k @ params["W_k"], 0) ** 2 @ params["W_v"]
  expected = value / (1 + np.exp(-(r @ params["W_r"])))
  y, last = jax.jit(channel_mix.apply, static_argnums=0)(config, params, x)
  chex.assert_trees_all_close(y, expected, **_FLOAT64)
  np.testing.assert_array_equal(last, x[:, -1])


@_KINDS
def test_steps_and_pieces_equal_the_whole(x64, receptance):
  """With resets and a state that others have left behind."""
  del x64
  config, params, x, state, reset = problem(receptance, 2)
  run = jax.jit(functools.partial(channel_mix.apply, config, params))
  step = jax.jit(functools.partial(channel_mix.step, config, params))
  whole = run(x, state, reset)
  first, between = run(x[:, :5], state, reset[:, :5])
  second, last = run(x[:, 5:], between, reset[:, 5:])
  pieces = np.concatenate([first, second], axis=1)
  chex.assert_trees_all_close((pieces, last), whole, **_FLOAT64)
  outputs = []
  for t in range(8):
    y, state = step(x[:, t], state, reset[:, t])
    outputs.append(y)
  steps = np.stack(outputs, axis=1), state
  chex.assert_trees_all_close(steps, whole, **_FLOAT64)


def test_nothing_undefined_passes_a_reset(x64):
  del x64
  config, params, x, state, _ = problem(True, 1)
  reset = np.zeros((1, 8), bool)
  reset[:, 3] = True
  run = functools.partial(channel_mix.apply, config)
  expected, _ = run(params, x, state, reset)
  spoiled = np.where(np.arange(8)[:, None] < 3, np.nan, x)
  y, last = run(params, spoiled, state, reset)
  np.testing.assert_allclose(y[:, 3:], expected[:, 3:], **_FLOAT64)
  assert np.isfinite(last).all()

  def loss(params, x, state):
    y, last = run(params, x, state, reset | (np.arange(8) == 0))
    return jnp.sum(y) + jnp.sum(last)

  gradient = jax.jit(jax.grad(loss, (0, 1)))
  expected = gradient(params, x, state)
  got = gradient(params, x, np.full_like(state, np.inf))
  chex.assert_trees_all_close(got, expected, **_FLOAT64)


@_KINDS
def test_initial_values(receptance):
  """Of the second of four layers."""
  config = channel_mix.Config(32, receptance=receptance, layer=1, num_layers=4)
  params = channel_mix.init(jax.random.key(0), config)
  exponent = 0.75 if receptance else 0.75**4
  expected = 1 - (np.arange(32) / 32) ** exponent
  np.testing.assert_allclose(params["mu_k"], expected, atol=1e-6)
  assert params["W_k"].shape == (32, 128)
  assert not params["W_v"].any()
  if receptance:
    # Orthogonal rows, of the length 2 = sqrt(128 / 32).
    square = params["W_k"] @ params["W_k"].T
    np.testing.assert_allclose(square, 4 * np.eye(32), atol=1e-4)
    np.testing.assert_array_equal(params["mu_r"], params["mu_k"])
    assert not params["W_r"].any()
  else:
    largest = np.abs(params["W_k"]).max()
    assert 0.99 < largest * 32**0.5 / 0.5 <= 1


@pytest.mark.slow
def test_bfloat16_stays_bfloat16():
  config, params, x, _, _ = problem(True, 2)
  params = jax.tree.map(lambda p: p.astype(jnp.float32), params)
  narrow = jnp.asarray(x, jnp.bfloat16)
  y, last = channel_mix.apply(config, params, narrow)
  assert (y.dtype, last.dtype) == (jnp.bfloat16, jnp.float32)
  exact, _ = channel_mix.apply(config, params, narrow.astype(jnp.float32))
  # Four roundings of 2^-9 each, one of them squared.
  error = np.linalg.norm(y.astype(jnp.float32) - exact)
  assert error < 5 * 2**-9 * np.linalg.norm(exact)


@pytest.mark.devices
@_KINDS
def test_time_over_devices(x64, receptance):
  del x64
  config, params, x, state, reset = problem(receptance, 2)
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("sp",))
  time = P(None, "sp")
  split = jax.shard_map(
    functools.partial(channel_mix.apply, config, axis="sp"),
    mesh=mesh,
    in_specs=(P(), time, P(), time),
    out_specs=(time, P()),
  )

  def loss(run):
    def function(params, x, state):
      y, last = run(params, x, state, reset)
      return jnp.sum(y**2) + jnp.sum(last**3), (y, last)

    return jax.jit(jax.value_and_grad(function, (0, 1, 2), has_aux=True))

  whole = functools.partial(channel_mix.apply, config)
  expected = loss(whole)(params, x, state)
  chex.assert_trees_all_close(
    loss(split)(params, x, state), expected, rtol=1e-11, atol=1e-11
  )


def test_bad_input_is_refused():
  with pytest.raises(ValueError, match="layer: got 2, expected an integer"):
    channel_mix.Config(3, layer=2, num_layers=2)
  config, params, x, state, _ = problem(False, 2)
  with pytest.raises(ValueError, match="state"):
    channel_mix.apply(config, params, x, state[:, :2])
