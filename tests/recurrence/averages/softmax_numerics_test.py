"""softmax_scan at the edges: masks, infinities, precision, long streams."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from tests.recurrence import methods
from tests.recurrence.averages import softmax_cases


@pytest.mark.parametrize("method", methods.quick("chunked"))
def test_minus_infinity_is_a_mask(method):
  """What is masked has no say, not even as NaN; nothing is averaged to 0."""
  scores, values, _ = softmax_cases.problem(20)
  scores, values = scores.astype("f"), values.astype("f")
  mask = np.arange(20) >= np.array([[3], [20]])

  @jax.jit
  def gradient(scores, values, mask):
    def loss(scores, values):
      o, final = recurrence.softmax_scan(
        scores, values, mask=mask, method=method
      )
      return jnp.sum(o**2) + jnp.sum(final.w), o

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(scores, values)

  spoiled = np.where(mask[..., None], values, np.nan)
  masked = gradient(scores, spoiled, mask)
  chex.assert_tree_all_finite(masked)
  (_, o), (d_scores, d_values) = masked
  assert not np.any(o[0, :3])
  assert not np.any(o[1])
  assert not np.any(d_scores[~mask])
  assert not np.any(d_values[~mask])
  hidden = np.where(mask, scores, -np.inf).astype("f")
  # The same operations.
  chex.assert_trees_all_close(
    gradient(hidden, values, np.ones_like(mask)), masked, rtol=1e-6
  )


@pytest.mark.parametrize("method", methods.quick("chunked"))
def test_a_reset_forgets_inf_and_nan(method):
  scores, values, _ = softmax_cases.problem(20)
  scores, values = scores.astype("f"), values.astype("f")
  scores[0, 1], scores[1, 2], values[0, 3] = np.nan, np.inf, np.nan
  reset = np.zeros((2, 20), bool)
  reset[:, 4] = True
  init = recurrence.SoftmaxState(
    *(jnp.full(shape, jnp.inf) for shape in ((2,), (2,), (2, 3)))
  )

  @jax.jit
  def gradient(scores, values):
    def loss(scores, values):
      o, final = recurrence.softmax_scan(
        scores, values, init, reset=reset, method=method
      )
      return jnp.sum(o[:, 4:] ** 2) + jnp.sum(final.w), (o[:, 4:], final)

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(scores, values)

  (_, (o, final)), (d_scores, d_values) = gradient(scores, values)
  chex.assert_tree_all_finite((d_scores[:, 4:], d_values[:, 4:]))
  want, last = reference.softmax_scan(scores[:, 4:], values[:, 4:])
  # float32 rounding.
  options = {"rtol": 1e-5, "atol": 1e-6}
  np.testing.assert_allclose(o, want, **options)
  chex.assert_trees_all_close(final, last, **options)


@pytest.mark.slow
def test_one_extreme_row_leaves_the_others_alone():
  """Under vmap both forms of a chunk run, and one of them is not for it."""
  scores, values, _ = softmax_cases.problem(20)
  scores[1] *= 1e4
  arguments = scores.astype("f"), values.astype("f")

  def loss(scores, values):
    o, final = recurrence.softmax_scan(scores, values)
    return jnp.sum(o**2) + jnp.sum(final.w)

  @jax.jit
  def mapped(scores, values):
    def total(*x):
      return jnp.sum(jax.vmap(loss)(*x))

    return (
      jax.vmap(jax.grad(loss, (0, 1)))(scores, values),
      jax.grad(total, (0, 1))(scores, values),
    )

  together, of_the_sum = mapped(*arguments)
  gradient = jax.jit(jax.grad(loss, (0, 1)))
  apart = [gradient(*(x[i] for x in arguments)) for i in range(2)]
  apart = jax.tree.map(lambda *x: jnp.stack(x), *apart)
  # float32 rounding.
  chex.assert_trees_all_close(together, apart, rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_close(of_the_sum, apart, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", methods.quick("sequential"))
def test_bfloat16_inputs_are_accumulated_in_float32(method):
  """In bfloat16 u would stop growing at 256 elements."""
  time = 1000
  scores = jnp.zeros((1, time), jnp.bfloat16)
  values = jnp.ones((1, time, 2), jnp.bfloat16).at[:, ::2].set(3)
  scan = functools.partial(recurrence.softmax_scan, method=method)
  o, final = jax.jit(scan)(scores, values)
  assert o.dtype == jnp.bfloat16
  chex.assert_type(list(final), jnp.float32)
  np.testing.assert_array_equal(final.u, time)
  np.testing.assert_array_equal(final.w, 2 * time)
  np.testing.assert_array_equal(o[:, -1], 2)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sequential", "chunked"])
def test_long_streams_keep_their_digits(method):
  """A running average of 131,072 elements in float32.

  Forms that keep the logarithm of the sum, and not its two parts, are off by
  7e-4 here, and by more if all scores are large.
  """
  time = 131072
  rng = np.random.default_rng(0)
  scores = rng.normal(size=(1, time)).astype("f")
  values = rng.normal(size=(1, time, 1)).astype("f")
  scan = jax.jit(functools.partial(recurrence.softmax_scan, method=method))
  for offset in (np.float32(0), np.float32(30)):
    weights = np.exp((scores + offset).astype(np.float64))
    want = np.cumsum(weights * values[..., 0], 1) / np.cumsum(weights, 1)
    o, _ = scan(scores + offset, values)
    # 1.1e-5 is what the same sum in another order was measured to have.
    assert np.abs(o[..., 0] - want).max() < 2e-5


@pytest.mark.slow
def test_kernels_of_the_linear_scan_inside():
  """Interpreted; values and gradients as by the tree."""
  scores, values, init = (
    jax.tree.map(lambda x: x.astype("f"), part)
    for part in softmax_cases.problem(20)
  )
  reset = np.arange(20) == np.array([[3], [25]])

  def evaluate(method):
    def loss(scores, values, init):
      results = recurrence.softmax_scan(
        scores, values, init, reset=reset, method=method
      )
      return sum(jnp.sum(x**2) for x in jax.tree.leaves(results)), results

    gradient = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
    return jax.jit(gradient)(scores, values, init)

  with kernels.interpret("tpu"):
    got = evaluate("pallas")
  # float32 rounding.
  chex.assert_trees_all_close(
    got, evaluate("associative"), rtol=1e-5, atol=1e-5
  )
  with pytest.raises(NotImplementedError, match="method='pallas'"):
    evaluate("pallas")
