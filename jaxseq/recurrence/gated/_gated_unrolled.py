"""Chunks of a gated recurrence for GPUs, with few kernel launches.

A step is two kernels, a product and the pointwise functions; an iteration of
the loop has several steps. The backward pass computes the recurrent products of
all steps in one.
"""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.gated import _gated_products
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _resets

# Steps per iteration of the loop, which costs three kernels more than its
# steps.
_STEPS = 16


def run(cell, form, params, state, x, reset):
  """The hidden states of one chunk, and the state after it."""
  products = _products(params, x, form.operands)

  def body(state, element):
    products, forget = element
    recurrent = _gated_products.recurrent(params, state[0])
    new, _ = cell.forward(_inputs(params, products), recurrent, state)
    return _forget(forget, new), new[0].astype(form.hidden)

  state, before_next = _first(reset, state)
  final, hidden = lax.scan(body, state, (products, before_next), unroll=_STEPS)
  return hidden, final


def pull(cell, form, params, state, x, reset, d_hidden, hidden, d_state):
  """Cotangents of a chunk's earlier state, its x and the weights."""
  # `hidden` is the result of `run`, if it is the complete state, or None.
  products = _products(params, x, form.operands)
  heads, features, gates, _ = params.kernel.shape
  kernel = params.kernel.reshape(heads, features, -1)
  product = _gated_products.product

  if hidden is None:
    before = _before(cell, params, state, products, reset)
  else:
    before = jnp.concatenate([state[0][None], hidden[:-1]])
    if reset is not None:
      fresh = jnp.zeros_like(before)
      before = _resets.select(reset[:, None], fresh, before)
  hidden = before[..., :features].astype(kernel.dtype)
  recurrent = _at_once(hidden, kernel)

  def body(d_state, element):
    d_hidden, before, products, recurrent, reset = element
    state = tuple(jnp.split(before, len(d_state), -1))
    recurrent = _gated_products.gates_of(params, recurrent)
    _, saved = cell.forward(_inputs(params, products), recurrent, state)
    d_state = (d_state[0] + d_hidden, *d_state[1:])
    d_inputs, d_recurrent, d_state = cell.backward(saved, state, d_state)
    d_product = jnp.concatenate(d_recurrent, -1).astype(kernel.dtype)
    through = product("hbo,hio->hbi", d_product, kernel)
    d_state = _forget(reset, (d_state[0] + through, *d_state[1:]))
    # Gates without a product in between have one cotangent for both sides.
    if [*map(id, d_inputs)] == [*map(id, d_recurrent)]:
      return d_state, (d_product, None)
    d_inputs = jnp.concatenate(d_inputs, -1).astype(kernel.dtype)
    return d_state, (d_product, d_inputs)

  elements = d_hidden, before, products, recurrent, reset
  d_state, (d_recurrent, d_inputs) = lax.scan(
    body, d_state, elements, reverse=True, unroll=_STEPS
  )
  d_inputs = d_recurrent if d_inputs is None else d_inputs
  _, pull = jax.vjp(
    lambda *arguments: _with_bias(*arguments, form.operands), params, x
  )
  sums = jnp.promote_types(kernel.dtype, jnp.float32)
  d_params, d_x = pull(_from_heads(d_inputs, features).astype(sums))
  d_kernel = product("thbi,thbo->hio", hidden, d_recurrent)
  d_params = d_params._replace(kernel=d_kernel.reshape(params.kernel.shape))
  if params.bias is not None:
    d_bias = d_recurrent.sum((0, 2), sums).reshape(heads, gates, features)
    d_bias = jnp.moveaxis(d_bias, 0, 1).reshape(params.bias.shape)
    d_params = d_params._replace(bias=d_bias)
  return d_state, d_x, d_params


def _before(cell, params, state, products, reset):
  """Returns the states before the steps, from the state before the chunk."""

  def body(state, element):
    products, forget = element
    recurrent = _gated_products.recurrent(params, state[0])
    new, _ = cell.forward(_inputs(params, products), recurrent, state)
    return _forget(forget, new), jnp.concatenate(state, -1)

  first, before_next = _first(reset, state)
  elements = products, before_next
  return lax.scan(body, first, elements, unroll=_STEPS)[1]


def _at_once(hidden, kernel):
  """Products R h of all steps, (time, heads, batch, gates * features)."""
  time, heads, batch, features = hidden.shape
  # Heads first and one axis of rows: the layout that compilers prefer.
  rows = jnp.moveaxis(hidden, 1, 0).reshape(heads, time * batch, features)
  products = _gated_products.product("hni,hio->hno", rows, kernel)
  return jnp.moveaxis(products.reshape(heads, time, batch, -1), 0, 1)


def _products(params, x, operands):
  """Projections (time, batch, input gates * width) without the bias."""
  if params.input_kernel is None:
    return x
  inputs = params.input_kernel.shape[0]
  kernel = params.input_kernel.reshape(inputs, -1)
  flat = x.reshape(-1, inputs).astype(operands)
  products = _contractions.dense(flat, kernel, wide=True)
  return products.reshape(*x.shape[:-1], -1)


def _with_bias(params, x, operands):
  return _products(params, x, operands) + params.input_bias.reshape(-1)


def _inputs(params, products):
  """Inputs of the cell, from the products of one step."""
  return _gated_products.with_bias(products, params)


def _from_heads(d_inputs, features):
  """Moves heads as in products: (time, heads, batch, gates * features)."""
  time, heads, batch, width = d_inputs.shape
  if heads > 1:
    split = d_inputs.reshape(time, heads, batch, -1, features)
    d_inputs = jnp.moveaxis(split, 1, 3)
  return d_inputs.reshape(time, batch, heads * width)


def _first(reset, state):
  """The state before the first step, and the reset flags after each step."""
  if reset is None:
    return state, None
  after = jnp.concatenate([reset[1:], jnp.zeros_like(reset[:1])])
  return _forget(reset[0], state), after


def _forget(reset, state):
  """Replaces the state by zeros if there is a reset."""
  if reset is None:
    return state
  fresh = tuple(jnp.zeros_like(leaf) for leaf in state)
  return _resets.select(reset[None], fresh, state)
