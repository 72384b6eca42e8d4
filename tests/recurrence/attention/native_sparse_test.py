"""Native sparse attention against the original's numbers and plain steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close

_GATES = "g_cmp", "g_slc", "g_swa"
# Sums in another order, of float64.
_CLOSE = {"rtol": 0, "atol": 1e-12}


@pytest.mark.parametrize(
  "form", ["native_sparse_attention", "reference"], ids=["blocks", "pairs"]
)
def test_golden(x64, golden, form):
  """Outputs and the gradients of sum(o * w)."""
  del x64
  data = golden("nsa/nsa")
  names = "block_size", "block_counts", "window_size"
  sizes = recurrence.NativeSparse(*(int(data[f"cfg/{n}"]) for n in names), 32)

  def loss(arrays):
    gates = jnp.stack([arrays[name] for name in _GATES], axis=-1)
    inputs = *(arrays[name] for name in "qkv"), gates, sizes
    if form == "reference":
      o = reference.native_sparse_attention(*inputs)
    else:
      o, _ = recurrence.native_sparse_attention(*inputs)
    return jnp.sum(o * data["w"]), o

  arrays = {name: data[name] for name in ("q", "k", "v", *_GATES)}
  grads, o = jax.jit(jax.grad(loss, has_aux=True))(arrays)
  close(o, data["o"], FORWARD)
  for name, grad in grads.items():
    close(grad, data[f"grad_{name}"], GRADIENT)


def _problem(time, rate, seed=0):
  """Inputs of four heads in two groups, and flags."""
  rng = np.random.default_rng(seed)
  q, gates = rng.normal(size=(2, time, 4, 3)), rng.random((2, time, 4, 3))
  k, v = rng.normal(size=(2, time, 2, 3)), rng.normal(size=(2, time, 2, 5))
  return (q, k, v, gates), rng.random((2, time)) < rate


# Ends of blocks at odd places, blocks of queries that are not full, more than
# the state holds, more blocks than there are, every element an episode.
_CASES = [
  (37, 0.05, (4, 3, 5, 12)),
  (150, 0.02, (4, 5, 7, 40)),
  pytest.param(70, 0.0, (4, 3, 7, 12), marks=pytest.mark.slow),
  pytest.param(20, 0.1, (4, 9, 0, 8), marks=pytest.mark.slow),
  (7, 1.0, (3, 3, 1, 3)),
  (1, 0.0, (4, 3, 2, 8)),
]


@pytest.mark.parametrize(("time", "rate", "sizes"), _CASES)
def test_blocks_equal_all_pairs(x64, time, rate, sizes):
  del x64
  sizes = recurrence.NativeSparse(*sizes)
  arrays, reset = _problem(time, rate)
  weights = np.random.default_rng(1).normal(size=(2, time, 4, 5))

  def run(*arrays):
    o, _ = recurrence.native_sparse_attention(*arrays, sizes, reset=reset)
    return o

  def plain(*arrays):
    return reference.native_sparse_attention(*arrays, sizes, reset=reset)

  @functools.partial(jax.jit, static_argnums=0)
  def both(form, *arrays):
    o, pull = jax.vjp(form, *arrays)
    return o, pull(weights)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **_CLOSE),
    both(run, *arrays),
    both(plain, *arrays),
  )


@pytest.mark.parametrize(("time", "rate", "sizes"), _CASES[:5])
def test_steps_and_pieces_equal_the_whole(x64, time, rate, sizes):
  del x64
  sizes = recurrence.NativeSparse(*sizes)
  arrays, reset = _problem(time, rate)
  state = recurrence.native_sparse_initial(sizes, (2,), 2, (3, 5), jnp.float64)

  @jax.jit
  def run(state, arrays, reset):
    return recurrence.native_sparse_attention(
      *arrays, sizes, state, reset=reset
    )

  def one(state, x):
    arrays, reset = x
    o, state = recurrence.native_sparse_step(*arrays, sizes, state, reset=reset)
    return state, o

  expected = run(None, arrays, reset)
  first = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (arrays, reset))
  last, o = jax.jit(functools.partial(jax.lax.scan, one))(state, first)
  outputs, middle = [], None
  for piece in (slice(2), slice(2, time)):
    cut = jax.tree.map(lambda x, piece=piece: x[:, piece], (arrays, reset))
    y, middle = run(middle, *cut)
    outputs.append(y)
  for found in (
    (jnp.moveaxis(o, 0, 1), last),
    (jnp.concatenate(outputs, axis=1), middle),
  ):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, **_CLOSE), found, expected
    )


def test_enough_blocks_are_full_attention(x64):
  """The term of chosen blocks alone, where all of them are chosen."""
  del x64
  (q, k, v, gates), reset = _problem(30, 0.1)
  gates = np.zeros_like(gates)
  gates[..., 1] = 1
  sizes = recurrence.NativeSparse(4, 8, 0, 32)
  arrays = q, k, v, gates, sizes
  o, _ = recurrence.native_sparse_attention(*arrays, reset=reset)
  q, k, v = (np.moveaxis(x, -2, -3) for x in (q, k, v))
  full = recurrence.softmax_attention(q, k, v, reset=reset)
  np.testing.assert_allclose(o, np.moveaxis(full, -3, -2), **_CLOSE)


def test_of_equal_weights_the_earlier_block_is_chosen(x64):
  """By sequences and by steps: queries of zeros weigh all blocks alike."""
  del x64
  sizes = recurrence.NativeSparse(2, 4, 0, 16)
  (q, k, v, gates), _ = _problem(15, 0.0)
  gates = np.zeros_like(gates)
  gates[..., 1] = 1
  o, _ = recurrence.native_sparse_attention(0 * q, k, v, gates, sizes)
  # At 14 its own block, the one before and the first are chosen, and block 1.
  seen = [0, 1, 2, 3, 12, 13, 14]
  expected = np.repeat(v[:, seen].mean(axis=1), 2, axis=1)
  np.testing.assert_allclose(o[:, 14], expected, **_CLOSE)
  state = recurrence.native_sparse_initial(sizes, (2,), 2, (3, 5), jnp.float64)
  step = jax.jit(
    lambda state, *x: recurrence.native_sparse_step(*x, sizes, state)
  )
  for t in range(15):
    y, state = step(state, *(x[:, t] for x in (0 * q, k, v, gates)))
  np.testing.assert_allclose(y, expected, **_CLOSE)
