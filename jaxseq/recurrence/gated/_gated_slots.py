"""Sizes and layouts that kernels of gated recurrences are called with."""

import functools

import jax
import jax.numpy as jnp

from jaxseq.recurrence.gated import _gated_chunk
from jaxseq.recurrence.platform import support


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


@functools.cache
def of(cell, inputs: int, gates: int, states: int) -> tuple[int, ...]:
  """Which of a cell's distinct sums each input and product belongs to.

  Where a cell adds a product to an input, both have one cotangent, and are in
  one slot.

  Args:
    cell: `gated.GatedCell`.
    inputs: gates of the inputs.
    gates: gates of the state.
    states: leaves of the state.

  Returns:
    Slots of the inputs and then of the products, counted from 0.
  """
  slots = []

  def trace(*arguments):
    _, saved = cell.forward(*arguments)
    state = arguments[2]
    d_inputs, d_recurrent, _ = cell.backward(saved, state, state)
    slots[:], _ = _gated_chunk.shared((*d_inputs, *d_recurrent))

  leaf = jax.ShapeDtypeStruct((1, 1), jnp.float32)
  jax.eval_shape(trace, *((leaf,) * count for count in (inputs, gates, states)))
  return tuple(slots)
