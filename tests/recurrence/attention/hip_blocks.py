"""The authors' form of HiP for a prompt, by the search that is ours.

Blocks of queries search together: what a query sees depends on later ones of
its block, so that no mixer can compute with it. It is there for their numbers.
"""

import math

import jax
import jax.numpy as jnp

from jaxseq.recurrence.attention import hip as of


def blocks(
  q: jax.Array,
  k: jax.Array,
  hip: of.Hip,
  query_block: int,
) -> tuple[jax.Array, jax.Array]:
  """Finds the keys of whole blocks of queries, as the authors' code does.

  Every second query of a block counts in its scores. Candidates are the blocks
  of keys from the first one to `near` before the end of the block of queries;
  the last may be cut there. No positions, no episodes; queries are at the last
  keys' places.

  Args:
    q: (*batch, time, d) queries of one head, `time` a multiple of query_block.
    k: (*batch, earlier + time, d) keys.
    hip: options; its sinks are of no consequence.
    query_block: number of queries that search together, at least 2.

  Returns:
    First keys of the kept blocks (*batch, time / query_block, keep) int32,
    ascending, and which of them count.
  """
  *batch, time, width = q.shape
  keys = k.shape[-2]
  groups = q.reshape(*batch, -1, query_block, width)[..., 1::2, :]
  ends = keys - time + query_block * (1 + jnp.arange(time // query_block))
  count = jnp.maximum(0, -(-(ends - hip.near) // hip.block))
  count = jnp.broadcast_to(count, (*batch, len(ends))).astype(jnp.int32)

  def score(numbers):
    index = numbers[..., None] * hip.block + jnp.arange(hip.block)
    flat = jnp.clip(index, 0, keys - 1).reshape(*batch, -1)
    near = jnp.take_along_axis(k, flat[..., None], axis=-2)
    near = near.reshape(*index.shape, width)
    products = jnp.einsum("...qd,...nbd->...nbq", groups, near)
    inside = (index < ends[:, None, None])[..., None]
    return jnp.max(jnp.where(inside, products, -jnp.inf), axis=(-2, -1))

  most = max(0, -(-(keys - hip.near) // hip.block))
  numbers, held = of.search(
    count, hip.keep, of.rounds(most, hip.keep), hip.representative, score
  )
  return numbers * hip.block, held


def block_attention(
  q: jax.Array, k: jax.Array, v: jax.Array, hip: of.Hip, query_block: int
) -> jax.Array:
  """Attention to what `blocks` finds, to what is near, and to the first keys.

  For a prompt: no mixer's contract holds, since the keys that a query sees
  depend on later queries of its block. It sees none of the future itself. Rows
  of weights are in memory as a whole.

  Args:
    q: as in `blocks`, and so k.
    k: keys.
    v: (*batch, earlier + time, e) values.
    hip: options.
    query_block: number of queries that search together.

  Returns:
    (*batch, time, e).
  """
  first, held = blocks(q, k, hip, query_block)
  keys, time = k.shape[-2], q.shape[-2]
  index, own = jnp.arange(keys), keys - time + jnp.arange(time)
  ends = own.reshape(-1, query_block)[:, -1:] + 1 - hip.near
  inside = (index >= first[..., None]) & (index < first[..., None] + hip.block)
  kept = jnp.any(inside & held[..., None], axis=-2) & (index < ends)
  kept = jnp.repeat(kept, query_block, axis=-2)
  own = own[:, None]
  seen = kept | (index >= own - hip.near) | (index < hip.sinks)
  scores = jnp.einsum("...qd,...kd->...qk", q, k) / math.sqrt(q.shape[-1])
  scores = jnp.where(seen & (index <= own), scores, -jnp.inf)
  return jnp.einsum("...qk,...kd->...qd", jax.nn.softmax(scores), v)
