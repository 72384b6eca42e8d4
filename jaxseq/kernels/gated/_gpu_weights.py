"""Weights of a gated recurrence on Hopper, and products with them.

All weights are one matrix: one column per feature of a distinct sum of a step;
rows of hidden states, inputs and ones. A bias is two bfloat16 numbers.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.recurrence.gated import _gated_chunk

# Columns of ones. Two suffice; with eight, rows are aligned to 16 bytes.
_ONES = 8


@functools.cache
def _slots(cell, inputs, gates, states):
  """Returns the distinct sum of each input, then product of a cell."""
  slots = []

  def trace(*arguments):
    _, saved = cell.forward(*arguments)
    state = arguments[2]
    d_inputs, d_recurrent, _ = cell.backward(saved, state, state)
    slots[:], _ = _gated_chunk.shared((*d_inputs, *d_recurrent))

  leaf = jax.ShapeDtypeStruct((1, 1), jnp.float32)
  jax.eval_shape(trace, *((leaf,) * count for count in (inputs, gates, states)))
  return tuple(slots)


class Sizes(NamedTuple):
  """Static sizes."""

  heads: int  # number of heads
  features: int  # features of a head
  gates: int  # gates of the state
  # the distinct sum of each input and then product of the cell
  slots: tuple[int, ...]

  @classmethod
  def of(cls, cell, params, state):
    """Returns the sizes of `scan.scan`'s arguments."""
    heads, features, gates, _ = params.kernel.shape
    slots = _slots(cell, len(params.input_bias), gates, len(state))
    return cls(heads, features, gates, slots)

  @property
  def loops(self):
    """The module of the loops."""
    from jaxseq.kernels.gated import _gpu
    from jaxseq.kernels.gated import _gpu_cluster

    narrow = self.features <= _gpu.WIDEST
    return _gpu if narrow else _gpu_cluster

  @property
  def inputs(self) -> int:
    """Number of gates of the inputs."""
    return len(self.slots) - self.gates

  @property
  def count(self) -> int:
    """Number of distinct sums."""
    return max(self.slots) + 1

  @property
  def width(self) -> int:
    """Features of all heads, padded to blocks."""
    return self.heads * self.loops.width(self.features)

  def padded(self, x: jax.Array) -> jax.Array:
    """Pads an array (..., heads * features) to (..., width)."""
    split = x.reshape(*x.shape[:-1], self.heads, self.features)
    columns = self.loops.width(self.features)
    return _calls.padded(split, split.ndim - 1, columns).reshape(
      *x.shape[:-1], self.width
    )

  def cut(self, x: jax.Array) -> jax.Array:
    """Undoes `padded`."""
    split = x.reshape(*x.shape[:-1], self.heads, -1)[..., : self.features]
    return split.reshape(*x.shape[:-1], -1)


class Weights(NamedTuple):
  """Weights of `gated.GatedParams`, padded to blocks."""

  # (heads, gates, features, features) bfloat16, [head, gate, in, out]
  kernel: jax.Array
  input_kernel: jax.Array | None  # (inputs, input gates, width), or None
  input_bias: jax.Array  # (input gates, width)
  bias: jax.Array | None  # (gates, width), or None


def aligned(sizes: Sizes, params) -> Weights:
  """Returns the weights of `gated.GatedParams`."""
  columns = sizes.loops.width(sizes.features)
  kernel = jnp.moveaxis(params.kernel.astype(jnp.bfloat16), 2, 1)
  kernel = _calls.padded(_calls.padded(kernel, 2, columns), 3, columns)
  rest = params.input_kernel, params.input_bias, params.bias
  return Weights(
    kernel, *(None if leaf is None else sizes.padded(leaf) for leaf in rest)
  )


def biases(sizes: Sizes, weights: Weights) -> jax.Array:
  """Returns (sums, width) float32: biases of inputs plus products."""
  leaves = [*weights.input_bias]
  leaves += [None] * sizes.gates if weights.bias is None else [*weights.bias]
  rows = [jnp.zeros_like(leaves[0])] * sizes.count
  for slot, leaf in zip(sizes.slots, leaves):
    rows[slot] = rows[slot] if leaf is None else rows[slot] + leaf
  return jnp.stack(rows).astype(jnp.float32)


def projected(weights: Weights, x: jax.Array) -> jax.Array:
  """Returns (time, rows, input gates * width), without a bias."""
  if weights.input_kernel is None:
    return x
  inputs = weights.input_kernel.shape[0]
  return _product(x, weights.input_kernel.reshape(inputs, -1))


