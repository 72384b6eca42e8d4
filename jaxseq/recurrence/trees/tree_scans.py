"""Scans over trees: only the recurrence is sequential, from parents to nodes.

Each is the tree's form of a recurrence over time, and reads all nodes in one
pass; `tree.tree_fold` of the recurrence's own step is the reference. The form
with a mask of ancestors is that of Wu et al., "STree: Speculative tree decoding
for hybrid state-space models", arXiv:2505.14969.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.trees.tree import Tree
from jaxseq.recurrence.trees.tree import tree_fold


def tree_linear_scan(
  a: jax.Array, b: jax.Array, init: jax.Array | None, tree: Tree
) -> jax.Array:
  """Computes h_i = a_i * h_parent(i) + b_i for every node.

  Args:
    a: decays, real or complex, of any shape that broadcasts to that of `b`.
    b: (*batch, nodes, n) inputs.
    init: (*batch, n) state before the tree; zeros if None.
    tree: the tree.

  Returns:
    The states (*batch, nodes, n), at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  a, b = jnp.asarray(a), jnp.asarray(b)
  validate.shape("b", b, ("*batch", tree.size, "n"))
  dtype = linear.accumulator_dtype(a, b, init)
  state = (*b.shape[:-2], b.shape[-1])
  _checks.shape("init", init, state)
  init = jnp.zeros(state, dtype) if init is None else init.astype(dtype)
  a = jnp.broadcast_to(a.astype(dtype), b.shape)

  def step(h, element):
    decay, addend = element
    h = decay * h + addend
    return h, h

  h, _ = tree_fold(step, init, (a, b.astype(dtype)), tree, b.ndim - 2)
  return h


def tree_outer_scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None,
  init: jax.Array | None,
  tree: Tree,
) -> jax.Array:
  """Reads matrix states with rank-one updates, without computing the states.

      S_i = exp(decay_i) S_parent(i) + k_i v_i^T,   o_i = q_i S_i

  in the dual form of a chunk, with ancestors instead of earlier elements: o_i =
  exp(A_i) q_i S_0 + sum_j exp(A_i - A_j) (q_i . k_j) v_j over j = i and its
  ancestors, with A_i the sum of decays down to i.

  Args:
    q: (*batch, nodes, dk) queries.
    k: (*batch, nodes, dk) keys.
    v: (*batch, nodes, dv) values.
    decay: (*batch, nodes, 1) logarithms of the state's factors, at most 0; -inf
      forgets it. None means a factor of 1.
    init: (*batch, dk, dv) state before the tree; zeros if None.
    tree: the tree.

  Returns:
    Outputs (*batch, nodes, dv), at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  _checks.floating(q=q, k=k, v=v)
  *batch, _, dv = validate.shape("v", v, ("*batch", tree.size, "dv"))
  *_, dk = validate.shape("k", k, (*batch, tree.size, "dk"))
  validate.shape("q", q, (*batch, tree.size, dk))
  _checks.shape("decay", decay, (*batch, tree.size, 1))
  _checks.shape("init", init, (*batch, dk, dv))
  dtype = _wide(q, k, v, init)
  q, k, v = (x.astype(dtype) for x in (q, k, v))
  weights = _weights(q, k, decay, tree.ancestors, tree)
  o = jnp.einsum("...ij,...jv->...iv", weights, v, precision="highest")
  return o if init is None else o + _carried(q, decay, init, tree)


def tree_delta_scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  read: jax.Array,
  decay: jax.Array | None,
  init: jax.Array | None,
  tree: Tree,
) -> tuple[jax.Array, jax.Array]:
  """Reads the matrix states of a delta rule, without computing the states.

      D = exp(decay_i) S_parent(i),  S_i = D + k_i (v_i - read_i D)^T,
      o_i = q_i S_i

  The u_i = v_i - read_i D solve a triangular system over ancestors, as in a
  chunk over the earlier elements (Yang et al., arXiv:2412.06464, section 3.2);
  with them as v, this is `tree_outer_scan`.

  Args:
    q: (*batch, nodes, dk) queries.
    k: (*batch, nodes, dk) keys.
    v: (*batch, nodes, dv) values.
    read: (*batch, nodes, dk).
    decay: as in `tree_outer_scan`.
    init: as in `tree_outer_scan`.
    tree: the tree.

  Returns:
    Outputs (*batch, nodes, dv), and u for `outer_after`, at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  _checks.floating(read=read)
  validate.shape("read", read, jnp.shape(k))
  dtype = _wide(q, k, v, init)
  k, v, read = (x.astype(dtype) for x in (k, v, read))
  above = tree.ancestors & ~np.eye(tree.size, dtype=bool)
  weights = _weights(read, k, decay, above, tree)
  if init is not None:
    v = v - _carried(read, decay, init, tree)
  u = jax.scipy.linalg.solve_triangular(
    weights + jnp.eye(tree.size, dtype=dtype), v, lower=True, unit_diagonal=True
  )
  return tree_outer_scan(q, k, u, decay, init, tree), u


