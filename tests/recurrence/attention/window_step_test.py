"""Tests of one query behind a full cache."""

import functools

import chex
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.recurrence.attention import _window_step
from jaxseq.recurrence.attention import window


def problem(groups, heads, reach, seed=0):
  """A query, keys and values; rows differ in what they see."""
  rng = np.random.default_rng(seed)
  rows, width = 5, 4
  q = rng.normal(size=(rows, 1, heads, width))
  k, v = rng.normal(size=(2, rows, reach + 1, groups, width))
  start = np.array([0, 1, reach // 2, reach - 1, reach])[:, None]
  hidden = np.arange(reach + 1) < start
  k[:, 1:][hidden[:, 1:]] = v[:, 1:][hidden[:, 1:]] = 0
  return q, (k[:, :1], v[:, :1]), (k[:, 1:], v[:, 1:]), start


@pytest.mark.parametrize(("groups", "heads"), [(1, 1), (1, 4), (2, 4), (3, 3)])
def test_values_and_gradients_are_those_of_blocks(x64, groups, heads):
  *arrays, start = problem(groups, heads, 7)

  def evaluate(function):
    def loss(q, first, rest):
      o = function(q, *first, *rest, start)
      return jnp.sum(jnp.sin(o)), o

    return jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*arrays)

  chex.assert_trees_all_close(
    *(evaluate(f) for f in (_window_step._in_parts, _window_step._in_blocks)),
    rtol=1e-12,  # Sums in another order, of numbers of size 1.
    atol=1e-13,
  )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_undefined_numbers_reach_the_rows_that_see_them(x64, bad, which):
  q, first, rest, start = problem(2, 4, 7)
  first[which][:, 0, 1, 2] = bad  # Seen by row 0 alone.
  rest[which][4, -1, 1, 2] = bad
  with np.errstate(invalid="ignore"):
    o = jax.jit(_window_step._in_parts)(q, *first, *rest, start)
  undefined = np.isnan(o)
  np.testing.assert_array_equal(undefined.all(axis=(1, 2, 3)), [1, 0, 0, 0, 1])
  assert not undefined[1:4].any()

  def loss(*arrays):
    return jnp.sum(_window_step._in_parts(*arrays, start)[1:4])

  grads = jax.jit(jax.grad(loss, (0, 1, 2, 3, 4)))(q, *first, *rest)
  chex.assert_tree_all_finite(grads)


@functools.partial(jax.jit, static_argnums=3)
def attend(q, k, v, reach, state=None, reset=None):
  return window.window_attention(q, k, v, reach, state, reset=reset)


@hypothesis.given(
  st.lists(st.booleans(), min_size=9, max_size=9), st.sampled_from([1, 3, 8])
)
@hypothesis.settings(deadline=None, max_examples=20)
def test_steps_with_resets_are_the_whole_sequence(flags, reach):
  rng = np.random.default_rng(reach)
  q = rng.normal(size=(1, len(flags), 2, 4)).astype("f")
  k, v = rng.normal(size=(2, 1, len(flags), 1, 4)).astype("f")
  reset = np.array([flags])
  whole, last = attend(q, k, v, reach, reset=reset)
  zeros = jnp.zeros((1, reach, 1, 4))
  state = window.WindowState(zeros, zeros, jnp.zeros(1))
  for t in range(len(flags)):
    now = slice(t, t + 1)
    one = (x[:, now] for x in (q, k, v))
    o, state = attend(*one, reach, state, reset[:, now])
    # Float32, sums of at most 9 terms of size 1.
    np.testing.assert_allclose(o, whole[:, now], atol=2e-6)
  chex.assert_trees_all_equal(state, last)
