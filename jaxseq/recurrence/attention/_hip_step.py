"""Attention of one query that reads only the keys that its search visits."""

from collections.abc import Callable
import math

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.attention import hip
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _varying


def pays(search: hip.Hip | None, time: int, keys: int) -> bool:
  """True if `time` queries separately read fewer keys than there are."""
  return search is not None and time == 1 and search.touched(keys - 1) < keys


def attend(
  search: hip.Hip,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  anchor: jax.Array,
  window: int,
  embed: Callable[[jax.Array, jax.Array], jax.Array] | None,
) -> jax.Array:
  """Averages (*batch, 1, heads, D) for the query of the last key."""
  # Keys come without positions, which `embed` adds. The query sees its own key
  # and `window` keys before it, from `anchor` (its episode's first) on.
  batch, keys, shape, out = anchor.shape[:-1], k.shape[-3], q.shape, q.dtype
  q, k, v = (x.reshape(-1, *x.shape[len(batch) :]) for x in (q, k, v))
  q, anchor = q[:, 0], anchor.reshape(-1, 1, 1)
  rows, heads, _ = q.shape
  place = keys - 1
  start = jnp.maximum(anchor, max(0, place - window))
  base, count = search.candidates(start, anchor, jnp.full_like(start, place))
  wide = jnp.promote_types(q.dtype, jnp.float32)
  operands = _contractions.operand_dtype(jnp.result_type(q, k, v), wide)
  scale = math.sqrt(q.shape[-1])
  narrow = operands == jnp.bfloat16
  if not narrow:
    q = q.astype(operands) / scale
  row = jnp.arange(rows)[:, None, None]
  group = jnp.arange(heads)[:, None] * k.shape[-2] // heads

  def read(x, index):
    """Keys or values (rows, heads, n, D) at index (rows, heads, n)."""
    return x[row, jnp.clip(index, 0, place), group]

  def turned(k, index):
    if embed is None:
      return k
    one = jax.vmap(jax.vmap(lambda k, i: embed(k[:, None], i)[:, 0]))
    return one(k, index)

  def products(q, k, index, seen):
    """Scores of the keys at index, -inf where they are not seen."""
    # Zero times an infinite number is not zero, in the gradient of q.
    near = jnp.where(seen[..., None], read(k, index), 0)
    near = turned(near, index)
    scores = _contractions.einsum("rhd,rhnd->rhn", q, near, operands)
    scores = scores / scale if narrow else scores
    return jnp.where(seen, scores, -jnp.inf)

  fixed = lax.stop_gradient((q, k))

  def members(blocks):
    """Places of keys (rows, heads, n * block) of blocks (rows, heads, n)."""
    index = blocks[..., None] * search.block + jnp.arange(search.block)
    return base + index.reshape(*blocks.shape[:-1], -1)

  def score(blocks):
    index = members(blocks)
    scores = products(*fixed, index, (index >= start) & (index <= place))
    scores = scores.reshape(*blocks.shape, search.block)
    return jnp.max(scores, axis=-1)

  counts = jnp.broadcast_to(count[..., 0], (rows, heads))
  counts = _varying.vary_as(k, _varying.vary_as(q, counts))
  blocks, held = hip.search(
    counts, search.keep, search.rounds(place), search.representative, score
  )
  places = start, anchor, base, count * search.block
  index, seen = _chosen(search, places, place, blocks, held, members(blocks))
  scores = products(q, k, index, seen)
  # The query's own key is seen: the maximum is finite.
  top = lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
  weights = jnp.exp(scores - top)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  if narrow:  # As in blocks of queries.
    weights = weights / total
  values = jnp.where(seen[..., None], read(v, index), 0)
  o = _contractions.einsum("rhn,rhnd->rhd", weights, values, operands)
  if not narrow:
    o = o / total
  return o.astype(out).reshape(shape)


def _chosen(search, places, last, blocks, held, members):
  """Places (rows, heads, n) of keys to read, each once, and the seen ones."""
  start, anchor, base, length = places
  # The keys before the whole blocks, those after them, the blocks, and the
  # first elements outside of all these.
  behind = base + length
  before = start + jnp.arange(search.block - 1)
  after = behind + jnp.arange(search.near + search.block)
  sinks = anchor + jnp.arange(search.sinks)
  number = (sinks - base) // search.block
  chosen = (number[..., None] == blocks[..., None, :]) & held[..., None, :]
  free = (sinks >= base) & (sinks < behind) & ~jnp.any(chosen, axis=-1)
  parts = [
    (before, (before < base) & (before <= last)),
    (after, after <= last),
    (members, jnp.repeat(held, search.block, axis=-1)),
    (sinks, free),
  ]
  shape = blocks.shape[:-1]

  def joined(parts):
    spread = [jnp.broadcast_to(x, (*shape, x.shape[-1])) for x in parts]
    return jnp.concatenate(spread, axis=-1)

  index, seen = (joined(part) for part in zip(*parts))
  return index, seen & (index >= start)
