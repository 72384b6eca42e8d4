"""Block floating point beside golden values, and keys of attention in it."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.mixers.keys_and_values import attention
from jaxseq.mixers.keys_and_values import block_float

quantize = jax.jit(block_float.quantize, static_argnums=(1, 2))
dequantize = jax.jit(block_float.dequantize, static_argnums=(2, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_edges(x64, golden, bits, dtype):
  """Powers of two, halves, what is just below one, and zeros."""
  del x64
  data = golden(f"bfp/edges_m{bits}")
  x = data["x"].astype(dtype)
  fits = (x == data["x"]).reshape(len(x), -1, 4).all(-1)
  assert fits.all() if dtype == np.float64 else fits.any()
  got = quantize(jnp.asarray(x), bits, int(data["block"]))
  value = dequantize(*got, bits, jnp.float64)
  each = np.repeat(fits, 4, axis=-1)
  np.testing.assert_array_equal(got[0][each], data["mantissa"][each])
  np.testing.assert_array_equal(got[1][fits], data["exponent"][fits])
  np.testing.assert_array_equal(value[each], data["value"][each])


def test_numbers_below_the_normal_ones_count():
  x = np.asarray([2.0**-130, 3 * 2.0**-133, -(2.0**-149), 0], np.float32)
  mantissas, exponents = block_float.quantize(jnp.asarray(x), 8, 4)
  np.testing.assert_array_equal(exponents, [-126])
  # Of 2^-132 each: 4, 1.5 to the even 2, and nothing.
  np.testing.assert_array_equal(mantissas, [4, 2, 0, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_just_below_a_power_of_two(x64, dtype):
  """Whose logarithm would be rounded to that of the power."""
  del x64
  powers = np.arange(-120, 128)
  x = np.nextafter(np.ldexp(dtype(1), powers), dtype(0))
  assert np.any(np.floor(np.log2(x)) == powers)
  # In blocks of one.
  mantissas, exponents = quantize(jnp.asarray(x[:, None]), 4, 1)
  np.testing.assert_array_equal(exponents[:, 0], powers - 1)
  # What would be rounded to eight is the largest one.
  np.testing.assert_array_equal(mantissas, np.full_like(mantissas, 7))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_float32_and_float64_are_rounded_alike(x64, bits):
  """Numbers of all sizes, those below the normal ones among them."""
  del x64
  rng = np.random.default_rng(0)
  raw = rng.integers(0, 2**32, size=(400, 8), dtype=np.uint32)
  x = raw.view(np.float32)
  x = np.where(np.isfinite(x), x, 0)
  # Blocks of like sizes, and blocks of all.
  like = np.ldexp(rng.normal(size=(400, 8)), rng.integers(-140, 120, (400, 1)))
  for one in (x, like.astype(np.float32)):
    narrow, wide = (
      quantize(jnp.asarray(one, dtype), bits, 4)
      for dtype in (np.float32, np.float64)
    )
    chex.assert_trees_all_equal(narrow, wide)


def test_undefined_blocks_stay_undefined():
  x = jnp.asarray([1.0, jnp.nan, 1.0, 2.0, jnp.inf, 0.0])
  kept = block_float.quantize(x, 4, 2)
  value = block_float.dequantize(*kept, 4)
  np.testing.assert_array_equal(value, [np.nan, np.nan, 1, 2, np.nan, np.nan])


@pytest.mark.parametrize(
  "name",
  [
    "bfp12_n8",
    "bfp12_n8_pairs",
    "bfp12_n8_unbalanced",
    "bfp12_n32_whole",
    "bfp16_n16",
  ],
)
def test_keys_and_scores(x64, golden, name):
  """Mantissas, exponents, orders and scores, as they come and sorted."""
  del x64
  data = golden(f"bfp/{name}")
  bits, block = int(data["bits"]), int(data["block"])
  width = data["keys"].shape[-1]
  turned = width if data["rotary_pairs"] else 0
  norms = np.linalg.norm(data["W_k"], axis=1)
  np.testing.assert_allclose(norms, data["row_norm"], rtol=1e-12)
  order = np.asarray(block_float.channel_order(jnp.asarray(norms), turned))
  np.testing.assert_array_equal(order, data["order"])
  keys = data["keys"]
  for kind, channels in (("plain", None), ("sorted", order)):
    given = keys
    if channels is not None:
      given = np.take_along_axis(keys, channels[None], axis=-1)
    kept = quantize(jnp.asarray(given), bits, block)
    np.testing.assert_array_equal(kept[0], data[f"mantissa_{kind}"])
    np.testing.assert_array_equal(kept[1], data[f"exponent_{kind}"])
    value = dequantize(*kept, bits, jnp.float64)
    again = quantize(value, bits, block)
    chex.assert_trees_all_equal(again, kept)
    # Another power of two moves exponents alone.
    moved = quantize(jnp.asarray(given) * 2.0**9, bits, block)
    chex.assert_trees_all_equal(moved, (kept[0], kept[1] + 9))
    value = np.asarray(value)
    if channels is not None:
      back = np.argsort(channels, axis=-1)
      value = np.take_along_axis(value, back[None], axis=-1)
    stored = "keys_plain" if channels is None else "keys_sorted_back"
    np.testing.assert_array_equal(value, data[stored])
    scores = np.einsum("qhd,thd->hqt", data["queries"], value) / np.sqrt(width)
    np.testing.assert_allclose(scores, data[f"scores_{kind}"], rtol=1e-10)


@pytest.mark.parametrize("kind", ["plain", "sorted"])
@pytest.mark.parametrize(
  "name",
  [
    pytest.param("bfp12_n8", marks=pytest.mark.slow),
    "bfp12_n8_pairs",
    pytest.param("bfp12_n8_unbalanced", marks=pytest.mark.slow),
    "bfp16_n16",
  ],
)
def test_attention_keeps_the_stored_keys(x64, golden, name, kind):
  """In the order of channels that its own matrix gives."""
  del x64
  data = golden(f"bfp/{name}")
  time, groups, width = data["keys"].shape
  order = "norm" if kind == "sorted" else "given"
  config = attention.Config(
    data["x"].shape[1],
    heads=groups,
    d_head=width,
    window=time,
    positions="rotary" if data["rotary_pairs"] else "none",
    key_format=attention.BlockFloat(
      int(data["bits"]), int(data["block"]), order
    ),
  )
  shapes = jax.eval_shape(lambda: attention.init(jax.random.key(0), config))
  params = {k: np.zeros(shape.shape) for k, shape in shapes.items()}
  W = np.moveaxis(data["W_k"], 0, 1)
  params["W_k"] = W.reshape(params["W_k"].shape)
  apply = jax.jit(attention.apply, static_argnums=0)
  _, state = apply(config, params, data["x"])
  np.testing.assert_array_equal(state.mantissas, data[f"mantissa_{kind}"])
  np.testing.assert_array_equal(state.exponents, data[f"exponent_{kind}"])


def problem(**options):
  """A configuration, float64 parameters, inputs and resets."""
  config = attention.Config(8, heads=4, kv_heads=2, d_head=8, **options)
  params = attention.init(jax.random.key(0), config)
  rng = np.random.default_rng(0)
  # Channels of different sizes, so that an order matters.
  params = {
    name: np.asarray(w, np.float64) * np.exp(rng.normal(size=w.shape[-1]))
    for name, w in params.items()
  }
  x = rng.normal(size=(2, 13, 8))
  reset = np.zeros((2, 13), bool)
  reset[0, 5] = reset[1, 9] = True
  return config, params, x, reset


_FORMATS = [
  {"key_format": attention.BlockFloat(3, 4)},
  pytest.param(
    {"key_format": attention.BlockFloat(2, 2, "norm"), "qk_norm": "head"},
    marks=pytest.mark.slow,
  ),
  pytest.param(
    {
      "key_format": attention.BlockFloat(4, 8, "norm"),
      "positions": "none",
      "select": "hip",
      "hip_keys": 2,
      "near": 1,
    },
    marks=pytest.mark.slow,
  ),
]


@pytest.mark.slow
@pytest.mark.parametrize("options", _FORMATS)
def test_the_contract_holds_with_keys_in_few_bits(x64, options):
  """Step by step and in pieces, with what is kept equal to the bit."""
  del x64
  config, params, x, reset = problem(window=4, **options)
  apply = jax.jit(functools.partial(attention.apply, config, params))
  step = jax.jit(functools.partial(attention.step, config, params))
  y, last = apply(x, None, reset)
  fresh = state = attention.initial_state(config, (2,), jnp.float64)
  chex.assert_trees_all_equal_shapes_and_dtypes(last, fresh)
  assert last.mantissas.dtype == last.exponents.dtype == jnp.int8
  exact, _ = jax.jit(attention.apply, static_argnums=0)(
    dataclasses.replace(config, key_format=None), params, x, None, reset
  )
  assert np.abs(y - exact).max() > 1e-3
  # float64 rounding, of all but what is kept in few bits.
  close = {"rtol": 1e-10, "atol": 1e-12}
  for t in range(x.shape[1]):
    got, state = step(x[:, t], state, reset[:, t])
    np.testing.assert_allclose(got, y[:, t], **close)
  chex.assert_trees_all_close(state, last, **close)
  chex.assert_trees_all_equal(state[:2], last[:2])
  first, state = apply(x[:, :7], None, reset[:, :7])
  second, state = apply(x[:, 7:], state, reset[:, 7:])
  np.testing.assert_allclose(
    np.concatenate([first, second], axis=1), y, **close
  )
  chex.assert_trees_all_equal(state[:2], last[:2])


@pytest.mark.slow
def test_a_block_as_wide_as_a_head_knows_no_order():
  config, params, x, reset = problem(key_format=attention.BlockFloat(3, 8))
  apply = jax.jit(attention.apply, static_argnums=0)
  given, _ = apply(config, params, x, None, reset)
  key_format = attention.BlockFloat(3, 8, "norm")
  config = dataclasses.replace(config, key_format=key_format)
  got, _ = apply(config, params, x, None, reset)
  np.testing.assert_array_equal(given, got)


@pytest.mark.slow
def test_gradients_pass_the_rounding(x64):
  """That of rounded keys is what attention to them has, at these keys."""
  del x64
  config, params, x, _ = problem(
    key_format=attention.BlockFloat(3, 4), positions="none"
  )

  def loss(config, params):
    return jnp.sum(jnp.sin(attention.apply(config, params, x)[0]))

  grads = jax.grad(loss, argnums=1)(config, params)
  k = (x @ params["W_k"]).reshape(2, 13, 2, 8)
  near = block_float.dequantize(
    *block_float.quantize(jnp.asarray(k), 3, 4), 3, jnp.float64
  )
  # Values of W_k that give the rounded keys themselves, from more inputs.
  wide = np.concatenate([x, np.eye(26).reshape(2, 13, 26)], axis=-1)
  offsets = np.asarray(near - k).reshape(26, 16)
  plain = attention.Config(34, heads=4, kv_heads=2, d_head=8, positions="none")
  zeros = {n: np.zeros((26, params[n].shape[1])) for n in ("W_q", "W_v")}
  zeros["W_k"] = offsets
  more = {n: np.concatenate([params[n], zeros[n]]) for n in zeros}
  more["W_o"] = np.pad(params["W_o"], ((0, 0), (0, 26)))

  def plain_loss(params):
    return jnp.sum(jnp.sin(attention.apply(plain, params, wide)[0][..., :8]))

  expected = jax.grad(plain_loss)(more)
  for name in ("W_q", "W_k", "W_v"):
    np.testing.assert_allclose(grads[name], expected[name][:8], rtol=1e-9)


def test_a_network_takes_the_format_as_a_mapping():
  key_format = {"bits": 4, "block": 8, "order": "norm"}
  options = {"heads": 2, "window": 16, "key_format": key_format}
  stack = nn.StackConfig(mixer="attention", d_model=16, mixer_options=options)
  assert hash(stack) == hash(dataclasses.replace(stack))
  config = mixers.make_config(
    "attention", d_model=16, **dict(stack.mixer_options)
  )
  assert config.key_format == attention.BlockFloat(4, 8, "norm")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"key_format": 4}, "key_format: got 4, expected a BlockFloat"),
    ({"key_format": {"bit": 4}}, "option of key_format: got 'bit'"),
    ({"key_format": {"bits": 9}}, "bits: got 9, expected an integer from 2 to"),
    ({"key_format": {"block": 3}}, "key_format.block: got 3, expected a divis"),
    (
      {"key_format": {"block": 1, "order": "norm"}},
      "key_format.block: got 1, expected an even number",
    ),
  ],
)
def test_bad_formats_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    attention.Config(8, heads=1, **options)
