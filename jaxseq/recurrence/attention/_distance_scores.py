"""Scores by distance, as in Transformer-XL (arXiv:1901.02860, appendix B)."""

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _contractions


def scores(
  p: jax.Array, table: jax.Array, keys: int, operands: jax.typing.DTypeLike
) -> jax.Array:
  """Products p_i . table[d] at distance d, (rows, heads, queries, keys)."""
  # Query i is at key keys - queries + i; distances beyond the table give 0.
  queries = p.shape[1]
  # Column c of row i, before the shift, has the distance keys - 1 - c.
  first, columns = keys - 1, keys + queries - 1
  table = table[::-1]
  front, back = first + 1 - len(table), columns - first - 1
  table = table[max(0, -front) :]
  widths = ((max(0, front), back), (0, 0), (0, 0))
  table = jnp.pad(table, widths)
  products = _contractions.einsum("rqhd,chd->rhqc", p, table, operands)
  if queries == 1:
    return products
  # Row i moves queries - 1 - i to the left: rows shorter by one column.
  lead = products.shape[:2]
  flat = products.reshape(*lead, -1)[..., queries - 1 :]
  flat = flat[..., : queries * (columns - 1)]
  return flat.reshape(*lead, queries, columns - 1)[..., :keys]
