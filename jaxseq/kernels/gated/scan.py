"""A gated recurrence on Hopper: products of all steps outside of its loops.

The backward pass repeats no loop: one product of hidden states, inputs and ones
with all weights and biases computes the distinct sums of every step.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _kept_vjp
from jaxseq.kernels.gated import _gpu_weights
from jaxseq.recurrence.gated import _gated_chunk
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _varying
from jaxseq.types import PyTree

Arrays = _gated_chunk.Arrays


class _Arrays(NamedTuple):
  """Arguments of `_gated_chunk.scan`."""

  params: Any  # `gated.GatedParams`
  state: Arrays
  x: jax.Array
  reset: jax.Array | None


def scan(
  cell, form: _gated_chunk.Form, params, state: Arrays, x: jax.Array, reset
) -> tuple[jax.Array, Arrays]:
  """Runs `gated_scan` by kernels, with bfloat16 operands of products.

  Args:
    cell: `gated.GatedCell`.
    form: options, including the kernel's form.
    params: `gated.GatedParams`.
    state: tuple of (heads, rows, features) before the first step.
    x: (time, rows, inputs).
    reset: (time, rows) bool, or None.

  Returns:
    Hidden states (time, heads, rows, features), and the last state.

  Raises:
    NotImplementedError: if heads are wider than kernels support.
  """
  return _scan((cell, form), _Arrays(params, state, x, reset))


def _plain(options, arrays):
  """Runs `scan` by loops in chunks."""
  cell, form = options
  return _gated_chunk.scan(cell, form._replace(kernel=None), *arrays)


def _returned(hidden, final, state):
  """Returns hidden states and the last state in the axes of `scan`."""
  return _to_heads(hidden, state), tuple(_to_heads(x, state) for x in final)


def _run(options, arrays, keep):
  """Returns hidden states with the last state, and the residuals."""
  (cell, form), (params, state, x, reset) = options, arrays
  sizes = _gpu_weights.Sizes.of(cell, params, state)
  weights = _gpu_weights.aligned(sizes, params)
  interpret, loops = _calls.interpreter(form.kernel), sizes.loops
  run = functools.partial(loops.run, cell, sizes.slots, keep)

  def chunk(state, element):
    x, flags = element
    products = _gpu_weights.projected(weights, x)
    hidden, more, state = run(
      *(weights.kernel, _gpu_weights.biases(sizes, weights)),
      *(state, products, flags, interpret),
    )
    return state, (hidden, more)

  elements = _inputs(sizes, params, x), _flags(sizes, reset)
  first = tuple(_from_heads(sizes, leaf) for leaf in state)
  final, (hidden, more) = _over_chunks(chunk, form.chunk, first, elements)
  return _returned(hidden, final, state), (hidden, *more)


def _pull(options, arrays, saved, cotangents):
  """Returns cotangents of weights, first state and inputs."""
  (cell, form), (params, state, x, reset) = options, arrays
  (d_hidden, d_final), (hidden, *more) = cotangents, saved
  sizes = _gpu_weights.Sizes.of(cell, params, state)
  weights = _gpu_weights.aligned(sizes, params)
  stacked = _gpu_weights.stacked(sizes, weights)
  interpret, loops = _calls.interpreter(form.kernel), sizes.loops
  pull = functools.partial(loops.pull, cell, sizes.slots, weights.kernel)

  def chunk(carry, element):
    d_state, d_stacked = carry
    x, flags, before, more, d_hidden = element
    operand = _gpu_weights.beside(weights, before, x)
    sums = _gpu_weights.sums(sizes, weights, stacked, operand, x)
    d_sums, d_state = pull(
      operand, more, sums, flags, d_hidden, d_state, interpret
    )
    d_stacked += _gpu_weights.outer_sum(operand, d_sums)
    d_x = _gpu_weights.to_inputs(sizes, weights, stacked, d_sums, x.dtype)
    return (d_state, d_stacked), d_x

  elements = (
    _inputs(sizes, params, x),
    _flags(sizes, reset),
    _before(sizes, state[0], hidden, reset),
    tuple(more),
    _from_heads(sizes, d_hidden),
  )
  d_final = tuple(_from_heads(sizes, leaf) for leaf in d_final)
  zeros = jnp.zeros(stacked.shape, jnp.float32)
  carry = d_final, _varying.vary_as(d_final[0], zeros)
  carry, d_x = _over_chunks(chunk, form.chunk, carry, elements, reverse=True)
  d_state, d_stacked = carry
  d_params = _gpu_weights.unstacked(sizes, params, d_stacked)
  if params.input_kernel is None:
    split = d_x.reshape(*d_x.shape[:2], sizes.inputs, sizes.width)
    d_x = sizes.cut(split).reshape(*d_x.shape[:2], -1)
  d_x = d_x[:, : x.shape[1]]
  d_state = tuple(_to_heads(leaf, state) for leaf in d_state)
  return _Arrays(d_params, d_state, d_x, None)


_scan = _kept_vjp.differentiable(_run, _pull, _plain, compiled=False)


def _inputs(sizes, params, x):
  """Pads the rows of inputs; and the features of projected ones."""
  if params.input_kernel is None:
    split = x.reshape(*x.shape[:2], sizes.inputs, -1)
    x = sizes.padded(split).reshape(*x.shape[:2], -1)
  return _calls.padded(x, 1, sizes.loops.ROWS)


def _flags(sizes, reset):
  """Returns the flags in the kernels' format."""
  if reset is None:
    return ()
  return (_calls.padded(reset.astype(jnp.int32), 1, sizes.loops.ROWS),)


