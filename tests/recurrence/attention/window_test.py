"""window_attention against the definition, weights of all pairs in memory."""

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from jaxseq.recurrence.attention import _window_blocks
from tests.recurrence import narrow


def problem(earlier, time, groups=2, batch=(2,), heads=4, width=3):
  rng = np.random.default_rng(0)
  q = rng.normal(size=(*batch, time, heads, width))
  k, v = rng.normal(size=(2, *batch, earlier + time, groups, width))
  own = earlier + np.arange(time)
  start = rng.integers(0, own + 1, size=(*batch, time))
  return q, k, v, np.maximum.accumulate(start, axis=-1)


@pytest.mark.parametrize(
  ("earlier", "time", "window", "size"),
  [
    # Blocks that need padding, with and without elements before the first.
    (0, 11, 4, 3),
    (5, 11, 4, 3),
    # A reach beyond everything there is, in blocks and in one block.
    pytest.param(3, 7, 50, 2, marks=pytest.mark.slow),
    (0, 7, 50, None),
    (6, 1, 6, None),
  ],
)
def test_values_and_gradients(x64, earlier, time, window, size):
  q, k, v, start = problem(earlier, time)
  weights = np.random.default_rng(1).normal(size=q.shape)

  def evaluate(function, **options):
    def loss(q, k, v):
      o = function(q, k, v, start, window, **options)
      return jnp.sum(o * weights), o

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(q, k, v)

  chex.assert_trees_all_close(
    evaluate(_window_blocks.attend, block_size=size),
    evaluate(reference.window_attention),
    # float64 rounding.
    rtol=1e-11,
    atol=1e-12,
  )


@pytest.mark.parametrize(
  ("earlier", "time", "window", "size"),
  [
    (0, 11, 4, 3),
    pytest.param(5, 11, 4, 3, marks=pytest.mark.slow),
    pytest.param(3, 7, 50, 2, marks=pytest.mark.slow),
    pytest.param(6, 1, 6, None, marks=pytest.mark.slow),
  ],
)
def test_products_with_distances(x64, earlier, time, window, size):
  """Values and all gradients, beside weights of all pairs."""
  del x64
  q, k, v, start = problem(earlier, time)
  rng = np.random.default_rng(1)
  weights, p = rng.normal(size=(2, *q.shape))
  table = rng.normal(size=(window + 1, *q.shape[-2:]))
  distance = earlier + np.arange(time)[:, None] - np.arange(earlier + time)
  seen = (distance >= 0) & (distance <= window)
  seen = seen & (np.arange(earlier + time) >= start[..., None])

  def plain(q, k, v, p, table):
    k, v = (jnp.repeat(x, 2, axis=-2) for x in (k, v))
    far = table[np.clip(distance, 0, window)]
    scores = jnp.einsum("bthd,bshd->bhts", q, k)
    scores = (scores + jnp.einsum("bthd,tshd->bhts", p, far)) / np.sqrt(3)
    scores = jnp.where(seen[:, None], scores, -jnp.inf)
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v)

  def blocks(q, k, v, p, table):
    return _window_blocks.attend(
      q, k, v, start, window, size, distances=(p, table)
    )

  def evaluate(function):
    def loss(*arguments):
      o = function(*arguments)
      return jnp.sum(o * weights), o

    run = jax.value_and_grad(loss, range(5), has_aux=True)
    return jax.jit(run)(q, k, v, p, table)

  chex.assert_trees_all_close(
    # float64 rounding.
    *(evaluate(function) for function in (blocks, plain)),
    rtol=1e-11,
    atol=1e-12,
  )


@pytest.mark.slow
def test_gradients_of_gradients(x64):
  q, k, v, start = problem(2, 5, batch=())

  @jax.jit
  def run(q, k, v):
    return _window_blocks.attend(q, k, v, start, 3, block_size=2)

  check_grads(run, (q, k, v), order=2, modes=["rev"])


