"""Loops over chunks of a gated recurrence by the kernels of TPUs.

The same functions as `run_loop` and `pull_loop` of `_gated_chunk`, whose
derivatives are those of these loops.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.gated import _gated_chunk
from jaxseq.recurrence.gated import _gated_slots
from jaxseq.recurrence.gated import _gated_tpu
from jaxseq.recurrence.platform import support

Arrays = _gated_chunk.Arrays

# What the number of rows is a multiple of.
_ROWS = 8


class Weights(NamedTuple):
  """What the loops use of `gated.GatedParams`."""

  kernel: jax.Array
  bias: jax.Array | None


def run(
  form: support.Form, cell, dtype: jnp.dtype, weights, state, inputs, reset
) -> tuple[jax.Array, Arrays]:
  """`_gated_chunk.run_loop` by a kernel, of float32 states and inputs."""
  weights = Weights(weights.kernel, weights.bias)
  return _run(form, cell, dtype, weights, state, inputs, reset)


def pull(
  form: support.Form, cell, weights, state, inputs, reset, d_hidden, d_state
) -> tuple[Arrays, jax.Array, Arrays, Arrays]:
  """`_gated_chunk.pull_loop` by kernels, of float32 states and inputs."""
  weights = Weights(weights.kernel, weights.bias)
  return _pull(form, cell, weights, state, inputs, reset, d_hidden, d_state)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(form, cell, dtype, weights, state, inputs, reset):
  given = _in_blocks(weights, state, inputs, reset)
  (hidden,), final = _forward(form, cell, dtype, given)
  return _cut((hidden, final), state)


def _run_forward(form, cell, dtype, *arguments):
  return _run(form, cell, dtype, *arguments), arguments


def _run_backward(form, cell, dtype, arguments, cotangents):
  del form
  *floats, reset = arguments
  loop = functools.partial(_gated_chunk.run_loop, cell, dtype)
  _, pull = jax.vjp(lambda *floats: loop(*floats, reset), *floats)
  return *pull(cotangents), None


_run.defvjp(_run_forward, _run_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
@functools.partial(jax.jit, static_argnums=(0, 1))
def _pull(form, cell, weights, state, inputs, reset, d_hidden, d_state):
  given = _in_blocks(weights, state, inputs, reset)
  before, _ = _forward(form, cell, None, given)
  cotangents = _padded((d_hidden, d_state))
  d_gates, d_state = _cut(
    _backward(form, cell, given, before, *cotangents), state
  )
  (hidden,) = _cut(before[:1], state)
  hidden = hidden.astype(weights.kernel.dtype)
  return d_state, hidden, d_gates[: len(inputs)], d_gates[len(inputs) :]


def _pull_forward(form, cell, *arguments):
  return _pull(form, cell, *arguments), arguments


def _pull_backward(form, cell, arguments, cotangents):
  del form
  *floats, reset, d_hidden, d_state = arguments

  def loop(weights, state, inputs, d_hidden, d_state):
    return _gated_chunk.pull_loop(
      cell, weights, state, inputs, reset, d_hidden, d_state
    )

  _, pull = jax.vjp(loop, *floats, d_hidden, d_state)
  *d_floats, d_d_hidden, d_d_state = pull(cotangents)
  return *d_floats, None, d_d_hidden, d_d_state


_pull.defvjp(_pull_forward, _pull_backward)


def _forward(form, cell, dtype, given):
  """Hidden states, or if `dtype` is None all before the steps; the last."""
  interpret = support.interpreter(form)
  return _gated_tpu.run(cell, dtype, *given, interpret)


def _backward(form, cell, given, before, d_hidden, d_state):
  """Cotangents of inputs and recurrent products, and of the first state."""
  weights, _, inputs, flags = given
  slots = _gated_slots.of(cell, len(inputs), weights[0].shape[1], len(d_state))
  last = flags, d_hidden, d_state, slots, support.interpreter(form)
  return _gated_tpu.pull(cell, weights, before, inputs, *last)


def _in_blocks(weights, state, inputs, reset):
  """In the layouts of the kernels: weights, state, inputs and flags."""
  kernel, bias = weights
  heads, features, gates, _ = kernel.shape
  given = [jnp.moveaxis(kernel, 2, 1)]
  if bias is not None:
    bias = bias.reshape(gates, heads, features).astype(jnp.float32)
    given.append(jnp.moveaxis(bias, 0, 1))
  flags = ()
  if reset is not None:
    flags = (support.padded(reset.astype(jnp.int32), 1, _ROWS),)
  return tuple(given), *_padded((state, inputs)), flags


def _padded(tree):
  """With rows in the multiples of the kernels."""
  return jax.tree.map(lambda x: support.padded(x, x.ndim - 2, _ROWS), tree)


def _cut(tree, state):
  """Rows that are there."""
  rows = state[0].shape[1]
  return jax.tree.map(lambda leaf: leaf[..., :rows, :], tree)
