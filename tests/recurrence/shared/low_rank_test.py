"""Weights of products that are no arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence

# Sums of 12 numbers of size 1, in float32 in another order.
_FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}


def _node(lead=(), magnitude=False):
  keys = jax.random.split(jax.random.key(0), 4)
  return recurrence.LowRank(
    jax.random.normal(keys[0], (*lead, 12, 8)),
    jax.random.normal(keys[1], (*lead, 12, 3)),
    jax.random.normal(keys[2], (*lead, 3, 8)),
    jax.random.uniform(keys[3], (*lead, 8)) + 0.5 if magnitude else None,
    scale=0.7,
    path="stack/layers_0/mixer/W_x",
  )


@pytest.mark.parametrize("magnitude", [False, True])
def test_product_is_that_of_the_sum(magnitude):
  node = _node(magnitude=magnitude)
  x = jax.random.normal(jax.random.key(1), (2, 5, 12))
  bias = jnp.arange(8.0)
  total = node.w + 0.7 * node.a @ node.b
  if magnitude:
    total *= node.magnitude / np.linalg.norm(total, axis=0)
  y = jax.jit(recurrence.dense)(x, node, bias)
  np.testing.assert_allclose(y, x @ total + bias, **_FLOAT32)
  np.testing.assert_allclose(node.merged(), total, **_FLOAT32)


def test_norms_are_computed_once():
  node = _node(magnitude=True)
  x = jax.random.normal(jax.random.key(1), (2, 12))
  held = node.with_factors()
  want = recurrence.dense(x, node)
  np.testing.assert_allclose(recurrence.dense(x, held), want, **_FLOAT32)
  assert "sqrt" in str(jax.make_jaxpr(recurrence.dense)(x, node))
  assert "sqrt" not in str(jax.make_jaxpr(recurrence.dense)(x, held))
  plain = _node()
  assert plain.with_factors() is plain


def test_heads_have_weights_of_their_own():
  node = _node(lead=(4,))
  x = jax.random.normal(jax.random.key(1), (2, 4, 12))
  np.testing.assert_allclose(
    recurrence.dense_heads(x, node),
    recurrence.dense_heads(x, node.merged()),
    **_FLOAT32,
  )


def test_rows_and_stacks_are_those_of_the_sum():
  node = _node()
  tokens = jnp.array([[3, 0], [11, 3]])
  rows = np.asarray(node.merged())[tokens]
  np.testing.assert_allclose(node.take(tokens), rows, **_FLOAT32)
  outer = recurrence.LowRank(node, node.a, node.b)
  rows = np.asarray(outer.merged())[tokens]
  np.testing.assert_allclose(outer.take(tokens), rows, **_FLOAT32)
  stack = _node(lead=(4,), magnitude=True)
  some = stack.pick(jnp.array([2, 0]))
  want = stack.merged()[jnp.array([2, 0])]
  np.testing.assert_allclose(some.merged(), want, **_FLOAT32)
  with pytest.raises(ValueError, match="W_x: got a LowRank, expected an array"):
    _node(magnitude=True).take(tokens)


def test_nodes_stand_on_nodes():
  inner = _node()
  outer = recurrence.LowRank(inner, 0.5 * inner.a, inner.b)
  x = jax.random.normal(jax.random.key(1), (12,))
  total = inner.w + (0.7 + 0.5) * inner.a @ inner.b
  np.testing.assert_allclose(recurrence.dense(x, outer), x @ total, **_FLOAT32)


@pytest.mark.parametrize("wide", [False, True])
def test_narrow_inputs(wide):
  node = _node(magnitude=True)
  x = jax.random.normal(jax.random.key(1), (6, 12), jnp.bfloat16)
  y = recurrence.dense(x, node, wide=wide)
  assert y.dtype == (jnp.float32 if wide else jnp.bfloat16)
  # Three products of numbers that are rounded to 8 bits.
  np.testing.assert_allclose(
    y.astype(jnp.float32),
    x.astype(jnp.float32) @ node.merged(),
    rtol=0.05,
    atol=0.1,
  )


def test_gradients_hold_the_norms():
  node = _node(magnitude=True)
  x = jax.random.normal(jax.random.key(1), (5, 12))
  gain = node.magnitude / np.linalg.norm(node.w + 0.7 * node.a @ node.b, axis=0)

  def loss(node):
    return jnp.sum(jnp.sin(recurrence.dense(x, node)))

  def held(a, b):
    return jnp.sum(jnp.sin(x @ ((node.w + 0.7 * a @ b) * gain)))

  got = jax.grad(loss)(node)
  for one, want in zip((got.a, got.b), jax.grad(held, (0, 1))(node.a, node.b)):
    np.testing.assert_allclose(one, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  "use",
  [
    lambda w: w.T,
    lambda w: w[0],
    lambda w: w + 1,
    lambda w: jnp.ones((3, 12)) @ w,
    lambda w: jnp.exp(w),
    lambda w: jnp.einsum("nm,n->m", w, jnp.ones(12)),
    lambda w: np.asarray(w),
  ],
)
def test_other_uses_name_the_path(use):
  node = _node()
  assert jnp.shape(node) == node.shape == (12, 8)
  with pytest.raises(ValueError, match="stack/layers_0/mixer/W_x: got a LowR"):
    use(node)
