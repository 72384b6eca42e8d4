"""Loops of a gated recurrence for Hopper: weights stay in shared memory.

A block has the recurrent weights of one head in shared memory and the state of
64 rows in registers, and walks along time. Each of its warpgroups owns 32
features of all gates; tensor cores multiply with the hidden state of all of
them, which goes through shared memory, or on the way back with the cotangents
of the gates. The pointwise functions of the cell are traced into the kernel.

Arrays are (time, heads, rows, features), states (heads, rows, features), with
rows in multiples of 64 and features in multiples of 32. Weights are `(kernel,)`
or `(kernel, bias)`: (heads, gates, features, features) in bfloat16 as [head,
gate, in, out], and (heads, gates, features). Flags of resets are `()` or one
(time, rows) array, not 0 at resets.
"""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.recurrence import _gated_chunk
from jaxseq.recurrence import _varying
from jaxseq.recurrence.kernels import gated_gpu_parts as parts
from jaxseq.recurrence.kernels import support

Arrays = _gated_chunk.Arrays

ROWS = parts.ROWS
# Features of a warpgroup, and of a head: with more than two warpgroups a thread
# has fewer registers than it needs.
FEATURES = 32
WIDEST = 64
_BLOCK = ROWS, FEATURES
_buffer = functools.partial(parts.smem, features=FEATURES)