def test_undefined_numbers_reach_those_that_see_them_and_no_other():
  q, k, v, _ = problem(0, 12, batch=())
  start = np.zeros(12, int)
  start[8:] = 8
  for bad in (np.nan, np.inf):
    broken = v.copy()
    broken[4, 0, 1] = bad

    def loss(q, k, v):
      o = _window_blocks.attend(q, k, v, start, 2, block_size=5)
      return jnp.sum(o[8:] ** 2), o

    gradient = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))
    grads, o = gradient(q, k, broken)
    undefined = ~np.isfinite(o).all(axis=(1, 2))
    np.testing.assert_array_equal(np.flatnonzero(undefined), [4, 5, 6])
    chex.assert_tree_all_finite(grads)


@pytest.mark.slow
def test_bfloat16_inputs_are_rounded_for_products_alone(x64):
  q, k, v, start = problem(3, 40, width=12)
  q, k, v = map(narrow.rounded, (q, k, v))
  weights = narrow.rounded(np.random.default_rng(1).normal(size=q.shape))

  def loss(q, k, v):
    o = _window_blocks.attend(q, k, v, start, 16, block_size=8)
    return jnp.sum((o * weights).astype(float)), o

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))
  (_, o), grads = gradient(q, k, v)
  chex.assert_trees_all_equal_dtypes((o, grads), (q, (q, k, v)))
  (_, exact), slopes = gradient(*narrow.exact((q, k, v)))
  # What enters products is rounded, and what comes out; measured 1.
  errors = narrow.errors((o, *grads), (exact, *slopes))
  assert max(errors) < 1.5
  assert not narrow.wide_products(gradient, q, k, v)


def test_blocks_of_narrow_inputs_hold_fewer_scores():
  shape = 32, 4096, 4, 64
  for dtype, size in ((jnp.float32, 256), (jnp.bfloat16, 128)):
    q = jax.ShapeDtypeStruct(shape, dtype)
    assert _window_blocks.default_size(q, 256) == size
    assert _window_blocks.default_size(q, 128) == 256


def test_gradients_of_keys_are_summed_in_float32():
  """In bfloat16 a sum of ones would stop growing at 256."""
  time, window = 1024, 1023
  q = k = jnp.zeros((1, time, 1, 1), jnp.bfloat16)
  start = jnp.zeros((1, time), jnp.int32)

  def loss(v):
    o = _window_blocks.attend(q, k, v, start, window, block_size=2)
    # The first value has a share of 1 / t of output t.
    scale = jnp.arange(1, time + 1, dtype=jnp.float32)[:, None, None]
    return jnp.sum(o * scale)

  (first, *_) = jax.jit(jax.grad(loss))(k)[0, :, 0, 0]
  # Rounded are weights, cotangents and the result.
  np.testing.assert_allclose(np.float32(first), time, rtol=2 * narrow.UNIT)


def test_memory_of_the_gradient_is_that_of_a_block():
  q = k = v = jax.ShapeDtypeStruct((1, 4096, 2, 16), jnp.float32)
  start = jnp.zeros((1, 4096), jnp.int32)

  def loss(q, k, v):
    return jnp.sum(_window_blocks.attend(q, k, v, start, 256) ** 2)

  compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, k, v).compile()
  # All weights would take 128 MiB, those of the window 8 MiB; a block of 256
  # queries has 1 MiB, and inputs and cotangents of 0.5 MiB each.
  assert compiled.memory_analysis().temp_size_in_bytes < 2**23


@pytest.mark.parametrize("wide", [2, 5])
def test_values_of_another_width(x64, wide):
  q, k, v, start = problem(3, 11)
  v = np.concatenate([v, v], axis=-1)[..., :wide]

  def evaluate(function, **options):
    def loss(q, k, v):
      o = function(q, k, v, start, 4, **options)
      return jnp.sum(o**2), o

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(q, k, v)

  chex.assert_trees_all_close(
    evaluate(_window_blocks.attend, block_size=3),
    evaluate(reference.window_attention),
    # float64 rounding.
    rtol=1e-11,
    atol=1e-12,
  )
  with pytest.raises(NotImplementedError, match=f"values of width {wide}"):
    _window_blocks.attend(q, k, v, start, 4, method="pallas")


