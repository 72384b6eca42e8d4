"""HiP: sparse attention whose visible keys are found by halving intervals.

Lee et al., "A training-free sub-quadratic cost Transformer model serving
framework with hierarchically pruned attention", arXiv:2406.09827 (HiP), section
3. Keys are candidates in blocks of neighbors. A query splits them into as many
intervals as it keeps blocks; each interval is halved, a block of each half is
scored by its largest product with the query, the best halves stay, and so on
until every interval is one block. That takes O(keep log(n / keep)) products
with keys instead of n.

`Hip` has the options for `window_attention`, in which every query searches
separately and blocks are counted from the first element of its episode: a query
sees the same keys in a whole sequence, in chunks of it, and step by step. In
the authors' form for a prompt, blocks of queries search together, so that the
keys of a query depend on later ones of its block.
"""

from collections.abc import Callable
import dataclasses
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _varying


@dataclasses.dataclass(frozen=True)
class Hip:
  """Options of the search; hashable.

  Attributes:
    keys: number of keys that each query keeps, a multiple of `block`.
    block: number of neighboring keys that are kept or dropped together.
    near: number of elements before a query that are always visible.
    sinks: first elements of an episode that are always visible, while they are
      in reach.
    representative: which block of an interval is scored, the one at its
      "center", as in the paper, or its "first", as in the authors' code.
  """

  keys: int
  block: int = 2
  near: int = 32
  sinks: int = 0
  representative: Literal["center", "first"] = "center"

  def __post_init__(self):
    validate.literals(self)
    validate.at_least(self, keys=1, block=1, near=0, sinks=0)
    if self.keys % self.block:
      expected = f"a multiple of block = {self.block}"
      raise validate.error("keys", self.keys, expected)

  @property
  def keep(self) -> int:
    """Number of blocks that are kept."""
    return self.keys // self.block

  def rounds(self, reach: int) -> int:
    """Returns the number of halvings for so many keys in reach."""
    return rounds(max(0, reach - self.near) // self.block, self.keep)

  def touched(self, reach: int) -> int:
    """Returns how many of `reach` visible keys a query is multiplied with."""
    scored = 2 * self.keys * self.rounds(reach)
    return scored + self.keys + self.near + 2 * self.block + self.sinks

  def candidates(
    self, start: jax.Array, anchor: jax.Array, query: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the first key of the whole blocks, and the number of blocks.

    Args:
      start: first key that each query sees.
      anchor: first element of its episode, which may be before all keys.
      query: place of the query's own key.
    """
    first = -(-(start - anchor) // self.block)
    last = (query - self.near - anchor) // self.block
    return anchor + first * self.block, jnp.maximum(0, last - first)


def rounds(candidates: int, keep: int) -> int:
  """Returns ceil(log2(candidates / keep)), or 0: halvings to single blocks."""
  return max(0, (-(-candidates // keep) - 1).bit_length())


def search(
  count: jax.Array,
  keep: int,
  rounds: int,
  representative: str,
  score: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """Finds blocks of large scores.

  Args:
    count: (...,) int32, number of candidates of each query.
    keep: number of blocks to find; all if there are no more.
    rounds: number of halvings, at least as many as the largest count needs.
    representative: as in `Hip`.
    score: (..., n) scores of blocks of these numbers; no gradient is taken.

  Returns:
    Numbers of blocks (..., keep), ascending, and which of them count: fewer
    where there are fewer candidates. Of equal scores the lower number wins.
  """
  share = jnp.arange(keep, dtype=jnp.int32)
  # Not count * share, which may exceed 32 bits.
  whole, rest = count[..., None] // keep, count[..., None] % keep
  first = whole * share + rest * share // keep
  end = whole * (share + 1) + rest * (share + 1) // keep
  center = representative == "center"

  def halve(_, intervals):
    first, size = intervals
    left = size // 2
    firsts = jnp.stack([first, first + left], axis=-1)
    sizes = jnp.stack([left, size - left], axis=-1)
    firsts, sizes = (
      x.reshape(*x.shape[:-2], 2 * keep) for x in (firsts, sizes)
    )
    scores = score(firsts + sizes // 2 if center else firsts)
    scores = jnp.where(sizes > 0, scores, -jnp.inf)
    # In ascending order, so that ties go to the lower number in the next round.
    best = jnp.sort(lax.top_k(scores, keep)[1], axis=-1)
    return tuple(jnp.take_along_axis(x, best, -1) for x in (firsts, sizes))

  first, size = lax.fori_loop(0, rounds, halve, (first, end - first))
  return first, size > 0


def visible(
  hip: Hip,
  scores: jax.Array,
  start: jax.Array,
  anchor: jax.Array,
  query: jax.Array,
) -> jax.Array:
  """Mask of the keys that queries see, if all products are available.

  Args:
    hip: options.
    scores: (rows, heads..., time, keys), finite where a query may see the key.
    start: (rows, time) int32, first key that each query may see.
    anchor: (rows, time) int32, first element of its episode.
    query: (time,) int32, place of its own key.

  Returns:
    Bool like scores.
  """
  keys, size = scores.shape[-1], hip.block
  scores = lax.stop_gradient(scores)
  heads = (1,) * (scores.ndim - 3)

  def spread(x):
    return x.reshape(x.shape[0], *heads, x.shape[1], 1)

  query = jnp.broadcast_to(query, start.shape)
  base, count = map(spread, hip.candidates(start, anchor, query))
  start, anchor, query = map(spread, (start, anchor, query))
  # For each key, the best score among it and the keys that share its block.
  best = scores
  for shift in range(1, size):
    later = jnp.pad(
      scores[..., shift:],
      ((0, 0),) * (scores.ndim - 1) + ((0, shift),),
      constant_values=-jnp.inf,
    )
    best = jnp.maximum(best, later)

  def score(blocks):
    place = jnp.clip(base + blocks * size, 0, keys - 1)
    return jnp.take_along_axis(best, place, axis=-1)

  lead = (*scores.shape[:-1], 1)
  counts = _varying.vary_as(scores, jnp.broadcast_to(count, lead)[..., 0])
  blocks, held = search(
    counts, hip.keep, hip.rounds(keys - 1), hip.representative, score
  )
  most = keys // size + 1
  flags = jnp.zeros((*scores.shape[:-1], most + 1), bool)
  block_flags = jnp.put_along_axis(
    flags, jnp.where(held, blocks, most), True, axis=-1, inplace=False
  )
  index = jnp.arange(keys)
  number = (index - base) // size
  searched = (number >= 0) & (number < count)
  places = jnp.broadcast_to(jnp.clip(number, 0, most), scores.shape)
  seen = ~searched | jnp.take_along_axis(block_flags, places, axis=-1)
  seen |= index < anchor + hip.sinks
  return seen & (index >= start) & (index <= query)