def outer_after(
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None,
  init: jax.Array | None,
  tree: Tree,
  node: jax.Array,
) -> jax.Array:
  """Returns the state S of `tree_outer_scan` after one node of each row.

  Args:
    k: as in `tree_outer_scan`.
    v: as in `tree_outer_scan`.
    decay: as in `tree_outer_scan`.
    init: as in `tree_outer_scan`.
    tree: the tree.
    node: (*batch,) numbers of nodes.

  Returns:
    (*batch, dk, dv), at least float32.
  """
  dtype = _wide(k, v, init)
  k, v = k.astype(dtype), v.astype(dtype)
  on_path = jnp.asarray(tree.ancestors)[node]
  if decay is None:
    weights = on_path.astype(dtype)
  else:
    path = _down(decay.astype(dtype), tree)
    last = [
      jnp.take_along_axis(x, node[..., None, None], axis=-2) for x in path
    ]
    gap = _gap(last, path, on_path[..., None, :])
    weights = jnp.exp(gap)[..., 0, :]
  state = jnp.einsum(
    "...ik,...iv->...kv", weights[..., None] * k, v, precision="highest"
  )
  if init is None:
    return state
  init = init.astype(dtype)
  return state + (init if decay is None else _kept(last) * init)


def tree_causal_conv(
  x: jax.Array,
  weight: jax.Array,
  bias: jax.Array | None,
  window: jax.Array | None,
  tree: Tree,
) -> tuple[jax.Array, jax.Array]:
  """Applies a depthwise convolution over each node and its last ancestors.

  Args:
    x: (*batch, nodes, channels) inputs.
    weight: (width, channels), the last row for the node itself.
    bias: (channels,) or None.
    window: (*batch, width - 1, channels), the inputs before the tree, oldest
      first; zeros if None.
    tree: the tree.

  Returns:
    Outputs (*batch, nodes, channels), and the windows after the nodes (*batch,
    nodes, width - 1, channels), both at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  _checks.floating(x=x)
  *batch, _, channels = validate.shape(
    "x", x, ("*batch", tree.size, "channels")
  )
  width, _ = validate.shape("weight", weight, ("width", channels))
  _checks.shape("bias", bias, (channels,))
  _checks.shape("window", window, (*batch, width - 1, channels))
  dtype = _wide(x, window)
  x, weight = x.astype(dtype), weight.astype(dtype)
  if window is None:
    window = jnp.zeros((*batch, width - 1, channels), dtype)
  # Inputs before the tree come after its nodes, the newest at the end.
  elements = jnp.concatenate([x, window.astype(dtype)], axis=-2)
  node = np.arange(tree.size)[:, None]
  index = np.concatenate([tree.before(width - 1), node], axis=1)
  seen = jnp.take(elements, index % (tree.size + width - 1), axis=-2)
  y = jnp.sum(weight * seen, axis=-2)
  if bias is not None:
    y = y + bias.astype(dtype)
  return y, seen[..., 1:, :]


def _wide(*arrays):
  """The common dtype, at least float32."""
  present = [x.dtype for x in arrays if x is not None]
  return jnp.result_type(*present, jnp.float32)


def _down(decay, tree):
  """Sums of finite decays and of forgets on the path down to each node."""
  mask = tree.ancestors.astype(decay.dtype)
  forgets = jnp.isneginf(decay)
  finite = jnp.where(forgets, 0, decay)
  return [
    jnp.einsum("ij,...jn->...in", mask, x, precision="highest")
    for x in (finite, forgets.astype(decay.dtype))
  ]


def _gap(late, early, mask):
  """Differences A_i - A_j in the mask, unless a decay between is -inf."""
  early = [jnp.swapaxes(x, -1, -2) for x in early]
  mask = mask & (late[1] == early[1])
  return jnp.where(mask, late[0] - early[0], -jnp.inf)


def _kept(path):
  """Factors exp(A_i): the share of the state before the tree."""
  total, forgets = path
  return jnp.where(forgets > 0, 0, jnp.exp(total))


def _weights(q, k, decay, mask, tree):
  """Weights exp(A_i - A_j) (q_i . k_j) if the mask is set, else 0."""
  products = jnp.einsum("...ik,...jk->...ij", q, k, precision="highest")
  if decay is None:
    return jnp.where(mask, products, 0)
  path = _down(decay.astype(q.dtype), tree)
  return products * jnp.exp(_gap(path, path, mask))


def _carried(q, decay, init, tree):
  """Outputs exp(A_i) q_i S_0 of the state before the tree."""
  if decay is not None:
    q = q * _kept(_down(decay.astype(q.dtype), tree))
  init = init.astype(q.dtype)
  return jnp.einsum("...ik,...kv->...iv", q, init, precision="highest")
