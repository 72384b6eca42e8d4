"""The search of HiP, beside the authors' code and plain loops."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence.attention import _hip_step
from jaxseq.recurrence.attention import hip
from tests.recurrence.attention import hip_blocks


def unpacked(data, name):
  """A stored mask (..., keys) of bits."""
  keys = data["k"].shape[-2 if name != "visible" else 0]
  return np.unpackbits(data[name], axis=-1)[..., :keys].astype(bool)


def options(data, near, **changes):
  named = {"sink": "sinks", "representative": "representative"}
  found = {ours: data[name][()] for name, ours in named.items() if name in data}
  return hip.Hip(
    int(data["mask_k"]),
    int(data["block_k"]),
    int(data[near]),
    int(found.get("sinks", 0)),
    changes.get("representative", str(found.get("representative", "first"))),
  )


@pytest.mark.parametrize("name", ["hip_a", "hip_b"])
def test_blocks_of_queries_find_the_keys_of_the_authors_code(x64, golden, name):
  del x64
  data = golden(f"hip/{name}")
  found = options(data, "window")
  q, k, v = (jnp.asarray(data[x], jnp.float64) for x in "qkv")
  size = int(data["block_q"])
  first, held = jax.jit(hip_blocks.blocks, static_argnums=(2, 3))(
    q, k, found, size
  )
  np.testing.assert_array_equal(held.sum(-1), data["official_count"])
  for got, kept, expected in zip(first, held, data["official_indices"]):
    for one, flags, row in zip(got, kept, expected):
      np.testing.assert_array_equal(one[flags], row[: flags.sum()])
  run = jax.jit(hip_blocks.block_attention, static_argnums=(3, 4))
  # float64 rounding.
  np.testing.assert_allclose(
    run(q, k, v, found, size), data["official_output"], rtol=1e-10, atol=1e-12
  )


def run(data, found, window):
  """All queries at once, as one head per batch row: (N, T, d)."""
  q, k, v = (jnp.asarray(data[x], jnp.float64)[:, :, None] for x in "qkv")
  o, _ = recurrence.window_attention(q, k, v, window, search=found)
  return o[:, :, 0]


@pytest.mark.slow
@pytest.mark.parametrize("representative", ["first", "center"])
@pytest.mark.parametrize("name", ["hip_a", "hip_b"])
def test_queries_alone_find_the_stored_keys(x64, golden, name, representative):
  """Choice of keys and outputs, and softmax mass that these hold."""
  del x64
  data = golden(f"hip/{name}")
  found = options(data, "window", representative=representative)
  q, k = (jnp.asarray(data[x], jnp.float64) for x in "qk")
  rows, time, width = q.shape
  scores = jnp.einsum("nqd,nkd->nqk", q, k) / np.sqrt(width)
  begin = np.zeros((rows, time), np.int32)
  seen = hip.visible(found, scores, begin, begin, np.arange(time))
  prefix = f"step_{representative}"
  np.testing.assert_array_equal(seen, unpacked(data, f"{prefix}_visible"))
  dense = np.where(np.tri(time, dtype=bool), scores, -np.inf)
  mass = np.where(seen, jax.nn.softmax(dense), 0).sum(-1)
  np.testing.assert_allclose(mass, data[f"{prefix}_mass"], rtol=1e-10)
  np.testing.assert_allclose(
    jax.jit(run, static_argnums=(1, 2))(data, found, time),
    data[f"{prefix}_output"],
    rtol=1e-10,
    atol=1e-12,
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  "name",
  ["window_center", pytest.param("window_first", marks=pytest.mark.slow)],
)
def test_windows_with_resets_in_pieces_and_steps(x64, golden, name):
  """From a carried state, where the grid of blocks is that of the episode."""
  del x64
  data = golden(f"hip/{name}")
  q, k, v = (jnp.asarray(data[x]) for x in "qkv")
  reset, window = jnp.asarray(data["reset"]), int(data["window"])
  found = options(data, "near")

  @jax.jit
  def apply(q, k, v, reset, init=None):
    return recurrence.window_attention(
      q, k, v, window, init, reset=reset, search=found
    )

  whole, last = apply(q, k, v, reset)
  close = {"rtol": 1e-10, "atol": 1e-12}
  np.testing.assert_allclose(whole, data["output"], **close)
  half = 41
  o, state = apply(q[:half], k[:half], v[:half], reset[:half])
  np.testing.assert_allclose(o, whole[:half], **close)
  o, state = apply(q[half:], k[half:], v[half:], reset[half:], state)
  np.testing.assert_allclose(o, whole[half:], **close)
  chex.assert_trees_all_equal(state, last)
  shapes = (window, *k.shape[1:]), (window, *v.shape[1:]), ()
  state = recurrence.WindowState(*map(jnp.zeros, shapes))
  assert not _hip_step.pays(found, 1, window + 1)
  for t in range(len(q)):
    now = slice(t, t + 1)
    o, state = apply(q[now], k[now], v[now], reset[now], state)
    np.testing.assert_allclose(o[0], data["output"][t], **close)
  wide = hip.Hip(window + window % found.block, found.block, found.near)
  o, _ = recurrence.window_attention(q, k, v, window, reset=reset, search=wide)
  dense, _ = recurrence.window_attention(q, k, v, window, reset=reset)
  np.testing.assert_array_equal(o, dense)
  np.testing.assert_allclose(o, data["dense_output"], **close)


@pytest.mark.parametrize("name", ["hip_a", "hip_b"])
def test_all_keys_that_blocks_of_queries_read(x64, golden, name):
  """Those of which the value, a number of its own each, is in the output."""
  del x64
  data = golden(f"hip/{name}")
  found, size = options(data, "window"), int(data["block_q"])
  q, k = (jnp.asarray(data[x], jnp.float64) for x in "qk")
  rows, time, _ = q.shape
  values = jnp.broadcast_to(jnp.eye(time), (rows, time, time))
  attend = jax.jit(hip_blocks.block_attention, static_argnums=(3, 4))
  np.testing.assert_array_equal(
    attend(q, k, values, found, size) > 0, unpacked(data, "official_visible")
  )


@pytest.mark.parametrize("name", ["hip_a", "hip_b"])
def test_as_many_keys_as_there_are_is_all_of_them(x64, golden, name):
  del x64
  data = golden(f"hip/{name}")
  time = data["q"].shape[1]
  attend = jax.jit(run, static_argnums=(1, 2))
  wide = hip.Hip(time, int(data["block_k"]), int(data["window"]))
  o = attend(data, wide, time)
  np.testing.assert_array_equal(o, attend(data, None, time))
  # float64 rounding.
  np.testing.assert_allclose(o, data["dense_output"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["window_center", "window_first"])
def test_all_keys_that_queries_of_a_window_read(x64, golden, name):
  """From the border of an episode on, whose blocks begin there."""
  del x64
  data = golden(f"hip/{name}")
  time, heads, width = data["k"].shape
  # As wide as there are keys, with the same products.
  q, k = (jnp.pad(data[x], ((0, 0), (0, 0), (0, time - width))) for x in "qk")
  values = jnp.broadcast_to(jnp.eye(time)[:, None], (time, heads, time))
  attend = functools.partial(
    recurrence.window_attention,
    window=int(data["window"]),
    search=options(data, "near"),
  )
  o, _ = jax.jit(attend)(
    *(q * np.sqrt(time / width), k, values), reset=jnp.asarray(data["reset"])
  )
  np.testing.assert_array_equal(
    np.moveaxis(o, 1, 0) > 0, unpacked(data, "visible")
  )


@pytest.mark.parametrize("representative", ["first", "center"])
@pytest.mark.parametrize("name", ["hip_a", "hip_b"])
def test_the_search_finds_the_stored_blocks(x64, golden, name, representative):
  """Numbers of blocks, in the order of the keys; all where there are few."""
  del x64
  data = golden(f"hip/{name}")
  found, size = options(data, "window"), int(data["block_k"])
  q, k = (np.asarray(data[x], np.float64) for x in "qk")
  rows, time, _ = q.shape
  scores = np.einsum("nqd,nkd->nqk", q, k).reshape(rows, time, -1, size)
  scores = jnp.asarray(scores.max(-1))
  count = np.maximum(0, np.arange(time) - found.near) // size
  blocks, held = hip.search(
    jnp.asarray(np.broadcast_to(count, (rows, time)), jnp.int32),
    found.keep,
    found.rounds(time - 1),
    representative,
    lambda numbers: jnp.take_along_axis(
      scores, jnp.minimum(numbers, scores.shape[-1] - 1), axis=-1
    ),
  )
  stored = data[f"step_{representative}_blocks"]
  np.testing.assert_array_equal(held.sum(-1), (stored >= 0).sum(-1))
  np.testing.assert_array_equal(blocks[held], stored[stored >= 0])


@pytest.mark.slow
@pytest.mark.parametrize("sinks", [0, 3])
def test_a_query_that_reads_few_keys_sees_those_of_all_products(x64, sinks):
  """Values and gradients of a step, from caches of every fill."""
  del x64
  window, found = 47, hip.Hip(4, 2, 3, sinks)
  rng = np.random.default_rng(0)
  length = jnp.asarray([0, 1, 5, 12, 46, 47, 50, 51.0])
  rows = len(length)
  q = jnp.asarray(rng.normal(size=(rows, 1, 4, 6)))
  k, v = (jnp.asarray(rng.normal(size=(rows, 48, 2, 6))) for _ in range(2))
  anchor = window - length.astype(int)[:, None]
  held = jnp.arange(48)[:, None, None] >= anchor[..., None, None]
  # What is not of the episode is neither read nor does it reach a gradient.
  k, v = (jnp.where(held, x, jnp.nan) for x in (k, v))

  def embed(x, index):
    return x * (1 + 0.1 * jnp.cos(index))[:, None, None]

  def few(q, k, v):
    state = recurrence.WindowState(k[:, :-1], v[:, :-1], length)
    return recurrence.window_attention(
      *(q, k[:, -1:], v[:, -1:], window, state),
      search=found,
      embed=embed,
    )[0]

  def by_blocks(q, k, v):
    index = jnp.arange(48)
    q, k = embed(q, index[-1:]), embed(jnp.where(held, k, 0), index)
    v = jnp.where(held, v, 0)
    k, v = (jnp.repeat(x, 2, axis=2) for x in (k, v))
    scores = jnp.einsum("rqhd,rkhd->rhqk", q, k) / np.sqrt(6)
    start = jnp.maximum(anchor, 0)
    seen = hip.visible(found, scores, start, anchor, np.array([window]))
    weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
    return jnp.einsum("rhqk,rkhd->rqhd", weights, v)

  assert _hip_step.pays(found, 1, 48)
  weights = rng.normal(size=q.shape)

  def evaluate(function):
    def loss(*arguments):
      o = function(*arguments)
      return jnp.sum(o * weights), o

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(q, k, v)

  # float64 rounding.
  chex.assert_trees_all_close(
    evaluate(few), evaluate(by_blocks), rtol=1e-10, atol=1e-12
  )


@pytest.mark.parametrize(
  ("representative", "raised", "passed"), [("first", 4, 5), ("center", 5, 4)]
)
def test_a_key_that_stands_for_its_interval_is_found(
  representative, raised, passed
):
  """Raised to +20 it is seen, and what does not stand for one is passed by."""
  found = hip.Hip(2, 1, 0, representative=representative)
  time = 9
  scores = np.zeros((1, time, time), np.float32)
  begin = np.zeros((1, time), np.int32)

  def seen(key):
    products = jnp.asarray(scores).at[..., key].set(20)
    return hip.visible(found, products, begin, begin, np.arange(time))[0, -1]

  # Halves of two intervals of four begin at 0, 2, 4 and 6, and their centers
  # are 1, 3, 5 and 7; where all are equal the lower ones stay.
  np.testing.assert_array_equal(np.flatnonzero(seen(raised)), [0, raised, 8])
  np.testing.assert_array_equal(np.flatnonzero(seen(passed)), [0, 1, 8])


def test_bad_options_are_named():
  with pytest.raises(ValueError, match="keys: got 5, expected a multiple of b"):
    hip.Hip(5, 2)
  q = jnp.zeros((1, 5, 2, 4))
  attend = functools.partial(
    recurrence.window_attention, q, q, q, 9, search=hip.Hip(2)
  )
  with pytest.raises(ValueError, match="scheme: got 'ring', expected one of"):
    attend(scheme="ring")
  with pytest.raises(NotImplementedError, match="a search for keys"):
    attend(method="pallas")