def width(features: int) -> int:
  """Features of a head as the kernels take them."""
  return -(-features // FEATURES) * FEATURES


@support.in_32_bits
def run(
  cell,
  dtype: jnp.dtype | None,
  weights: Arrays,
  state: Arrays,
  inputs: Arrays,
  flags: Arrays,
  interpret,
) -> tuple[Arrays, Arrays]:
  """Runs the loop forward, as `gated_tpu.run` does."""
  shape, gates = inputs[0].shape, weights[0].shape[1]
  keep = dtype is None
  outputs = [jnp.float32] * len(state) if keep else [dtype]
  counts = len(weights), len(state), len(inputs), len(flags), len(outputs)

  def gated_forward(*refs):
    *groups, final, scratch = parts.split(refs, *counts, len(state))
    weight_refs, state_refs, input_refs, flag_refs, output_refs = groups
    kernel, hidden, loaded, shared = scratch
    here = _here()
    _fetch(weight_refs[0], kernel, loaded)

    def products(slot, *sums):
      for gate, leaf in enumerate(sums):
        plgpu.wgmma(leaf, hidden.at[slot], kernel.at[gate, :, here.columns])
      sums = tuple(leaf[...] for leaf in sums)
      for bias in weight_refs[1:]:
        sums = (
          x + here.bias(bias.at[here.head, gate]) for gate, x in enumerate(sums)
        )
      return tuple(sums)

    def step(t, state):
      given = here.read(input_refs, t)
      state = parts.forget(here.flag(flag_refs, t), state)
      # While some read one half, others may be a step ahead and write.
      slot = lax.rem(t, 2)
      hidden[slot, :, here.columns] = state[0].astype(jnp.bfloat16)
      plgpu.commit_smem()
      parts.meet(shared)
      recurrent = pl.run_scoped(
        functools.partial(products, slot),
        *[plgpu.ACC(_BLOCK, jnp.float32)] * gates,
      )
      new, _ = cell.forward(given, recurrent, state)
      here.write(output_refs, state if keep else new, t)
      return jax.tree.map(parts.in_layout, new)

    first = parts.as_computed(here.read(state_refs))
    here.write(final, lax.fori_loop(0, shape[0], step, first))

  result = functools.partial(support.varying, inputs[0])
  out = [result(shape, leaf) for leaf in outputs]
  out += [result(shape[1:], jnp.float32)] * len(state)
  width = shape[-1]
  scratch = _buffer(gates, width, width), _buffer(2, ROWS, width)
  call = _kernel(gated_forward, out, scratch, shape, gates, interpret)
  results = call(*weights, *state, *inputs, *flags)
  results = [_varying.vary_as(inputs[0], leaf) for leaf in results]
  return tuple(results[: len(outputs)]), tuple(results[len(outputs) :])


@support.in_32_bits
def pull(
  cell,
  kernel: jax.Array,
  before: Arrays,
  inputs: Arrays,
  recurrent: Arrays,
  flags: Arrays,
  d_hidden: jax.Array,
  d_state: Arrays,
  slots: list[int],
  interpret,
) -> tuple[Arrays, Arrays]:
  """Runs the loop backward.

  Args:
    cell: `gated.GatedCell`.
    kernel: (heads, gates, out, in) bfloat16.
    before: the states before all steps, float32.
    inputs: float32, one array for each gate.
    recurrent: the products with the hidden states, with their bias, float32.
    flags: of resets.
    d_hidden: cotangent of the hidden states.
    d_state: cotangent of the last state, float32.
    slots: which of the distinct cotangents is that of each input and product.
    interpret: of `plgpu.kernel`.

  Returns:
    As `gated_tpu.pull`.
  """
  shape, gates = inputs[0].shape, kernel.shape[1]
  time, outputs = shape[0], max(slots) + 1
  counts = 1, len(before), len(inputs), gates, len(flags), 1, len(d_state)
  counts = *counts, outputs

  def gated_backward(*refs):
    *groups, d_first, scratch = parts.split(refs, *counts, len(d_state))
    (kernel_ref,), before_refs, input_refs, recurrent_refs = groups[:4]
    flag_refs, (d_hidden_ref,), d_final_refs, output_refs = groups[4:]
    weights, d_products, loaded, written, read = scratch
    here = _here()
    _fetch(kernel_ref, weights, loaded)

    def through(total):
      def one_gate(gate, _):
        right = weights.at[gate, :, here.columns]
        plgpu.wgmma(total, d_products.at[gate], right)

      # Unrolled, what addresses the weights takes half the registers.
      lax.fori_loop(0, gates, one_gate, None)
      return total[...]

    def step(number, d_new):
      t = time - 1 - number
      state = here.read(before_refs, t)
      given = here.read(input_refs, t), here.read(recurrent_refs, t), state
      (d_hidden,) = here.read([d_hidden_ref], t)
      _, saved = cell.forward(*given)
      d_new = d_new[0] + d_hidden.astype(jnp.float32), *d_new[1:]
      d_inputs, d_recurrent, d_state = cell.backward(saved, state, d_new)
      for gate, value in enumerate(d_recurrent):
        d_products[gate, :, here.columns] = value.astype(jnp.bfloat16)
      _, distinct = _gated_chunk.shared((*d_inputs, *d_recurrent))
      here.write(output_refs, distinct, t)
      plgpu.commit_smem()
      parts.meet(written)
      flag = here.flag(flag_refs, t)
      total = pl.run_scoped(through, plgpu.ACC(_BLOCK, jnp.float32))
      parts.meet(read)
      d_state = parts.forget(flag, (d_state[0] + total, *d_state[1:]))
      return jax.tree.map(parts.in_layout, d_state)

    last = parts.as_computed(here.read(d_final_refs))
    here.write(d_first, lax.fori_loop(0, time, step, last))

  result = functools.partial(support.varying, inputs[0])
  out = [result(shape, kernel.dtype)] * outputs
  out += [result(shape[1:], jnp.float32)] * len(d_state)
  width = shape[-1]
  scratch = _buffer(gates, width, width), _buffer(gates, ROWS, width)
  call = _kernel(
    gated_backward, out, scratch, shape, gates, interpret, barriers=2
  )
  given = (*before, *inputs, *recurrent, *flags, d_hidden, *d_state)
  results = call(kernel, *given)
  results = [_varying.vary_as(inputs[0], leaf) for leaf in results]
  d_gates = tuple(results[slot] for slot in slots)
  return d_gates, tuple(results[outputs:])


def _here():
  """What this warpgroup works on."""
  rows = pl.ds(lax.axis_index("block") * ROWS, ROWS)
  columns = pl.ds(lax.axis_index("group") * FEATURES, FEATURES)
  return parts.Place(lax.axis_index("head"), rows, columns)


def _kernel(body, out, scratch, shape, gates, interpret, barriers=1):
  _, heads, rows, features = shape
  groups = features // FEATURES
  return plgpu.kernel(
    body,
    out_type=tuple(out),
    scratch_types=(
      *scratch,
      plgpu.Barrier(num_arrivals=gates),
      *(plgpu.Barrier(num_arrivals=groups) for _ in range(barriers)),
    ),
    grid=(heads, rows // ROWS),
    grid_names=("head", "block"),
    num_threads=groups,
    thread_name="group",
    interpret=interpret,
  )


def _fetch(kernel, to, loaded):
  """Brings the weights of a head to shared memory."""

  @pl.when(lax.axis_index("group") == 0)
  def _():
    for gate in range(kernel.shape[1]):
      place = kernel.at[lax.axis_index("head"), gate]
      plgpu.copy_gmem_to_smem(place, to.at[gate], loaded)

  plgpu.barrier_wait(loaded)