def test_what_is_kept_is_what_keys_and_values_are_made_of(x64):
  q, k, _, _ = problem(0, 12, groups=1)
  W = np.random.default_rng(2).normal(size=(3, 14))

  def expand(k):
    both = (k[..., 0, :] @ W).reshape(*k.shape[:-2], 2, 7)
    return both[..., :3], both[..., 3:]

  @jax.jit
  def run(q, k, init=None):
    return recurrence.window_attention(q, k, None, 4, init, expand=expand)

  first, state = run(q[:, :7], k[:, :7])
  chex.assert_trees_all_equal(state.keys, k[:, 3:7])
  assert state.values is None
  second, _ = run(q[:, 7:], k[:, 7:], state)
  keys, values = expand(k)
  start = np.broadcast_to(np.maximum(np.arange(12) - 4, 0), (2, 12))
  expected = reference.window_attention(q, keys, values, start, 4)
  # float64 rounding.
  np.testing.assert_allclose(
    np.concatenate([first, second], axis=1), expected, rtol=1e-11, atol=1e-12
  )


def test_halves_with_resets_are_the_definition(x64):
  q, k, v, _ = problem(0, 12)
  window = 3
  reset = np.zeros((2, 12), bool)
  reset[0, [4, 8]] = reset[1, 0] = True
  start = np.maximum.accumulate(np.where(reset, np.arange(12), 0), axis=-1)

  @jax.jit
  def halves(q, k, v, reset):
    first, state = recurrence.window_attention(
      *(x[:, :7] for x in (q, k, v)), window, reset=reset[:, :7]
    )
    last, state = recurrence.window_attention(
      *(x[:, 7:] for x in (q, k, v)), window, state, reset=reset[:, 7:]
    )
    return jnp.concatenate([first, last], axis=1), state

  o, state = halves(q, k, v, reset)
  expected = reference.window_attention(q, k, v, start, window)
  np.testing.assert_allclose(o, expected, rtol=1e-12)  # float64 rounding.
  np.testing.assert_array_equal(state.length, [4, 12])
  np.testing.assert_array_equal(state.keys, k[:, -window:])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"q": np.ones((3, 2))}, r"q: got shape \(3, 2\), expected"),
    (
      {"k": np.ones((2, 3, 4, 3))},
      r"k: got shape \(2, 3, 4, 3\), expected \(2, 5, groups, 3\)",
    ),
    ({"k": np.ones((2, 5, 3, 3))}, "a divisor of 4"),
    (
      {"v": np.ones((2, 6, 2, 3))},
      r"v: got shape \(2, 6, 2, 3\), expected \(2, 5, 2, 3\)",
    ),
    ({"window": 0}, "window: got 0, expected an integer of at least 1"),
    ({"block_size": 0}, "block_size: got 0, expected an integer of at least 1"),
    (
      {"init": recurrence.WindowState(*np.ones((3, 2, 4, 2, 3)))},
      r"init.keys: got shape \(2, 4, 2, 3\), expected \(2, 3, 2, 3\)",
    ),
    ({"reset": np.ones(5, bool)}, r"reset: got shape .*, expected \(2, 5\)"),
    ({"scheme": "hallo"}, r"scheme: got 'hallo', .*did you mean halo"),
    ({"expand": lambda k: (k, k)}, r"v: got shape .*, expected None with expa"),
    (
      {"v": None, "expand": lambda k: (k, k), "scheme": "ring"},
      "scheme: got 'ring', expected one of 'halo'",
    ),
    (
      {"v": None, "expand": lambda k: (k[..., :2], k)},
      r"keys: got shape \(2, 5, 2, 2\), expected \(2, 5, groups, 3\)",
    ),
  ],
)
def test_bad_arguments_are_named(changes, message):
  q, k, v, _ = problem(0, 5)
  arguments = {"q": q, "k": k, "v": v, "window": 3}
  with pytest.raises(ValueError, match=message):
    recurrence.window_attention(**(arguments | changes))
