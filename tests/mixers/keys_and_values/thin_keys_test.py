"""Attention with thin keys, beside attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.keys_and_values import attention
from jaxseq.mixers.keys_and_values import thin_keys

WINDOW = 12


def problem(**options):
  config = attention.Config(
    6, heads=4, kv_heads=2, d_head=6, window=WINDOW, qkv_bias=True, **options
  )
  params = attention.init(jax.random.key(0), config)
  rng = np.random.default_rng(0)
  params = {
    name: np.asarray(w, np.float64) + 0.3 * rng.normal(size=w.shape)
    for name, w in params.items()
  }
  state = attention.initial_state(config, (3,), jnp.float64)
  observed = thin_keys.observe(config, state, queries=4)
  return config, params, rng.normal(size=(3, 40, 6)), observed


def compiled(config, params):
  apply = jax.jit(functools.partial(thin_keys.apply, config, params))
  step = jax.jit(functools.partial(thin_keys.step, config, params))
  return apply, step


@pytest.mark.parametrize(
  "options",
  [
    {"rotary_fraction": 0.7},
    pytest.param(
      {"positions": "none", "scale": 0.7, "gate": "sigmoid"},
      marks=pytest.mark.slow,
    ),
  ],
)
def test_all_channels_are_steps_of_attention(x64, options):
  """For more steps than the window is long, with a reset."""
  del x64
  config, params, x, state = problem(**options)
  apply, step = compiled(config, params)
  reset = np.zeros((3, 40), bool)
  reset[1, 7] = reset[2, 25] = True
  expected, _ = jax.jit(functools.partial(attention.apply, config))(
    params, x, reset=reset
  )
  y, state = apply(x[:, :10], state, reset[:, :10])
  # float64 rounding, of angles of other positions too.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)
  close(y, expected[:, :10])
  state = thin_keys.thin(state, kept=6, whole=5, recent=3)
  for t in range(10, 30):
    y, state = step(x[:, t], state, reset[:, t])
    close(y, expected[:, t])
  y, _ = apply(x[:, 30:], state, reset[:, 30:])
  close(y, expected[:, 30:])


def test_prompts_in_pieces_and_steps_leave_the_same_state(x64):
  """The queries before a reset do not count, however a prompt is read."""
  del x64
  config, params, x, state = problem()
  apply, step = compiled(config, params)
  reset = np.zeros((3, 15), bool)
  reset[0, 13] = reset[1, 4] = True
  _, whole = apply(x[:, :15], state, reset)
  _, pieces = apply(x[:, :9], state, reset[:, :9])
  _, pieces = apply(x[:, 9:12], pieces, reset[:, 9:12])
  for t in range(12, 15):
    _, pieces = step(x[:, t], pieces, reset[:, t])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13),
    whole,
    pieces,
  )
  # Two queries of the first row are left, and all four of the others.
  held = np.any(np.asarray(whole.squares) != 0, axis=(-1, -2))
  np.testing.assert_array_equal(held.sum(axis=1), [2, 4, 4])
  # They are those of the queries, turned by their positions.
  W = params["W_q"] @ np.eye(24)
  q = (x[2, 14] @ W + params["W_q_bias"]).reshape(2, 2, 6)
  first, second = q[..., :3], q[..., 3:]
  angle = 14 * 10000.0 ** (-np.arange(3) / 3)
  cos, sin = np.cos(angle), np.sin(angle)
  turned = np.concatenate(
    [first * cos - second * sin, first * sin + second * cos], axis=-1
  )
  np.testing.assert_allclose(
    whole.squares[2, -1], np.sum(turned**2, axis=1), rtol=1e-10
  )


def test_a_permutation_of_channels_permutes_those_that_are_kept(x64):
  del x64
  config, params, x, state = problem(positions="none")
  order = np.array([3, 0, 5, 1, 4, 2])
  moved = dict(params)
  for name in "qk":
    for matrix in (f"W_{name}", f"W_{name}_bias"):
      w = params[matrix]
      moved[matrix] = w.reshape(*w.shape[:-1], -1, 6)[..., order].reshape(
        w.shape
      )
  results = []
  for one in (params, moved):
    apply, step = compiled(config, one)
    _, after = apply(x[:, :20], state)
    thin = thin_keys.thin(after, kept=3, whole=5, recent=3)
    results.append((thin.channels, step(x[:, 20], thin)[0]))
  (channels, y), (permuted, y_permuted) = results
  np.testing.assert_array_equal(np.sort(order[permuted], axis=-1), channels)
  np.testing.assert_allclose(y, y_permuted, rtol=1e-9)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"positions": "relative"}, "positions: got 'relative', expected 'rotary'"),
    ({"select": "hip"}, "select: got 'hip', expected 'all' for thin keys"),
    ({"bidirectional": True}, "bidirectional: got True, expected False"),
  ],
)
def test_layers_whose_keys_cannot_be_thin(options, message):
  config = attention.Config(6, heads=1, window=WINDOW, **options)
  with pytest.raises(ValueError, match=message):
    thin_keys.observe(config, attention.initial_state(config))


def test_time_is_not_split_over_devices(x64):
  del x64
  config, params, x, state = problem()
  with pytest.raises(ValueError, match="axis: got 'time', expected None with"):
    thin_keys.apply(config, params, x, state, axis="time")
