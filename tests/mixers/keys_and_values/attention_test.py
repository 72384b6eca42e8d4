"""Attention against an explicit softmax over each episode, in float64."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers.keys_and_values import _heads
from jaxseq.mixers.keys_and_values import attention


def turn(x, positions, base):
  """Rotary positions by complex numbers; x (time, heads, D)."""
  half = x.shape[-1] // 2
  theta = base ** (-np.arange(half) / half)
  z = x[..., :half] + 1j * x[..., half:]
  z = z * np.exp(1j * positions[:, None, None] * theta)
  return np.concatenate([z.real, z.imag], -1)


def episode(config, params, x):
  """One episode from a fresh state, element by element."""
  time = len(x)

  def project(name, heads):
    y = x @ params[f"W_{name}"] + params.get(f"W_{name}_bias", 0.0)
    factors = params.get(f"{name}_norm", 1.0)
    if config.qk_norm == "width" and name != "v":
      y = rms(y, config.eps) * factors
    y = y.reshape(time, heads, -1)
    if config.qk_norm == "head" and name != "v":
      y = rms(y, config.eps) * factors
    return y

  q = project("q", config.heads)
  k, v = project("k", config.groups), project("v", config.groups)
  if config.positions == "rotary":
    # Any origin will do.
    places = 3.0 + np.arange(time)
    cut = int(config.rotary_fraction * q.shape[-1])
    for z in (q, k):
      z[..., :cut] = turn(z[..., :cut], places, config.rotary_base)
  out = np.zeros_like(q)
  scale = config.scale or 1 / np.sqrt(q.shape[-1])
  far = np.zeros((config.window + 1, *q.shape[1:]))
  of_contents = of_distances = q
  if config.positions == "relative":
    of_contents = q + params["content_bias"]
    of_distances = q + params["distance_bias"]
    width = config.d_model
    angles = config.rotary_base ** (-np.arange(0, width, 2) / width)
    angles = np.arange(len(far))[:, None] * angles
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    far = (waves @ params["W_r"]).reshape(far.shape)
  for t in range(time):
    seen = slice(max(0, t - config.window), t + 1)
    if config.bidirectional:
      seen = slice(0, time)
    for head in range(config.heads):
      group = head * config.groups // config.heads
      scores = k[seen, group] @ of_contents[t, head]
      distances = (t - np.arange(time))[seen]
      scores = (scores + far[distances, head] @ of_distances[t, head]) * scale
      weights = np.exp(scores - scores.max())
      out[t, head] = weights @ v[seen, group] / weights.sum()
  out = out.reshape(time, -1)
  if config.gate == "sigmoid":
    logits = x @ params["W_g"] + params.get("W_g_bias", 0.0)
    out = out / (1 + np.exp(-logits))
  return out @ params["W_o"] + params.get("W_o_bias", 0.0)


def rms(x, eps):
  """Divides by the root of the mean square over the last axis."""
  return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps)


@pytest.mark.parametrize(
  "options",
  [
    pytest.param({}, marks=pytest.mark.slow),
    {"heads": 6, "kv_heads": 3, "window": 3, "rotary_base": 100.0},
    pytest.param(
      {"heads": 2, "kv_heads": 1, "d_head": 3, "positions": "none"},
      marks=pytest.mark.slow,
    ),
    {
      "heads": 4,
      "kv_heads": 2,
      "d_head": 10,
      "qkv_bias": True,
      "output_bias": True,
      "qk_norm": "head",
      "eps": 0.1,
      "scale": 0.7,
      "rotary_fraction": 0.45,
    },
    {"heads": 4, "kv_heads": 2, "window": 4, "positions": "relative"},
    pytest.param(
      {"heads": 2, "window": 99, "positions": "relative", "scale": 0.7},
      marks=pytest.mark.slow,
    ),
    {
      "heads": 2,
      "kv_heads": 1,
      "qkv_bias": True,
      "qk_norm": "width",
      "gate": "sigmoid",
    },
  ],
)
def test_equals_softmax_over_each_episode(x64, options):
  config = attention.Config(8, **options)
  params = attention.init(jax.random.key(0), config)
  rng = np.random.default_rng(0)
  params = {
    # Ones and zeros would hide mistakes.
    name: np.asarray(w, np.float64) + 0.3 * rng.normal(size=w.shape)
    for name, w in params.items()
  }
  x = rng.normal(size=(2, 14, 8))
  reset = np.zeros((2, 14), bool)
  reset[0, 5] = reset[0, 9] = reset[1, 0] = True
  y, state = jax.jit(lambda x: attention.apply(config, params, x, None, reset))(
    x
  )
  for row, begins in ((0, (0, 5, 9, 14)), (1, (0, 14))):
    for begin, end in zip(begins, begins[1:]):
      # float64 rounding.
      np.testing.assert_allclose(
        y[row, begin:end],
        episode(config, params, x[row, begin:end]),
        rtol=1e-11,
        atol=1e-12,
      )
  np.testing.assert_array_equal(state.length, [5, 14])


def test_both_sides_of_an_episode_without_its_padding(x64):
  options = {"heads": 4, "kv_heads": 2, "scale": 0.7, "bidirectional": True}
  config = attention.Config(8, **options)
  params = attention.init(jax.random.key(0), config)
  params = {name: np.asarray(w, np.float64) for name, w in params.items()}
  x = np.random.default_rng(0).normal(size=(2, 9, 8))
  reset = np.zeros((2, 9), bool)
  reset[0, 4] = True
  mask = np.arange(9) < np.array([[9], [6]])
  y, state = attention.apply(config, params, x, None, reset, mask=mask)
  for row, begin, end in ((0, 0, 4), (0, 4, 9), (1, 0, 6)):
    expected = episode(config, params, x[row, begin:end])
    np.testing.assert_allclose(y[row, begin:end], expected, rtol=1e-11)
  maps = attention.weights(config, params, x[1:], mask[1:])
  np.testing.assert_allclose(maps[..., :6, :].sum(axis=-1), 1)
  assert not maps[..., 6:].any()
  with pytest.raises(ValueError, match="config.bidirectional: got True"):
    attention.step(config, params, x[:, 0], state)
  with pytest.raises(ValueError, match="bidirectional: got True, expected Fal"):
    attention.Config(8, positions="relative", bidirectional=True)


_KINDS = [
  {},
  {"window": 3, "positions": "none"},
  {"window": 5, "positions": "relative"},
  {"key_format": {"bits": 4, "block": 2}},
  {"select": "hip", "hip_keys": 4, "near": 2, "sinks": 1, "window": 9},
  {"bidirectional": True},
  {"bidirectional": True, "tree_levels": 2},
]
_HEADS = [
  {"heads": 4, "kv_heads": 2, "d_head": 6, "scale": 0.7, "gate": "sigmoid"},
  {"heads": 2, "qk_norm": "head", "qkv_bias": True, "output_bias": True},
]


@pytest.mark.parametrize("kind", _KINDS, ids=str)
@pytest.mark.parametrize(
  "options",
  [_HEADS[0], pytest.param(_HEADS[1], marks=pytest.mark.slow)],
  ids=range(len(_HEADS)),
)
def test_weights_give_the_outputs(x64, options, kind):
  config = attention.Config(8, **options, **kind)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda w: w + 0.3 * rng.normal(size=w.shape),
    attention.init(jax.random.key(0), config),
  )
  x = rng.normal(size=(2, 14, 8))
  reset = np.zeros((2, 14), bool)
  reset[0, 5] = True
  mask = np.arange(14) < np.array([[14], [11]])
  extra = {}
  if config.tree_levels:
    clusters = np.arange(14)[:, None] // np.array([2, 5])
    extra["clusters"] = np.broadcast_to(clusters, (2, 14, 2))
  run = functools.partial(attention.apply, config, params)
  y, _ = jax.jit(run)(x, None, reset, mask=mask, **extra)
  run = functools.partial(attention.weights, config, params)
  maps = jax.jit(run)(x, mask, reset=reset, **extra)
  *_, v = _heads.normed(config, params, _heads.project(params, x))
  v = jnp.repeat(v, config.heads // config.groups, axis=-2)
  o = _heads.gated(config, params, x, jnp.einsum("bhts,bshd->bthd", maps, v))
  expected = contract.project(params, "W_o", o)
  np.testing.assert_allclose(y[mask], expected[mask], rtol=1e-10, atol=1e-12)
  rows = jnp.moveaxis(maps.sum(axis=-1), 1, -1)
  np.testing.assert_allclose(rows[mask], 1)
  assert not maps[1, :, 11:].any()
  assert not maps[1, :, :, 11:].any()
  assert not maps[0, :, 5:, :5].any()


def test_whole_blocks_one_by_one_and_at_once(x64):
  config = attention.Config(8, heads=4, kv_heads=2, window=6, scale=0.7)
  params = attention.init(jax.random.key(0), config)
  params = {name: np.asarray(w, np.float64) for name, w in params.items()}
  x = np.random.default_rng(0).normal(size=(2, 14, 8))
  sizes = (1, 4, 9)

  def whole(x, sizes=sizes):
    return attention.apply(config, params, x, blocks=sizes)

  y, last = whole(x)
  state, begin = None, 0
  for size in sizes:
    piece = x[:, begin : begin + size]
    one, state = attention.apply(config, params, piece, state, blocks=(size,))
    # float64 rounding.
    np.testing.assert_allclose(one, y[:, begin : begin + size], rtol=1e-11)
    begin += size
  chex.assert_trees_all_close(state, last, rtol=1e-12)
  # A block sees all of itself, and nothing of what comes behind it.
  other = x.copy()
  other[:, 4] += 1
  changed = (whole(other)[0] != y).any(axis=(0, 2))
  assert not changed[0]
  assert changed[1:5].all()
  other = x.copy()
  other[:, 5:] += 1
  np.testing.assert_array_equal(whole(other)[0][:, :5], y[:, :5])
  # Blocks of one element each are what attention is without any.
  expected, plain = attention.apply(config, params, x)
  y, last = whole(x, (1,) * 14)
  np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-12)
  chex.assert_trees_all_close(last, plain, rtol=1e-12)


def test_blocks_are_checked():
  x = jnp.zeros((1, 4, 8))
  for options, keywords, message in (
    ({}, {"blocks": (1, 2)}, "blocks: got .* add up to 4"),
    ({"bidirectional": True}, {}, "bidirectional: got True, expected False"),
    ({"positions": "relative"}, {}, "positions: got 'relative'"),
    ({"select": "hip"}, {}, "select: got 'hip', expected 'all' with blocks"),
    ({}, {"reset": jnp.zeros((1, 4), bool)}, "reset: got .* with blocks"),
    ({}, {"mask": jnp.ones((1, 4), bool)}, "mask: got .* with blocks"),
  ):
    config = attention.Config(8, **options)
    params = attention.init(jax.random.key(0), config)
    with pytest.raises(ValueError, match=message):
      attention.apply(config, params, x, **{"blocks": (1, 3)} | keywords)


def test_a_window_is_the_memory_of_segments(x64):
  """Segment by segment, each sees as many elements before it as it is long.

  Transformer-XL as its authors evaluate it, where all elements see equally many
  (`same_length`): a mask over the memory and the segment.
  """
  size = 4
  config = attention.Config(
    6, heads=2, window=size, positions="relative", d_head=4
  )
  rng = np.random.default_rng(0)
  params = attention.init(jax.random.key(0), config)
  params = {name: rng.normal(size=w.shape) for name, w in params.items()}
  x = rng.normal(size=(5 * size, 6))
  memory, ys = np.zeros((0, 6)), []
  state = attention.initial_state(config, (), jnp.float64)
  apply = jax.jit(lambda x, state: attention.apply(config, params, x, state))
  for segment in np.split(x, 5):
    y, state = apply(segment, state)
    # The hidden states of the memory go through the layer again.
    both = np.concatenate([memory, segment])
    np.testing.assert_allclose(
      y, episode(config, params, both)[-size:], rtol=1e-11, atol=1e-12
    )
    memory = both[-size:]
    ys.append(y)
  np.testing.assert_allclose(
    np.concatenate(ys), episode(config, params, x), rtol=1e-11, atol=1e-12
  )


def test_waves_of_an_odd_width_are_refused():
  with pytest.raises(ValueError, match="d_model: got 5, expected an even numb"):
    attention.Config(5, positions="relative")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"hip_keys": 3}, "hip_keys: got 3, expected a multiple of hip_block = 2"),
    ({"near": -1}, "near: got -1, expected an integer of at least 0"),
    ({"select": "hop"}, "select: got 'hop', expected one of"),
    (
      {"select": "hip", "positions": "relative"},
      "positions: got 'relative', expected 'rotary' or 'none' with select",
    ),
  ],
)
def test_options_of_a_search_are_checked(options, message):
  with pytest.raises(ValueError, match=message):
    attention.Config(4, **options)


@pytest.mark.parametrize("positions", ["rotary", "relative"])
def test_a_long_stream_forgets_what_left_the_window(x64, positions):
  """Steps far beyond the window, from a state that `apply` left behind."""
  config = attention.Config(4, heads=2, window=3, positions=positions)
  params = attention.init(jax.random.key(0), config)
  params = {name: np.asarray(w, np.float64) for name, w in params.items()}
  x = np.random.default_rng(0).normal(size=(20, 4))
  y, state = jax.jit(lambda x: attention.apply(config, params, x))(x[:9])
  step = jax.jit(lambda x, state: attention.step(config, params, x, state))
  ys = list(y)
  for t in range(9, 20):
    y, state = step(x[t], state)
    ys.append(y)
  # float64 rounding.
  np.testing.assert_allclose(
    np.stack(ys), episode(config, params, x), rtol=1e-11, atol=1e-12
  )
  assert state.keys.shape == (3, 2, 2)


def test_an_undefined_state_behind_a_reset_leaves_no_trace_in_gradients():
  config = attention.Config(4, heads=2, window=3)
  params = attention.init(jax.random.key(0), config)
  state = jax.tree.map(
    lambda leaf: jnp.full_like(leaf, jnp.nan),
    attention.initial_state(config, (1,)),
  )
  reset = jnp.asarray([[True, False]])

  def loss(params, x, state):
    y, final = attention.apply(config, params, x, state, reset)
    return jnp.sum(y) + sum(jnp.sum(leaf) for leaf in final)

  gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
  grads = gradient(params, jnp.ones((1, 2, 4)), state)
  chex.assert_tree_all_finite(grads)
  chex.assert_trees_all_equal(grads[2], jax.tree.map(jnp.zeros_like, state))


@pytest.mark.parametrize("name", ["hac_connected", "hac_two_components"])
def test_trees_of_clusters_are_the_golden_bias(x64, golden, name):
  stored = golden(f"graph_sequences/{name}")
  walk, levels = stored["dfs_order"], stored["levels"]
  x = stored["local"][walk]
  decay = jax.nn.sigmoid(x @ stored["rec_Wa"] + stored["rec_ba"])
  states, _ = recurrence.linear_scan(
    decay, (1 - decay) * (x @ stored["rec_Wb"])
  )
  np.testing.assert_allclose(states, stored["rec_states"], atol=1e-12)
  x = x + states @ stored["rec_Wc"]
  names = {"W_q": "Q", "W_k": "K", "W_v": "V", "W_o": "O"}
  params = {name: stored[f"att_{one}"] for name, one in names.items()}
  params["tree_bias"] = stored["att_bias"]
  config = attention.Config(
    6,
    heads=2,
    d_head=3,
    positions="none",
    bidirectional=True,
    tree_levels=len(levels),
  )
  # With padding behind the end, which is not seen.
  longer = jnp.pad(x, ((0, 2), (0, 0)), constant_values=3.0)
  clusters = jnp.pad(levels.T[walk], ((0, 2), (0, 0)))
  mask = jnp.arange(len(longer)) < len(x)
  y, _ = attention.apply(config, params, longer, mask=mask, clusters=clusters)
  out = np.zeros_like(stored["output_by_node"])
  out[walk] = (longer + y)[: len(x)]
  np.testing.assert_allclose(out, stored["output_by_node"], atol=1e-12)
  np.testing.assert_allclose(
    out.mean(axis=0), stored["readout_mean"], atol=1e-12
  )
  with pytest.raises(ValueError, match="clusters: got None, expected shape"):
    attention.apply(config, params, x)
  with pytest.raises(ValueError, match="tree_levels: got 3, expected 0"):
    dataclasses.replace(config, bidirectional=False)
