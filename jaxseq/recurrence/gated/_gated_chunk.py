"""Chunks of a gated recurrence: products, the loop over time, its reverse.

Arrays inside are (time, heads, batch, features); sums and states float32 or
wider.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.gated import _gated_products
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _resets

Arrays = _gated_products.Arrays


class Form(NamedTuple):
  """Static options of a scan."""

  chunk: int  # steps in a chunk of time
  operands: jnp.dtype  # dtype of the operands of products
  hidden: jnp.dtype  # dtype of the hidden states that are returned
  unrolled: bool = False  # whether loops are those of `_gated_unrolled`
  # form of the kernels; None without kernels
  kernel: support.Form | None = None


def _zeros_like(tree, dtype=None):
  return jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype), tree)


def _in_operands(params, operands):
  """Casts the kernel of the loop to the dtype of the operands, once."""
  return params._replace(kernel=params.kernel.astype(operands))


def run_loop(cell, dtype, weights, state, inputs, reset):
  """Runs the loop over one chunk."""

  def body(state, element):
    _, new, _ = _loop_step(cell, weights, state, *element)
    return new, new[0].astype(dtype)

  final, hidden = lax.scan(body, state, (inputs, reset))
  return hidden, final


def _loop_step(cell, weights, state, inputs, reset):
  """The states before and after a step, and the residuals of its derivative."""
  if reset is not None:
    state = _resets.select(reset[None], _zeros_like(state), state)
  new, saved = cell.forward(
    inputs, _gated_products.recurrent(weights, state[0]), state
  )
  return state, new, saved


def pull_loop(cell, weights, state, inputs, reset, d_hidden, d_state):
  """Cotangents of a chunk whose loop is run again, and hidden states before."""
  # Returns the cotangent of the state before the chunk; then the hidden states
  # before the steps, and the cotangents of the inputs and of the recurrent
  # products, one for each gate. The latter two are in the dtype of the operands
  # of products, as only products use them.

  def forward(state, element):
    before, new, saved = _loop_step(cell, weights, state, *element)
    return new, (before, saved)

  _, (before, saved) = lax.scan(forward, state, (inputs, reset))
  heads, features, gates, _ = weights.kernel.shape
  kernel = weights.kernel.reshape(heads, features, -1)
  slots = []  # Where each cotangent is stored; filled when `body` is traced.

  def body(d_state, element):
    d_hidden_t, before_t, saved_t, reset_t = element
    d_state = (d_state[0] + d_hidden_t, *d_state[1:])
    d_inputs, d_recurrent, d_state = cell.backward(saved_t, before_t, d_state)
    d_product = jnp.concatenate(d_recurrent, -1).astype(kernel.dtype)
    through = _gated_products.product("hbo,hio->hbi", d_product, kernel)
    d_state = (d_state[0] + through, *d_state[1:])
    if reset_t is not None:
      d_state = _resets.select(reset_t[None], _zeros_like(d_state), d_state)
    slots[:], distinct = shared((*d_inputs, *d_recurrent))
    return d_state, tuple(leaf.astype(kernel.dtype) for leaf in distinct)

  d_state, stacked = lax.scan(
    body, d_state, (d_hidden, before, saved, reset), reverse=True
  )
  d_gates = tuple(stacked[slot] for slot in slots)
  hidden = before[0].astype(kernel.dtype)
  return d_state, hidden, d_gates[:-gates], d_gates[-gates:]


def shared(leaves: Arrays) -> tuple[list[int], Arrays]:
  """Place of each array among the distinct ones, and the distinct ones."""
  distinct = {id(leaf): leaf for leaf in leaves}
  order = list(distinct)
  return [order.index(id(leaf)) for leaf in leaves], tuple(distinct.values())


def _run_chunk(cell, form, params, state, x, reset):
  """Returns the hidden states of one chunk, and the state after it."""
  if form.unrolled:
    from jaxseq.recurrence.gated import _gated_unrolled

    return _gated_unrolled.run(cell, form, params, state, x, reset)
  inputs = _gated_products.project(params, x, form.operands)
  arguments = cell, form.hidden, params, state, inputs, reset
  return run_loop(*arguments)


def step(cell, operands, params, state, x, reset) -> Arrays:
  """Runs one step, without a loop."""
  if reset is not None:
    state = _resets.select(reset[None], _zeros_like(state), state)
  inputs, gates, width = params.input_kernel.shape
  # One product, no copies of parts of the kernel: this may be inside a loop.
  kernel = params.input_kernel.reshape(inputs, gates * width)
  products = _contractions.dense(x.astype(operands), kernel, wide=True)
  projected = _gated_products.with_bias(products, params)
  sums = _gated_products.recurrent(_in_operands(params, operands), state[0])
  return cell.forward(projected, sums, state)[0]


def _pull_chunk(cell, form, params, state, x, reset, d_hidden, hidden, d_state):
  """Cotangents of one chunk: of the state before it, its x and the weights."""
  if form.unrolled:
    from jaxseq.recurrence.gated import _gated_unrolled

    return _gated_unrolled.pull(
      cell, form, params, state, x, reset, d_hidden, hidden, d_state
    )
  inputs, pull = jax.vjp(
    lambda *args: _gated_products.project(*args, form.operands), params, x
  )
  arguments = cell, params, state, inputs, reset, d_hidden, d_state
  d_state, hidden, d_inputs, d_recurrent = pull_loop(*arguments)
  sums = _gated_products.sums(form.operands)
  d_params, d_x = pull(tuple(leaf.astype(sums) for leaf in d_inputs))
  # The gradient of the kernel: one product per gate, not one per step.
  d_kernel = jnp.stack([_outer_sum(hidden, leaf) for leaf in d_recurrent], 2)
  d_params = d_params._replace(kernel=d_kernel)
  if params.bias is not None:
    d_bias = [leaf.sum((0, 2), sums).reshape(-1) for leaf in d_recurrent]
    d_params = d_params._replace(bias=jnp.stack(d_bias))
  return d_state, d_x, d_params


def _outer_sum(left: jax.Array, right: jax.Array) -> jax.Array:
  """Sums over t, b of left[t,h,b,i] right[t,h,b,j]: (heads, i, j)."""
  if left.shape[1] == 1:
    # With two summed axes the compiler would transpose first: merge them.
    left, right = (leaf.reshape(-1, leaf.shape[-1]) for leaf in (left, right))
    return _gated_products.product("ti,tj->ij", left, right)[None]
  return _gated_products.product("thbi,thbj->hij", left, right)


def _split_time(tree, first: int, chunk: int):
  """Splits time into `first` steps and a leading axis of whole chunks."""
  head = jax.tree.map(lambda leaf: leaf[:first], tree)
  rest = jax.tree.map(
    lambda leaf: leaf[first:].reshape(-1, chunk, *leaf.shape[1:]), tree
  )
  return head, rest


def _run(cell, form, params, state, x, reset):
  """Returns hidden states, the last state and the states before the chunks."""
  params = _in_operands(params, form.operands)
  first = x.shape[0] % form.chunk
  head, rest = _split_time((x, reset), first, form.chunk)
  parts, bounds = [], [state, None]
  if first:
    hidden, state = _run_chunk(cell, form, params, state, *head)
    parts.append(hidden)
  if first < x.shape[0]:

    def body(state, element):
      hidden, new = _run_chunk(cell, form, params, state, *element)
      return new, (hidden, state)

    state, (hidden, bounds[1]) = lax.scan(body, state, rest)
    parts.append(hidden.reshape(-1, *hidden.shape[2:]))
  hidden = jnp.concatenate(parts) if len(parts) > 1 else parts[0]
  return hidden, state, tuple(bounds)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def scan(cell, form: Form, params, state, x, reset) -> tuple[jax.Array, Arrays]:
  """`gated.gated_scan` of checked arguments, the state float32 or wider."""
  hidden, final, _ = _run(cell, form, params, state, x, reset)
  return hidden, final


def _scan_forward(cell, form, params, state, x, reset):
  hidden, final, bounds = _run(cell, form, params, state, x, reset)
  # If the hidden states are the complete states, the backward pass needs no
  # loop to recompute them.
  whole = len(state) == 1 and state[0].dtype == form.hidden
  above = hidden if form.unrolled and whole else None
  return (hidden, final), (params, x, reset, bounds, above)


def _scan_backward(cell, form, residuals, cotangents):
  """Goes back chunk by chunk, recomputing inside each from its first state."""
  wide, x, reset, (first_state, states), above = residuals
  d_hidden, d_state = cotangents
  params = _in_operands(wide, form.operands)
  first = x.shape[0] % form.chunk
  head, rest = _split_time((x, reset, d_hidden, above), first, form.chunk)
  # Sums over chunks, in float32 or wider even for narrow weights.
  d_params, parts = _zeros_like(wide, _gated_products.sums(form.operands)), []
  if first < x.shape[0]:

    def body(carry, element):
      d_state, d_params = carry
      state, inputs = element
      d_state, d_x, update = _pull_chunk(
        cell, form, params, state, *inputs, d_state
      )
      return (d_state, jax.tree.map(jnp.add, d_params, update)), d_x

    (d_state, d_params), d_x = lax.scan(
      body, (d_state, d_params), (states, rest), reverse=True
    )
    parts.append(d_x.reshape(-1, *d_x.shape[2:]))
  if first:
    pulled = _pull_chunk(cell, form, params, first_state, *head, d_state)
    d_state, d_x, update = pulled
    d_params = jax.tree.map(jnp.add, d_params, update)
    parts.insert(0, d_x)
  d_x = jnp.concatenate(parts) if len(parts) > 1 else parts[0]
  d_params = jax.tree.map(lambda d, w: d.astype(w.dtype), d_params, wide)
  return d_params, d_state, d_x, None


scan.defvjp(_scan_forward, _scan_backward)
