"""Windowed attention over a tree: nodes see the cache and their ancestors."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.recurrence.attention import _attention_parts
from jaxseq.recurrence.attention.window import WindowState
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.trees.tree import Tree


def tree_window_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  window: int,
  init: WindowState,
  tree: Tree,
  *,
  embed: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> jax.Array:
  """Lets each node attend to itself and to at most `window` before it.

  The elements before a node are its ancestors and, before these, the cache; its
  position is its depth after the cache's end.

  Args:
    q: (*batch, nodes, heads, D) queries.
    k: (*batch, nodes, groups, D) keys; `groups` divides `heads`.
    v: like k, values.
    window: number of elements that a node sees beside itself.
    init: state before the tree.
    tree: the tree.
    embed: adds positions, as in `window_attention`.

  Returns:
    (*batch, nodes, heads, D), in the dtype of q.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  _checks.floating(q=q, k=k, v=v)
  *batch, _, heads, width = validate.shape(
    "q", q, ("*batch", tree.size, "heads", "D")
  )
  *_, groups, _ = validate.shape("k", k, (*batch, tree.size, "groups", width))
  validate.shape("v", v, jnp.shape(k))
  validate.shape("init.keys", init.keys, (*batch, window, groups, width))
  if heads % groups:
    raise validate.error("k", f"{groups} groups", f"a divisor of {heads}")
  depths, cache = tree.depths, np.arange(window)
  keys = init.keys.astype(k.dtype)
  if embed is not None:
    behind = jnp.asarray(window + depths)
    q, k, keys = embed(q, behind), embed(k, behind), embed(keys, cache)
  begin = window - init.length[..., None, None]
  held = (cache >= begin) & (cache >= depths[:, None])
  gaps = depths[:, None] - depths
  parts = [
    (keys, init.values.astype(v.dtype), held),
    (k, v, jnp.asarray(tree.ancestors & (gaps <= window))),
  ]
  return _attention_parts.attend(q, parts).astype(q.dtype)


def window_after(
  k: jax.Array, v: jax.Array, init: WindowState, tree: Tree, node: jax.Array
) -> WindowState:
  """The state of `tree_window_attention` after one node of each row.

  Args:
    k: as in `tree_window_attention`.
    v: as in `tree_window_attention`.
    init: as in `tree_window_attention`.
    tree: the tree.
    node: (*batch,) numbers of nodes.

  Returns:
    The state, in the dtypes of `init`.
  """
  window, depth = init.keys.shape[-3], len(tree.levels)
  paths = np.zeros((tree.size, depth), int)
  for number, flags in enumerate(tree.ancestors):
    above = np.flatnonzero(flags)
    paths[number, : len(above)] = above
  path = jnp.asarray(paths)[node]
  count = jnp.asarray(tree.depths)[node] + 1

  def leaf(cache, x):
    new = jnp.take_along_axis(x, path[..., None, None], axis=-3)
    whole = jnp.concatenate([cache, new.astype(cache.dtype)], axis=-3)
    index = count[..., None] + jnp.arange(window)
    return jnp.take_along_axis(whole, index[..., None, None], axis=-3)

  keys, values = leaf(init.keys, k), leaf(init.values, v)
  return WindowState(keys, values, init.length + count)