def stacked(sizes: Sizes, weights: Weights) -> jax.Array:
  """Returns the matrix, (width + inputs + ones, sums * width) in bfloat16."""
  first, last = sizes.slots[: sizes.inputs], sizes.slots[sizes.inputs :]

  def columns(slot):
    blocks = [
      _in_blocks(weights.kernel[:, gate])
      for gate, own in enumerate(last)
      if own == slot
    ]
    parts = [sum(blocks, jnp.zeros((sizes.width,) * 2, jnp.bfloat16))]
    if weights.input_kernel is not None:
      nothing = jnp.zeros_like(weights.input_kernel[:, 0])
      own = [
        weights.input_kernel[:, i] for i, own in enumerate(first) if own == slot
      ]
      parts.append(sum(own, nothing).astype(jnp.bfloat16))
    return jnp.concatenate(parts)

  matrix = jnp.stack([columns(slot) for slot in range(sizes.count)], 1)
  bias = biases(sizes, weights)
  most = bias.astype(jnp.bfloat16)
  least = (bias - most.astype(jnp.float32)).astype(jnp.bfloat16)
  rows = jnp.stack([most, least])
  rows = _calls.padded(rows, 0, _ONES)
  return jnp.concatenate([matrix, rows]).reshape(-1, sizes.count * sizes.width)


def unstacked(sizes: Sizes, params, matrix: jax.Array):
  """Returns cotangents of `gated.GatedParams` from the matrix's."""
  matrix = matrix.reshape(matrix.shape[0], sizes.count, sizes.width)
  first, last = sizes.slots[: sizes.inputs], sizes.slots[sizes.inputs :]
  blocks = [_of_blocks(sizes, matrix[: sizes.width, slot]) for slot in last]
  ones = matrix[-_ONES]
  input_bias = sizes.cut(jnp.stack([ones[slot] for slot in first]))
  inputs, bias = None, None
  if params.input_kernel is not None:
    rows = matrix[sizes.width : -_ONES]
    inputs = sizes.cut(jnp.stack([rows[:, slot] for slot in first], 1))
  if params.bias is not None:
    bias = sizes.cut(jnp.stack([ones[slot] for slot in last]))
  cotangents = params._replace(
    input_kernel=inputs,
    input_bias=input_bias,
    kernel=jnp.stack(blocks, 2),
    bias=bias,
  )
  return jax.tree.map(lambda d, w: d.astype(w.dtype), cotangents, params)


def beside(weights: Weights, before: jax.Array, x: jax.Array) -> jax.Array:
  """Returns the left operand of the matrix: hidden states, inputs and ones."""
  ones = jnp.ones((*before.shape[:-1], _ONES), before.dtype)
  between = [] if weights.input_kernel is None else [x.astype(before.dtype)]
  return jnp.concatenate([before, *between, ones], -1)


def sums(
  sizes: Sizes,
  weights: Weights,
  matrix: jax.Array,
  operand: jax.Array,
  x: jax.Array,
) -> jax.Array:
  """Returns all steps' distinct sums, (time, rows, sums * width) bfloat16."""
  if weights.input_kernel is not None:
    return _product(operand, matrix)
  parts = jnp.split(x.astype(jnp.float32), sizes.inputs, -1)
  total = [jnp.zeros_like(parts[0])] * sizes.count
  for slot, part in zip(sizes.slots, parts):
    total[slot] = total[slot] + part
  total = jnp.concatenate(total, -1)
  return (total + _product(operand, matrix)).astype(jnp.bfloat16)


def outer_sum(operand: jax.Array, d_sums: jax.Array) -> jax.Array:
  """Returns the cotangent of the matrix, in float32."""
  left, right = (leaf.reshape(-1, leaf.shape[-1]) for leaf in (operand, d_sums))
  return jnp.einsum(
    "ti,tj->ij", left, right, preferred_element_type=jnp.float32
  )


def to_inputs(
  sizes: Sizes,
  weights: Weights,
  matrix: jax.Array,
  d_sums: jax.Array,
  dtype: jnp.dtype,
) -> jax.Array:
  """Returns the cotangent of the inputs, projected or not."""
  if weights.input_kernel is None:
    parts = jnp.split(d_sums, sizes.count, -1)
    parts = [parts[slot] for slot in sizes.slots[: sizes.inputs]]
    return jnp.concatenate(parts, -1).astype(dtype)
  return _product(d_sums, matrix[sizes.width : -_ONES].T).astype(dtype)


def _product(x, matrix):
  """Multiplies (time, rows, n) by (n, m), summed in float32, then rounded."""
  flat = x.reshape(-1, x.shape[-1]).astype(jnp.bfloat16)
  product = jnp.dot(
    flat, matrix.astype(jnp.bfloat16), preferred_element_type=jnp.float32
  )
  return product.astype(jnp.bfloat16).reshape(*x.shape[:-1], -1)


def _in_blocks(kernel):
  """Converts (heads, n, n) to a block-diagonal matrix."""
  heads, features, _ = kernel.shape
  if heads == 1:
    return kernel[0]
  apart = jnp.eye(heads, dtype=kernel.dtype)
  blocks = jnp.einsum("hio,hk->hiko", kernel, apart)
  return blocks.reshape((heads * features,) * 2)


def _of_blocks(sizes, matrix):
  """Undoes `_in_blocks`, without the padding."""
  matrix = matrix.reshape((sizes.heads, sizes.width // sizes.heads) * 2)
  matrix = matrix[:, : sizes.features, :, : sizes.features]
  return jnp.moveaxis(jnp.diagonal(matrix, axis1=0, axis2=2), -1, 0)
