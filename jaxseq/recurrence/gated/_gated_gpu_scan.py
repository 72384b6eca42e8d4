"""A gated recurrence on Hopper: products of all steps around its loops.

The way back runs nothing again: one product of hidden states, inputs and ones
with all weights and biases gives the distinct sums of every step.
"""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.recurrence.gated import _gated_chunk
from jaxseq.recurrence.gated import _gated_gpu_weights
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _varying

Arrays = _gated_chunk.Arrays


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def scan(
  cell, form: _gated_chunk.Form, params, state: Arrays, x: jax.Array, reset
) -> tuple[jax.Array, Arrays]:
  """`_gated_chunk.scan` by kernels, with operands of products in bfloat16."""
  hidden, _, final = _run(cell, form, False, params, state, x, reset)
  return _returned(hidden, final, state)


def _scan_forward(cell, form, params, state, x, reset):
  hidden, more, final = _run_and_keep(cell, form, params, state, x, reset)
  residuals = params, state, x, reset, (hidden, *more)
  return _returned(hidden, final, state), residuals


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run_and_keep(cell, form, params, state, x, reset):
  """`_run`, and what is kept of it."""
  return _run(cell, form, True, params, state, x, reset)


def _run_and_keep_forward(cell, form, *arguments):
  return _run_and_keep(cell, form, *arguments), arguments


def _run_and_keep_backward(cell, form, arguments, cotangents):
  """Cotangents without kernels; `_pull` sends none to what is kept."""
  params, state, x, reset = arguments
  d_hidden, _, d_final = cotangents
  run = _without_kernels(cell, form, reset)
  _, pull = jax.vjp(run, params, state, x)
  return *pull(_returned(d_hidden, d_final, state)), None


_run_and_keep.defvjp(_run_and_keep_forward, _run_and_keep_backward)


def _without_kernels(cell, form, reset):
  """`scan` of the other arguments by loops in chunks."""
  plain = form._replace(kernel=None)
  run = functools.partial(_gated_chunk.scan, cell, plain)
  return lambda params, state, x: run(params, state, x, reset)


def _scan_backward(cell, form, residuals, cotangents):
  return *_pull(cell, form, *residuals, *cotangents), None


scan.defvjp(_scan_forward, _scan_backward)


def _returned(hidden, final, state):
  """Hidden states and the last state as `scan` returns them."""
  return _to_heads(hidden, state), tuple(_to_heads(x, state) for x in final)


def _run(cell, form, keep, params, state, x, reset):
  """Hidden states, the others before the steps if kept, and the last state."""
  sizes = _gated_gpu_weights.Sizes.of(cell, params, state)
  weights = _gated_gpu_weights.aligned(sizes, params)
  interpret, loops = support.interpreter(form.kernel), sizes.loops
  run = functools.partial(loops.run, cell, sizes.slots, keep)

  def chunk(state, element):
    x, flags = element
    products = _gated_gpu_weights.projected(weights, x)
    hidden, more, state = run(
      *(weights.kernel, _gated_gpu_weights.biases(sizes, weights)),
      *(state, products, flags, interpret),
    )
    return state, (hidden, more)

  elements = _inputs(sizes, params, x), _flags(sizes, reset)
  first = tuple(_from_heads(sizes, leaf) for leaf in state)
  final, (hidden, more) = _over_chunks(chunk, form.chunk, first, elements)
  return hidden, more, final


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _pull(cell, form, params, state, x, reset, more, d_hidden, d_final):
  """Cotangents of weights, first state and inputs."""
  sizes = _gated_gpu_weights.Sizes.of(cell, params, state)
  weights = _gated_gpu_weights.aligned(sizes, params)
  stacked = _gated_gpu_weights.stacked(sizes, weights)
  interpret, loops = support.interpreter(form.kernel), sizes.loops
  pull = functools.partial(loops.pull, cell, sizes.slots, weights.kernel)

  def chunk(carry, element):
    d_state, d_stacked = carry
    x, flags, before, more, d_hidden = element
    operand = _gated_gpu_weights.beside(weights, before, x)
    sums = _gated_gpu_weights.sums(sizes, weights, stacked, operand, x)
    d_sums, d_state = pull(
      operand, more, sums, flags, d_hidden, d_state, interpret
    )
    d_stacked += _gated_gpu_weights.outer_sum(operand, d_sums)
    d_x = _gated_gpu_weights.to_inputs(sizes, weights, stacked, d_sums, x.dtype)
    return (d_state, d_stacked), d_x

  hidden, *more = more
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
  d_params = _gated_gpu_weights.unstacked(sizes, params, d_stacked)
  if params.input_kernel is None:
    split = d_x.reshape(*d_x.shape[:2], sizes.inputs, sizes.width)
    d_x = sizes.cut(split).reshape(*d_x.shape[:2], -1)
  d_x = d_x[:, : x.shape[1]]
  return d_params, tuple(_to_heads(leaf, state) for leaf in d_state), d_x


def _pull_forward(cell, form, params, state, x, reset, more, *cotangents):
  pulled = _pull(cell, form, params, state, x, reset, more, *cotangents)
  return pulled, (params, state, x, reset, more, cotangents)


def _pull_backward(cell, form, residuals, again):
  """Cotangents of the gradient without kernels, which nothing kept enters."""
  params, state, x, reset, residual_states, cotangents = residuals
  run = _without_kernels(cell, form, reset)

  def pulled(params, state, x, *cotangents):
    _, pull = jax.vjp(run, params, state, x)
    return pull(cotangents)

  _, pull = jax.vjp(pulled, params, state, x, *cotangents)
  d_params, d_state, d_x, *d_cotangents = pull(again)
  nothing = jax.tree.map(jnp.zeros_like, residual_states)
  return d_params, d_state, d_x, None, nothing, *d_cotangents


_pull.defvjp(_pull_forward, _pull_backward)


def _inputs(sizes, params, x):
  """Inputs with the rows of blocks; projected ones with their features, too."""
  if params.input_kernel is None:
    split = x.reshape(*x.shape[:2], sizes.inputs, -1)
    x = sizes.padded(split).reshape(*x.shape[:2], -1)
  return support.padded(x, 1, sizes.loops.ROWS)


def _flags(sizes, reset):
  """Flags as the kernels take them."""
  if reset is None:
    return ()
  return (support.padded(reset.astype(jnp.int32), 1, sizes.loops.ROWS),)


def _from_heads(sizes, leaf):
  """Array (..., rows, width) of blocks, of (..., heads, batch, features)."""
  leaf = jnp.moveaxis(leaf, -3, -2)
  leaf = sizes.padded(leaf.reshape(*leaf.shape[:-2], -1))
  return support.padded(leaf, leaf.ndim - 2, sizes.loops.ROWS)


def _to_heads(leaf, state):
  """The other way, with the axes of the state."""
  heads, batch, features = state[0].shape
  leaf = leaf[..., :batch, :].reshape(*leaf.shape[:-2], batch, heads, -1)
  return jnp.moveaxis(leaf[..., :features], -2, -3)


def _before(sizes, first, hidden, reset):
  """The hidden states before the steps."""
  first = _from_heads(sizes, first).astype(hidden.dtype)
  before = jnp.concatenate([first[None], hidden[:-1]])
  if reset is not None:
    reset = support.padded(reset, 1, sizes.loops.ROWS)
    before = _resets.forget(reset, before)
  return before


def _over_chunks(
  body: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
  size: int,
  carry: PyTree,
  elements: PyTree,
  reverse: bool = False,
) -> tuple[PyTree, PyTree]:
  """Maps chunks of time, of which the first may be shorter, with a carry."""
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