def _from_heads(sizes, leaf):
  """Converts (..., heads, batch, features) to padded (..., rows, width)."""
  leaf = jnp.moveaxis(leaf, -3, -2)
  leaf = sizes.padded(leaf.reshape(*leaf.shape[:-2], -1))
  return _calls.padded(leaf, leaf.ndim - 2, sizes.loops.ROWS)


def _to_heads(leaf, state):
  """Undoes `_from_heads`, with the axes of the state."""
  heads, batch, features = state[0].shape
  leaf = leaf[..., :batch, :].reshape(*leaf.shape[:-2], batch, heads, -1)
  return jnp.moveaxis(leaf[..., :features], -2, -3)


def _before(sizes, first, hidden, reset):
  """Returns the hidden states before each step."""
  first = _from_heads(sizes, first).astype(hidden.dtype)
  before = jnp.concatenate([first[None], hidden[:-1]])
  if reset is not None:
    reset = _calls.padded(reset, 1, sizes.loops.ROWS)
    before = _resets.forget(reset, before)
  return before


def _over_chunks(
  body: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
  size: int,
  carry: PyTree,
  elements: PyTree,
  reverse: bool = False,
) -> tuple[PyTree, PyTree]:
  """Maps chunks of time with a carry; the first chunk may be shorter."""
  time = jax.tree.leaves(elements)[0].shape[0]
  first = time % size
  whole = time - first
  parts = {}

  def begin(carry):
    if first:
      head = jax.tree.map(lambda leaf: leaf[:first], elements)
      carry, parts["first"] = body(carry, head)
    return carry

  def go_on(carry):
    rest = jax.tree.map(lambda leaf: leaf[first:], elements)
    if whole == size:
      carry, parts["rest"] = body(carry, rest)
    elif whole:
      chunks = jax.tree.map(
        lambda leaf: leaf.reshape(-1, size, *leaf.shape[1:]), rest
      )
      carry, results = lax.scan(body, carry, chunks, reverse=reverse)
      parts["rest"] = jax.tree.map(
        lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), results
      )
    return carry

  for turn in (go_on, begin) if reverse else (begin, go_on):
    carry = turn(carry)
  results = [parts[name] for name in ("first", "rest") if name in parts]
  if len(results) == 1:
    return carry, results[0]
  return carry, jax.tree.map(lambda *each: jnp.concatenate(each), *results)
