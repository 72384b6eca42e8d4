"""Weighted sums of the chosen experts' outputs.

Rows never meet the weights of experts that they did not choose, so that an
overflow in one expert affects only the rows that chose it.
"""

import functools

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.nn import feedforward


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
  # For so few rows, or any number in an exported program, not all experts are
  # needed: only the chosen ones are read.
  count = chosen.shape[0] * chosen.shape[1]
  if not isinstance(count, int) or count <= matrices[0].shape[0]:
    weights = [_picked(matrix, chosen) for matrix in matrices]
    over = jax.vmap(jax.vmap(_expert, (None, None, 0)), (None, 0, 0))
    y = over(kind, x, weights)
    return jnp.einsum("nad,na->nd", y, shares.astype(y.dtype))
  return jax.lax.platform_dependent(
    x,
    chosen,
    shares,
    *matrices,
    # On CPUs a ragged product multiplies each row by all experts.
    cpu=functools.partial(blocked, kind),
    default=functools.partial(ragged, kind),
  )


def _picked(matrix, chosen):
  """Returns the matrices of the numbered experts."""
  if isinstance(matrix, recurrence.Weight):
    return matrix.pick(chosen)
  return jnp.take(matrix, chosen, axis=0)


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
  weights = any(isinstance(W, recurrence.Weight) for W in matrices)
  y = (_forward if weights else _blocks)(
    kind,
    rows.reshape(most, size, -1),
    jnp.minimum(numbers, experts - 1),
    ends[-1],
    *matrices,
  )
  parts = y.reshape(most * size, -1)[jnp.zeros_like(order).at[order].set(place)]
  parts = parts.reshape(*chosen.shape, -1).astype(shares.dtype)
  return jnp.einsum("nad,na->nd", parts, shares).astype(x.dtype)


def _block_size(rows):
  """Returns a power of two near the mean number of rows per expert."""
  return min(max(1 << rows.bit_length() >> 1, 8), 128)


def _forward(kind, rows, numbers, used, *matrices):
  """Applies the experts to blocks (most, size, d), up to the last used one."""

  def block(_, each):
    place, x, number = each
    y = jax.lax.cond(
      place < used,
      lambda: _expert(kind, x, [_picked(W, number) for W in matrices]),
      lambda: jnp.zeros_like(x),
    )
    return None, y

  xs = jnp.arange(rows.shape[0]), rows, numbers
  return jax.lax.scan(block, None, xs)[1]


def _backward(kind, residuals, dy):
  """Gradients of `_forward`; adds each block's to those of its expert."""
  rows, numbers, used, *matrices = residuals

  def block(slopes, each):
    place, x, dy, number = each
    weights = [_picked(W, number) for W in matrices]

    def pull():
      return jax.vjp(functools.partial(_expert, kind), x, weights)[1](dy)

    dx, own = jax.lax.cond(
      place < used, pull, lambda: jax.tree.map(jnp.zeros_like, (x, weights))
    )
    slopes = [
      slope.at[number].add(one) for slope, one in zip(slopes, own, strict=True)
    ]
    return slopes, dx

  xs = jnp.arange(rows.shape[0]), rows, dy, numbers
  start = [jnp.zeros_like(W) for W in matrices]
  slopes, dx = jax.lax.scan(block, start, xs)
  return dx, None, None, *slopes


# The gradient of a plain loop would add an array of all weights per block.
_blocks = jax.custom_vjp(_forward, nondiff_argnums=(0,))
_blocks.defvjp(
  lambda kind, *arguments: (_forward(kind, *arguments), arguments), _backward
)


def ragged(kind, x, chosen, shares, *matrices):
  """Sorts rows by expert and computes ragged products."""
  active = chosen.shape[-1]
  order = jnp.argsort(chosen.reshape(-1), stable=True)
  sizes = jnp.bincount(chosen.reshape(-1), length=matrices[0].shape[0])

  def product(rows, W):
    W = W.array() if isinstance(W, recurrence.Weight) else W
    return jax.lax.ragged_dot(
      rows,
      W.astype(rows.dtype),
      sizes.astype(jnp.int32),
      preferred_element_type=jnp.promote_types(rows.dtype, jnp.float32),
    ).astype(rows.dtype)

  rows = jnp.take(x, order // active, axis=0)
  *inner, out = matrices
  y = product(feedforward.hidden(kind, *(product(rows, W) for W in inner)), out)
  y = y.astype(shares.dtype) * shares.reshape(-1)[order][:, None]
  total = jnp.zeros_like(x, shares.dtype)
  return total.at[order // active].add(y).astype(x.dtype)
