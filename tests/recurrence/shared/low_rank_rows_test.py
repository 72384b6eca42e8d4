"""Weights of which each row of a batch has another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence

# Sums of 6 numbers of size 1, in float32 in another order.
_FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}


def _node(lead=()):
  keys = jax.random.split(jax.random.key(0), 4)
  return recurrence.LowRankRows(
    jax.random.normal(keys[0], (*lead, 6, 4)),
    jax.random.normal(keys[1], (*lead, 3, 6, 2)),
    jax.random.normal(keys[2], (*lead, 3, 2, 4)),
    jax.random.uniform(keys[3], (*lead, 3, 4)) + 0.5,
    path="stack/layers_0/mixer/W_x",
  )


@pytest.mark.parametrize("axes", [(), (5,)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_row_has_its_own(axes, dtype):
  node = _node()
  rows = [2, 0, 1, 2]
  x = jax.random.normal(jax.random.key(1), (4, *axes, 6)).astype(dtype)
  y = jax.jit(recurrence.dense)(x, node.at(rows))
  assert y.dtype == dtype
  for one, result, i in zip(x, y, rows):
    total = (node.w + node.a[i] @ node.b[i]) * node.gain[i]
    want = np.asarray(one, "float32") @ total
    # bfloat16 has 8 bits.
    bounds = _FLOAT32 if dtype == "float32" else {"rtol": 0, "atol": 0.1}
    np.testing.assert_allclose(np.asarray(result, "float32"), want, **bounds)


@pytest.mark.parametrize(
  ("shape", "gathers"), [((4, 6), False), ((3, 6), True), ((4, 5, 6), True)]
)
def test_factors_of_few_adapters_are_not_gathered(shape, gathers):
  node = dataclasses.replace(_node(), gain=None).at(np.arange(shape[0]) % 3)
  program = str(jax.make_jaxpr(recurrence.dense)(jnp.ones(shape), node))
  assert ("gather" in program) == gathers


def test_gradients_of_masked_products_are_those_of_sums():
  node = _node().at([2, 0, 1, 2])
  x = jax.random.normal(jax.random.key(1), (4, 6))

  def of_sums(node, x):
    total = node.w + node.a[node.rows] @ node.b[node.rows]
    y = jnp.einsum("rn,rnm->rm", x, total) * node.gain[node.rows]
    return jnp.sum(jnp.sin(0.1 * y))

  def of_node(node, x):
    return jnp.sum(jnp.sin(0.1 * recurrence.dense(x, node)))

  found, want = (
    jax.grad(f, (0, 1), allow_int=True)(node, x) for f in (of_node, of_sums)
  )
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(want)):
    if jnp.issubdtype(one.dtype, jnp.floating):
      np.testing.assert_allclose(one, other, **_FLOAT32)


def test_heads_have_weights_of_their_own():
  node = _node(lead=(3,)).at([1, 0])
  x = jax.random.normal(jax.random.key(1), (2, 3, 6))
  y = recurrence.dense_heads(x, node)
  for row, i in ((0, 1), (1, 0)):
    total = node.w + node.a[:, i] @ node.b[:, i]
    total *= node.gain[:, i, None]
    want = jnp.einsum("hn,hnm->hm", x[row], total)
    np.testing.assert_allclose(y[row], want, **_FLOAT32)


def test_products_without_the_axis_of_rows_are_refused():
  x = jnp.ones((5, 6))
  message = r"W_x: got shape \(5, 6\), expected .* with 4 rows"
  with pytest.raises(ValueError, match=message):
    recurrence.dense(x, _node().at([2, 0, 1, 2]))
  with pytest.raises(ValueError, match="with None rows"):
    recurrence.dense(x, _node())
