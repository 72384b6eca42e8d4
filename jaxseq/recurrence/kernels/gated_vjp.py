"""Loops over chunks of a gated recurrence by kernels.

The same functions as `run_loop` and `pull_loop` of `_gated_chunk`, whose
derivatives are those of these loops.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence import _gated_chunk
from jaxseq.recurrence.kernels import support

Arrays = _gated_chunk.Arrays


class Weights(NamedTuple):
  """What the loops use of `gated.GatedParams`."""

  kernel: jax.Array
  bias: jax.Array | None


def form(wide: jnp.dtype, operands: jnp.dtype) -> support.Form:
  """The form in which kernels run here.

  Args:
    wide: dtype of states and gates.
    operands: dtype of the operands of products.

  Raises:
    NotImplementedError: if there is none, with the reason.
  """
  found = support.form("gated", wide)
  takes = [jnp.bfloat16] + [jnp.float32] * (found.chip == "tpu")
  if operands not in takes:
    names = " or ".join(jnp.dtype(each).name for each in takes)
    got = f"dtype {operands} on a {found.chip.upper()}"
    raise NotImplementedError(support.sentence("gated", got, names))
  return found


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
  given = _in_blocks(form, weights, state, inputs, reset)
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
  given = _in_blocks(form, weights, state, inputs, reset)
  before, _ = _forward(form, cell, None, given)
  cotangents = _padded(form, (d_hidden, d_state))
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
  weights, state, inputs, flags = given
  interpret = support.interpreter(form)
  loops = _loops(form, weights[0].shape[-1])
  return loops.run(cell, dtype, weights, state, inputs, flags, interpret)


def _backward(form, cell, given, before, d_hidden, d_state):
  """Cotangents of inputs and recurrent products, and of the first state."""
  weights, _, inputs, flags = given
  gates = weights[0].shape[1]
  slots = _slots(cell, len(inputs), gates, len(d_state))
  last = flags, d_hidden, d_state, slots, support.interpreter(form)
  loops = _loops(form, weights[0].shape[-1])
  if form.chip == "tpu":
    return loops.pull(cell, weights, before, inputs, *last)
  recurrent = _recurrent(weights, before[0])
  kernel = weights[0].swapaxes(2, 3)
  return loops.pull(cell, kernel, before, inputs, recurrent, *last)


def _loops(form, features):
  """The module of the loops."""
  if form.chip == "tpu":
    from jaxseq.recurrence.kernels import gated_tpu

    return gated_tpu
  from jaxseq.recurrence.kernels import gated_gpu
  from jaxseq.recurrence.kernels import gated_gpu_cluster

  return gated_gpu if features <= gated_gpu.WIDEST else gated_gpu_cluster


def _multiples(form, features):
  """What the numbers of rows and of features are multiples of."""
  if form.chip == "tpu":
    return 8, 1
  loops = _loops(form, features)
  return loops.ROWS, loops.width(features)


def _recurrent(weights, hidden):
  """R h + b of all steps, one array per gate."""
  kernel, *biases = weights
  time, heads, rows, features = hidden.shape
  # Heads leading and one axis of rows, as compilers want them.
  hidden = jnp.moveaxis(hidden, 1, 0).reshape(heads, time * rows, features)
  gates = []
  for gate in range(kernel.shape[1]):
    product = jnp.einsum(
      "hni,hio->hno",
      hidden.astype(kernel.dtype),
      kernel[:, gate],
      preferred_element_type=jnp.float32,
    )
    for bias in biases:
      product += bias[:, gate, None]
    product = product.reshape(heads, time, rows, features)
    gates.append(jnp.moveaxis(product, 0, 1))
  return tuple(gates)


def _slots(cell, inputs, gates, states):
  """Which of the distinct cotangents is that of each input and product."""
  slots = []

  def trace(*arguments):
    _, saved = cell.forward(*arguments)
    state = arguments[2]
    d_inputs, d_recurrent, _ = cell.backward(saved, state, state)
    slots[:], _ = _gated_chunk.shared((*d_inputs, *d_recurrent))

  leaf = jax.ShapeDtypeStruct((1, 1), jnp.float32)
  jax.eval_shape(trace, *((leaf,) * count for count in (inputs, gates, states)))
  return slots


def _in_blocks(form, weights, state, inputs, reset):
  """In the layouts of the kernels: weights, state, inputs and flags."""
  kernel, bias = weights
  heads, features, gates, _ = kernel.shape
  rows, columns = _multiples(form, features)
  kernel = support.padded(jnp.moveaxis(kernel, 2, 1), 2, columns)
  given = [support.padded(kernel, 3, columns)]
  if bias is not None:
    bias = bias.reshape(gates, heads, features).astype(jnp.float32)
    given.append(support.padded(jnp.moveaxis(bias, 0, 1), 2, columns))
  flags = ()
  if reset is not None:
    flags = (support.padded(reset.astype(jnp.int32), 1, rows),)
  return tuple(given), *_padded(form, (state, inputs)), flags


def _padded(form, tree):
  """With rows and features in the multiples of the kernels."""

  def leaf(x):
    rows, columns = _multiples(form, x.shape[-1])
    x = support.padded(x, x.ndim - 2, rows)
    return support.padded(x, x.ndim - 1, columns)

  return jax.tree.map(leaf, tree)


def _cut(tree, state):
  """Rows and features that are there."""
  _, rows, features = state[0].shape
  return jax.tree.map(lambda leaf: leaf[..., :rows, :features], tree)
