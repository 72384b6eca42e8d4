"""Loops of a gated recurrence on Hopper, with weights in shared memory.

A block has the weights of one head and the state of 64 rows; each warpgroup
owns 32 features of all gates. Arrays are (time, rows, gates * width), with the
features of all heads as the width. If a cell adds a product to an input, the
two share one slot: the backward pass needs only their sum.
"""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels.gated import _gpu_parts as parts
from jaxseq.recurrence.gated import _gated_chunk
from jaxseq.recurrence.shared import _varying

Arrays = _gated_chunk.Arrays

ROWS = parts.ROWS
# Features of a warpgroup, and of a head: with more than two warpgroups a thread
# has too few registers.
FEATURES = 32
WIDEST = 64
_BLOCK = ROWS, FEATURES
_buffer = functools.partial(parts.smem, features=FEATURES)


def width(features: int) -> int:
  """Returns the padded number of features per head."""
  return -(-features // FEATURES) * FEATURES


@_calls.in_32_bits
def run(
  cell,
  slots: tuple[int, ...],
  keep: bool,
  kernel: jax.Array,
  bias: jax.Array,
  state: Arrays,
  inputs: jax.Array,
  flags: Arrays,
  interpret,
) -> tuple[jax.Array, Arrays, Arrays]:
  """Runs the loop forward."""
  heads, gates, features, _ = kernel.shape
  time, rows, total = inputs.shape
  shape, count = (time, rows, heads * features), total // (heads * features)
  more = state[1:] if keep else ()
  counts = 2, len(state), 1, len(flags), 1, len(more)

  def gated_forward(*refs):
    *groups, final, scratch = parts.split(refs, *counts, len(state))
    (kernel_ref, bias_ref), state_refs, (input_ref,) = groups[:3]
    flag_refs, (output_ref,), kept_refs = groups[3:]
    weights, hidden, loaded, shared = scratch
    here, span = _here(heads, features), _own()
    _fetch(kernel_ref, weights, loaded)

    def products(slot, *sums):
      for gate, leaf in enumerate(sums):
        plgpu.wgmma(leaf, hidden.at[slot], weights.at[gate, :, span])
      return tuple(leaf[...] for leaf in sums)

    def step(t, state):
      terms = [here.read(input_ref, t, part=gate) for gate in range(count)]
      state = parts.forget(here.flag(flag_refs, t), state)
      # While some read one half, others may write the other, a step ahead.
      slot = lax.rem(t, 2)
      hidden[slot, :, span] = state[0].astype(jnp.bfloat16)
      plgpu.commit_smem()
      parts.meet(shared)
      recurrent = pl.run_scoped(
        functools.partial(products, slot),
        *[plgpu.ACC(_BLOCK, jnp.float32)] * gates,
      )
      # Biases carried from step to step would take too many registers.
      biases = here.biases(bias_ref)
      values = parts.with_biases((*terms, *recurrent), biases, slots)
      new, _ = cell.forward(tuple(values[:count]), tuple(values[count:]), state)
      here.write(output_ref, new[0], t)
      for leaf, value in zip(kept_refs, state[1:]):
        here.write(leaf, value, t)
      return jax.tree.map(parts.in_layout, new)

    first = tuple(here.read(leaf) for leaf in state_refs)
    last = lax.fori_loop(0, time, step, first)
    for leaf, value in zip(final, last):
      here.write(leaf, value)

  result = functools.partial(_calls.varying, inputs)
  out = [result(shape, jnp.bfloat16)]
  out += [result(shape, jnp.float32)] * len(more)
  out += [result(shape[1:], jnp.float32)] * len(state)
  scratch = _buffer(gates, features, features), _buffer(2, ROWS, features)
  call = _kernel(gated_forward, out, scratch, kernel.shape, rows, interpret)
  results = call(kernel, bias, *state, inputs, *flags)
  hidden, *results = (_varying.vary_as(inputs, leaf) for leaf in results)
  return hidden, tuple(results[: len(more)]), tuple(results[len(more) :])


@_calls.in_32_bits
def pull(
  cell,
  slots: tuple[int, ...],
  kernel: jax.Array,
  hidden: jax.Array,
  more: Arrays,
  sums: jax.Array,
  flags: Arrays,
  d_hidden: jax.Array,
  d_state: Arrays,
  interpret,
) -> tuple[jax.Array, Arrays]:
  """Runs the loop backward."""
  heads, gates, features, _ = kernel.shape
  time, rows, total = sums.shape
  count, inputs = total // (heads * features), len(slots) - gates
  counts = 2, len(more), 1, len(flags), 1, len(d_state), 1

  def gated_backward(*refs):
    *groups, d_first, scratch = parts.split(refs, *counts, len(d_state))
    (kernel_ref, hidden_ref), kept_refs, (sums_ref,), flag_refs = groups[:4]
    (d_hidden_ref,), d_final_refs, (output_ref,) = groups[4:]
    weights, d_products, loaded, written, read = scratch
    here, span = _here(heads, features), _own()
    _fetch(kernel_ref, weights, loaded)

    def through(total):
      def one_gate(gate, _):
        plgpu.wgmma(total, d_products.at[gate], weights.at[gate, span].T)

      # Unrolled, the addresses of the weights take half the registers.
      lax.fori_loop(0, gates, one_gate, None)
      return total[...]

    def step(number, d_new):
      t = time - 1 - number
      state = tuple(here.read(leaf, t) for leaf in (hidden_ref, *kept_refs))
      terms = [here.read(sums_ref, t, part=slot) for slot in range(count)]
      values = parts.from_sums(terms, slots)
      values = tuple(values[:inputs]), tuple(values[inputs:])
      _, saved = cell.forward(*values, state)
      d_new = d_new[0] + here.read(d_hidden_ref, t), *d_new[1:]
      d_inputs, d_recurrent, d_state = cell.backward(saved, state, d_new)
      for gate, value in enumerate(d_recurrent):
        d_products[gate, :, span] = value.astype(jnp.bfloat16)
      _, distinct = _gated_chunk.shared((*d_inputs, *d_recurrent))
      for slot, value in enumerate(distinct):
        here.write(output_ref, value, t, part=slot)
      plgpu.commit_smem()
      parts.meet(written)
      flag = here.flag(flag_refs, t)
      total = pl.run_scoped(through, plgpu.ACC(_BLOCK, jnp.float32))
      parts.meet(read)
      d_state = parts.forget(flag, (d_state[0] + total, *d_state[1:]))
      return jax.tree.map(parts.in_layout, d_state)

    last = tuple(here.read(leaf) for leaf in d_final_refs)
    last = lax.fori_loop(0, time, step, last)
    for leaf, value in zip(d_first, last):
      here.write(leaf, value)

  result = functools.partial(_calls.varying, sums)
  out = [result(sums.shape, jnp.bfloat16)]
  out += [result(leaf.shape, jnp.float32) for leaf in d_state]
  scratch = _buffer(gates, features, features), _buffer(gates, ROWS, features)
  call = _kernel(
    gated_backward, out, scratch, kernel.shape, rows, interpret, barriers=2
  )
  results = call(kernel, hidden, *more, sums, *flags, d_hidden, *d_state)
  d_sums, *d_state = (_varying.vary_as(sums, leaf) for leaf in results)
  return d_sums, tuple(d_state)


def _own():
  """Returns this warpgroup's features among those of its head."""
  return pl.ds(lax.axis_index("group") * FEATURES, FEATURES)


def _here(heads, features):
  """Returns this warpgroup's rows and features."""
  rows = pl.ds(lax.axis_index("block") * ROWS, ROWS)
  start = lax.axis_index("head") * features + _own().start
  return parts.Place(rows, pl.ds(start, FEATURES), heads * features)


def _kernel(body, out, scratch, shape, rows, interpret, barriers=1):
  heads, gates, features, _ = shape
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
  """Copies the weights of a head to shared memory."""

  @pl.when(lax.axis_index("group") == 0)
  def _():
    for gate in range(kernel.shape[1]):
      place = kernel.at[lax.axis_index("head"), gate]
      plgpu.copy_gmem_to_smem(place, to.at[gate], loaded)

  plgpu.barrier_wait(loaded)
