"""Thin keys of attention's cache, beside ThinK's code and whole keys."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.keys_and_values import attention
from jaxseq.mixers.keys_and_values import attention_cache

apply = jax.jit(attention.apply, static_argnums=0)
thin = jax.jit(
  attention_cache.thin,
  static_argnums=(0, 4, 5),
  static_argnames=("recent", "room", "ratio"),
)


def selecting(data, heads, width):
  """A layer whose inputs are its queries, keys and values side by side."""
  inner = heads * width
  config = attention.Config(
    3 * inner,
    heads=heads,
    d_head=width,
    window=data["k"].shape[1] + data["k_new"].shape[1],
    positions="none",
  )
  W = np.eye(3 * inner)
  params = {f"W_{n}": x for n, x in zip("qkv", np.split(W, 3, axis=1))}
  params["W_o"] = W[:inner]

  def inputs(suffix=""):
    parts = [data[name + suffix].swapaxes(0, 1) for name in "qkv"]
    return np.concatenate([x.reshape(len(x), inner) for x in parts], axis=-1)

  return config, params, inputs


@pytest.mark.parametrize("name", ["think_gauss", "think_outliers"])
def test_channels_keys_and_outputs_of_the_authors_code(x64, golden, name):
  del x64
  data = golden(f"think/{name}")
  heads, time, width = data["k"].shape
  ratio, recent = float(data["ratio"]), int(data["recent"])
  config, params, inputs = selecting(data, heads, width)
  x = inputs()
  _, state = apply(config, params, x)
  cache = thin(
    config, params, x[-int(data["observed"]) :], state, ratio, recent
  )
  kept = np.flatnonzero(data["kept"]) % width
  np.testing.assert_array_equal(cache.channels.ravel(), kept)
  np.testing.assert_array_equal(
    cache.thin_keys[-(time - recent) :].swapaxes(0, 1), data["pruned_keys"]
  )
  np.testing.assert_array_equal(
    cache.keys[-recent:].swapaxes(0, 1), data["recent_keys"]
  )
  step = jax.jit(functools.partial(attention_cache.thin_step, config, params))
  whole = thin(config, params, x[-32:], state, 0.0, recent)
  for kind, now in (("full", whole), ("pruned", cache)):
    for t, element in enumerate(inputs("_new")):
      y, now = step(element, now)
      got = y[: heads * width].reshape(heads, width)
      # Pure arithmetic in float64.
      np.testing.assert_allclose(
        got, data[f"output_{kind}"][:, t], rtol=1e-10, atol=1e-12
      )


def problem(window=9, **options):
  config = attention.Config(
    6, heads=4, kv_heads=2, d_head=6, window=window, qkv_bias=True, **options
  )
  params = attention.init(jax.random.key(0), config)
  rng = np.random.default_rng(0)
  params = {
    name: np.asarray(w, np.float64) + 0.3 * rng.normal(size=w.shape)
    for name, w in params.items()
  }
  return config, params, rng.normal(size=(3, 40, 6))


@pytest.mark.parametrize(
  "options",
  [
    {},
    pytest.param(
      {"positions": "none", "scale": 0.7, "gate": "sigmoid"},
      marks=pytest.mark.slow,
    ),
  ],
)
@pytest.mark.parametrize(
  "prompt", [pytest.param(2, marks=pytest.mark.slow), 20]
)
def test_all_channels_are_a_step_of_attention(x64, options, prompt):
  """For more steps than the window is long, with resets."""
  del x64
  config, params, x = problem(**options)
  _, state = apply(config, params, x[:, :prompt])
  cache = thin(
    config, params, x[:, max(0, prompt - 5) : prompt], state, 0.1, recent=4
  )
  assert cache.channels.shape == (3, 2, 6)
  step = jax.jit(functools.partial(attention.step, config, params))
  thin_step = jax.jit(
    functools.partial(attention_cache.thin_step, config, params)
  )
  reset = np.zeros((3, 40), bool)
  reset[1, prompt + 3] = reset[2, prompt + 11] = True
  for t in range(prompt, prompt + 16):
    expected, state = step(x[:, t], state, reset[:, t])
    got, cache = thin_step(x[:, t], cache, reset[:, t])
    # float64 rounding, of angles of other positions too.
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)


def reference(config, params, x, begin, prompt, observed, recent, kept):
  """Outputs behind a prompt, of one row whose episode begins at `begin`.

  Each group of heads chooses channels, by the squares of what is turned.
  """
  time, groups, width = x.shape[0], config.groups, config.head_width
  places = np.arange(time) - begin

  def heads(name):
    y = x @ params[f"W_{name}"] + params[f"W_{name}_bias"]
    return y.reshape(time, -1, width)

  q, k, v = map(heads, "qkv")
  if config.positions == "rotary":
    theta = config.rotary_base ** (-np.arange(width // 2) / (width // 2))
    turns = np.exp(1j * places[:, None, None] * theta)

    def turned(y):
      y = (y[..., : width // 2] + 1j * y[..., width // 2 :]) * turns
      return np.concatenate([y.real, y.imag], axis=-1)

    q, k = turned(q), turned(k)
  asked = q[max(begin, prompt - observed) : prompt]
  cached = k[max(begin, prompt - config.window) : prompt]
  share = config.heads // groups
  old_keys, channels = k.copy(), []
  for group in range(groups):
    of_heads = asked[:, group * share : (group + 1) * share]
    worth = (of_heads**2).sum((0, 1)) * (cached[:, group] ** 2).sum(0)
    chosen = np.sort(np.argsort(-worth)[:kept])
    channels.append(chosen)
    dropped = np.setdiff1d(np.arange(width), chosen)
    old_keys[:, group, dropped] = 0
  k[: prompt - recent] = old_keys[: prompt - recent]
  k, v = np.repeat(k, share, axis=1), np.repeat(v, share, axis=1)
  ys = []
  for t in range(prompt, time):
    seen = slice(max(begin, t - config.window), t + 1)
    scores = np.einsum("hd,khd->hk", q[t], k[seen]) / np.sqrt(width)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights = weights / weights.sum(-1, keepdims=True)
    o = np.einsum("hk,khd->hd", weights, v[seen])
    ys.append(o.reshape(-1) @ params["W_o"])
  return channels, ys


def test_channels_of_turned_keys_that_heads_share(x64):
  """And neither queries nor keys before the episode are of consequence."""
  del x64
  config, params, x = problem()
  prompt, observed, recent = 20, 12, 3
  reset = np.zeros((3, prompt), bool)
  begins = [0, 13, 17]
  reset[1, 13] = reset[2, 17] = True
  _, state = apply(config, params, x[:, :prompt], None, reset)
  cache = thin(
    config, params, x[:, prompt - observed : prompt], state, 0.5, recent
  )
  step = jax.jit(functools.partial(attention_cache.thin_step, config, params))
  ys = []
  for t in range(prompt, prompt + 12):
    y, cache = step(x[:, t], cache)
    ys.append(y)
  for row, begin in enumerate(begins):
    channels, expected = reference(
      config, params, x[row, :32], begin, prompt, observed, recent, 3
    )
    np.testing.assert_array_equal(cache.channels[row], channels)
    # float64 rounding, of angles too.
    np.testing.assert_allclose(
      np.stack(ys)[:, row], expected, rtol=1e-9, atol=1e-11
    )


def test_the_order_of_channels_changes_nothing_but_their_names(x64):
  """Those of W_q and W_k, which no position tells apart."""
  del x64
  config, params, x = problem(positions="none")
  order = np.random.default_rng(1).permutation(6)
  other = dict(params)
  for name in ("W_q", "W_k", "W_q_bias", "W_k_bias"):
    w = params[name]
    w = w.reshape(*w.shape[:-1], -1, 6)[..., order]
    other[name] = w.reshape(params[name].shape)
  found = []
  step = jax.jit(attention_cache.thin_step, static_argnums=0)
  for given in (params, other):
    _, state = apply(config, given, x[:, :20])
    cache = thin(config, given, x[:, 15:20], state, 0.5, 4)
    y, _ = step(config, given, x[:, 20], cache)
    found.append((y, np.asarray(cache.channels)))
  (y, kept), (again, mixed) = found
  assert np.any(kept != mixed)
  np.testing.assert_array_equal(np.sort(order[mixed], axis=-1), kept)
  # float64 rounding.
  np.testing.assert_allclose(again, y, rtol=1e-10, atol=1e-12)


def test_a_key_that_is_lost_is_said(x64):
  del x64
  config, params, x = problem()
  _, state = apply(config, params, x[:, :20])
  cache = thin(config, params, x[:, 10:20], state, 0.5, recent=2, room=3)
  assert cache.keys.shape[1] == 5
  ys = []
  step = jax.jit(functools.partial(attention_cache.thin_step, config, params))
  for t in range(20, 25):
    y, cache = step(x[:, t], cache)
    ys.append(y)
  lost = np.isnan(ys).any(axis=(1, 2))
  np.testing.assert_array_equal(lost, [False, False, False, False, True])


def test_a_channel_that_no_query_reads_goes_first(x64):
  """However large its keys are; and channels may be given in any order."""
  del x64
  rng = np.random.default_rng(0)
  q, k = rng.normal(size=(2, 1, 20, 2, 8))
  q[..., 3], k[..., 3] = 0, 1e6
  kept = attention_cache.channels(jnp.asarray(q), jnp.asarray(k), 0.2)
  assert kept.shape == (1, 2, 7)
  assert 3 not in np.asarray(kept)
  order = rng.permutation(8)
  half = np.asarray(attention_cache.channels(q, k, 0.5))
  mixed = attention_cache.channels(q[..., order], k[..., order], 0.5)
  np.testing.assert_array_equal(np.sort(order[mixed], axis=-1), half)


@pytest.mark.parametrize("name", ["think_gauss", "think_outliers"])
def test_channels_go_in_the_order_of_both_stored_scores(x64, golden, name):
  """That of the authors' code, and that of the paper."""
  del x64
  data = golden(f"think/{name}")
  q, k = (jnp.asarray(data[x]).swapaxes(0, 1) for x in "qk")
  width = k.shape[-1]
  for stored in ("channel_score", "frobenius"):
    order = np.argsort(data[stored], axis=-1)
    for dropped in range(width):
      kept = attention_cache.channels(q[-32:], k, (dropped + 0.5) / width)
      expected = np.sort(order[:, dropped:], axis=-1)
      np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize(
  ("options", "changes", "message"),
  [
    ({"positions": "relative"}, {}, "positions: got 'relative', expected 'rot"),
    ({"select": "hip"}, {}, "select: got 'hip', expected 'all' for thin keys"),
    ({"key_format": {"block": 6}}, {}, "key_format: got BlockFloat"),
    ({}, {"ratio": 1.0}, "ratio: got 1.0, expected a number of at least 0"),
    ({}, {"recent": 10}, "recent: got 10, expected at most window = 9"),
  ],
)
def test_bad_arguments_are_named(x64, options, changes, message):
  del x64
  config, params, x = problem(**options)
  state = attention.initial_state(config, (3,))
  arguments = {"ratio": 0.5, "recent": 3} | changes
  with pytest.raises(ValueError, match=message):
    thin(config, params, x[:, :5], state, **arguments)
