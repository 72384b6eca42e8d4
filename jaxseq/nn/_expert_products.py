"""Weighted sums of the chosen experts' outputs.

Rows never meet the weights of experts that they did not choose, so that an
overflow in one expert affects only the rows that chose it.
"""

import functools

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.nn import feedforward

# Bytes of an expert that are read together: they stay in a core's cache.
_TILE = 1 << 19
# Rows of a block up to which copying its expert takes longer than the product.
_SMALL_BLOCK = 16


def mix(
  kind: str,
  x: jax.Array,
  chosen: jax.Array,
  shares: jax.Array,
  *matrices: jax.Array | recurrence.Weight,
) -> jax.Array:
  """Returns the weighted sums of the chosen experts' outputs, (n, d).

  Args:
    kind: kind of the feed-forwards.
    x: (n, d).
    chosen: (n, active) numbers of experts, distinct within a row.
    shares: (n, active) their weights.
    *matrices: (experts, d, width), a second one for the gate if the kind is
      gated, and (experts, width, d).
  """
  matrices = [_of_elements(W, chosen.shape[0]) for W in matrices]
  # For so few rows, or any number in an exported program, not all experts are
  # needed: only the chosen ones are read.
  count = chosen.shape[0] * chosen.shape[1]
  if not isinstance(count, int) or count <= matrices[0].shape[0]:
    plain = isinstance(count, int) and not _has_weights(matrices)
    return (_few if plain else _copied)(kind, x, chosen, shares, *matrices)
  return jax.lax.platform_dependent(
    x,
    chosen,
    shares,
    *matrices,
    # On CPUs a ragged product multiplies each row by all experts.
    cpu=functools.partial(blocked, kind),
    default=functools.partial(ragged, kind),
  )


def _of_elements(matrix, count):
  """The matrices of `count` elements, if each has an adapter of its own."""
  if isinstance(matrix, recurrence.LowRankRows):
    return matrix.of_elements(count)
  return matrix


def _adapters(matrices):
  """The number of adapters, and that of each element; one, and none."""
  for W in matrices:
    if isinstance(W, recurrence.LowRankRows):
      return W.a.shape[1], W.rows[0]
  return 1, None


def _picked(matrix, chosen):
  """Returns the matrices of the numbered experts."""
  if isinstance(matrix, recurrence.Weight):
    return matrix.pick(chosen)
  return jnp.take(matrix, chosen, axis=0)


def _has_weights(matrices):
  return any(isinstance(W, recurrence.Weight) for W in matrices)


def _copied(kind, x, chosen, shares, *matrices):
  """Copies the experts that each row chose, and multiplies by the copies."""
  weights = [
    W.pick_each(chosen)
    if isinstance(W, recurrence.LowRankRows)
    else _picked(W, chosen)
    for W in matrices
  ]
  over = jax.vmap(jax.vmap(_expert, (None, None, 0)), (None, 0, 0))
  return _summed(over(kind, x, weights), shares)


def _summed(y, shares):
  """Sums the experts' outputs (n, active, d) by their shares."""
  return jnp.einsum("nad,na->nd", y, shares.astype(y.dtype))


def _read_in_place(kind, x, chosen, shares, *matrices):
  """Goes through rows and their experts, whose weights it does not copy."""
  rows = jnp.repeat(x, chosen.shape[1], axis=0)[:, None]
  y = jax.lax.map(
    lambda each: _tiled_expert(kind, *each, matrices),
    (rows, chosen.reshape(-1)),
  )
  return _summed(y.reshape(*chosen.shape, -1), shares)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _few(kind, x, chosen, shares, *matrices):
  """The sums of few rows; the form with a gradient keeps the copies."""
  return jax.lax.platform_dependent(
    x,
    chosen,
    shares,
    *matrices,
    cpu=functools.partial(_read_in_place, kind),
    default=functools.partial(_copied, kind),
  )


def _few_forward(kind, x, chosen, shares, *matrices):
  return jax.vjp(
    lambda x, shares, *matrices: _copied(kind, x, chosen, shares, *matrices),
    x,
    shares,
    *matrices,
  )


def _few_backward(kind, pull, dy):
  dx, dshares, *slopes = pull(dy)
  return dx, None, dshares, *slopes


_few.defvjp(_few_forward, _few_backward)


def _tiled_expert(kind, x, number, matrices):
  """Applies the expert of a number to rows x (n, d), without a copy of it."""
  *inner, out = matrices
  hidden = [_tiled(x, W, number) for W in inner]
  return _tiled(feedforward.hidden(kind, *hidden), out, number)


def _tiled(x, matrices, number):
  """Returns x @ matrices[number], which is read in tiles of columns."""
  _, height, width = matrices.shape
  size = max(_TILE // (height * matrices.dtype.itemsize), 1)
  count = -(-width // size)
  if count == 1:
    return recurrence.dense(x, matrices[number])

  def tile(i, y):
    # The last tile may overlap the one before.
    start = jnp.minimum(i * size, width - size)
    part = jax.lax.dynamic_slice(
      matrices, (number, 0, start), (1, height, size)
    )
    y_part = recurrence.dense(x, part[0])
    return jax.lax.dynamic_update_slice(y, y_part, (0, start))

  y = jnp.zeros((x.shape[0], width), x.dtype)
  return jax.lax.fori_loop(0, count, tile, y)


def _expert(kind, x, matrices):
  """Applies one expert's feed-forward to x (..., d)."""
  *inner, out = matrices
  return recurrence.dense(
    feedforward.hidden(kind, *(recurrence.dense(x, W) for W in inner)), out
  )


def blocked(kind, x, chosen, shares, *matrices):
  """Sorts rows by expert and computes them in blocks of one expert each."""
  experts, count = matrices[0].shape[0], chosen.size
  size = _block_size(count // experts)
  most = (count + experts * (size - 1)) // size
  flat = chosen.reshape(-1)
  order = jnp.argsort(flat, stable=True)
  sizes = jnp.bincount(flat, length=experts)
  ends = jnp.cumsum(-(-sizes // size))  # Ends of the experts' blocks.
  # The place of a row among its expert's rows, and among all blocks.
  rank = jnp.arange(count) - (jnp.cumsum(sizes) - sizes)[flat[order]]
  begins = ends - -(-sizes // size)
  place = begins[flat[order]] * size + rank
  source = (
    jnp.full(most * size, x.shape[0]).at[place].set(order // chosen.shape[-1])
  )
  rows = jnp.take(x, source, axis=0, mode="fill", fill_value=0)
  numbers = jnp.searchsorted(ends, jnp.arange(most), side="right")
  blocks = rows.reshape(most, size, -1), jnp.minimum(numbers, experts - 1)
  _, adapters = _adapters(matrices)
  if adapters is not None:
    # What no row is in gets no adapter, whose number is 0.
    adapters = jnp.take(adapters, source, mode="fill", fill_value=0)
    adapters = adapters.reshape(most, size)
  if _has_weights(matrices):
    y = _forward(kind, *blocks, ends[-1], *matrices, adapters=adapters)
  else:
    y = _blocks(kind, *blocks, ends[-1], *matrices)
  parts = y.reshape(most * size, -1)[jnp.zeros_like(order).at[order].set(place)]
  parts = parts.reshape(*chosen.shape, -1).astype(shares.dtype)
  return jnp.einsum("nad,na->nd", parts, shares).astype(x.dtype)


def _block_size(rows):
  """Returns a power of two near the mean number of rows per expert."""
  return min(max(1 << rows.bit_length() >> 1, 8), 128)


def _forward(kind, rows, numbers, used, *matrices, adapters=None):
  """Experts of blocks (most, size, d), as far as they are used."""

  def expert(x, number, adapters):
    weights = [_picked(W, number) for W in matrices]
    weights = [
      W.at(adapters) if isinstance(W, recurrence.LowRankRows) else W
      for W in weights
    ]
    return _expert(kind, x, weights)

  return _used_blocks(expert, used, rows, numbers, adapters)


def _used_blocks(expert, used, *blocks):
  """Applies a function of a block's rows and numbers to the used blocks."""

  def block(_, each):
    place, *those = each
    y = jax.lax.cond(
      place < used, lambda: expert(*those), lambda: jnp.zeros_like(those[0])
    )
    return None, y

  xs = jnp.arange(blocks[0].shape[0]), *blocks
  return jax.lax.scan(block, None, xs)[1]


def _forward_in_place(kind, rows, numbers, used, *matrices):
  """`_forward` without a copy of any expert where blocks are small."""
  if rows.shape[1] > _SMALL_BLOCK:
    return _forward(kind, rows, numbers, used, *matrices)

  def expert(x, number):
    return _tiled_expert(kind, x, number, matrices)

  return _used_blocks(expert, used, rows, numbers)


def _backward(kind, residuals, dy):
  """Gradients of `_forward`; adds each block's to those of its expert."""
  rows, numbers, used, *matrices = residuals

  def block(slopes, each):
    place, x, dy, number = each
    weights = [_picked(W, number) for W in matrices]

    def pull():
      return jax.vjp(functools.partial(_expert, kind), x, weights)[1](dy)

    dx, added = jax.lax.cond(
      place < used, pull, lambda: jax.tree.map(jnp.zeros_like, (x, weights))
    )
    slopes = [
      slope.at[number].add(one)
      for slope, one in zip(slopes, added, strict=True)
    ]
    return slopes, dx

  xs = jnp.arange(rows.shape[0]), rows, dy, numbers
  start = [jnp.zeros_like(W) for W in matrices]
  slopes, dx = jax.lax.scan(block, start, xs)
  return dx, None, None, *slopes


# The gradient of a plain loop would add an array of all weights per block.
_blocks = jax.custom_vjp(_forward_in_place, nondiff_argnums=(0,))
_blocks.defvjp(
  lambda kind, *arguments: (_forward(kind, *arguments), arguments), _backward
)


def ragged(kind, x, chosen, shares, *matrices):
  """Sorts rows by expert and computes ragged products."""
  active = chosen.shape[-1]
  flat, experts = chosen.reshape(-1), matrices[0].shape[0]
  count, adapters = _adapters(matrices)
  # Rows of one expert by their adapters, so that these have ragged products.
  pairs = flat * count
  if adapters is not None:
    pairs = pairs + jnp.repeat(adapters, active)
  order = jnp.argsort(pairs, stable=True)
  sizes = jnp.bincount(flat, length=experts).astype(jnp.int32)

  def wide(rows, W, sizes):
    return jax.lax.ragged_dot(
      rows,
      W.astype(rows.dtype),
      sizes,
      preferred_element_type=jnp.promote_types(rows.dtype, jnp.float32),
    )

  def product(rows, W):
    low = None
    if isinstance(W, recurrence.LowRankRows):
      a, b = (x.reshape(-1, *x.shape[2:]) for x in (W.a, W.b))
      counts = jnp.bincount(pairs, length=len(a)).astype(jnp.int32)
      low = wide(wide(rows, a, counts).astype(rows.dtype), b, counts)
      W = W.w
    W = W.array() if isinstance(W, recurrence.Weight) else W
    y = wide(rows, W, sizes)
    return (y if low is None else y + low).astype(rows.dtype)

  rows = jnp.take(x, order // active, axis=0)
  *inner, out = matrices
  y = product(feedforward.hidden(kind, *(product(rows, W) for W in inner)), out)
  y = y.astype(shares.dtype) * shares.reshape(-1)[order][:, None]
  total = jnp.zeros_like(x, shares.dtype)
  return total.at[order // active].add(y).astype(x.dtype)
