"""Loops of a gated recurrence for Hopper: weights over a cluster of blocks.

For heads that are too wide for one block. Those of a cluster run at the same
time; each has 32 features of all gates: their weights in shared memory, and
their state of 64 rows in the registers of two warpgroups. In every step they
exchange their hidden states, or on the way back their cotangents of the gates,
through main memory, or rather the cache that all processors share: a block
copies its own there, waits until the copy is complete, arrives at a barrier of
the cluster, and once all have arrived copies everybody's to its shared memory.
Copies from and to shared memory by the unit that does so see that cache alone,
and not one of a single processor.

Arrays are those of `gated_gpu`, with features as `width` gives them.
"""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.recurrence import _gated_chunk
from jaxseq.recurrence import _varying
from jaxseq.recurrence.kernels import gated_gpu_cluster_parts as clusters
from jaxseq.recurrence.kernels import gated_gpu_parts as parts
from jaxseq.recurrence.kernels import support

Arrays = _gated_chunk.Arrays

ROWS = clusters.ROWS
width = clusters.width
# Of what tensor cores read, and of what leaves.
_wide = functools.partial(parts.smem, features=clusters.TILE)
_narrow = functools.partial(parts.smem, features=clusters.COLUMNS)


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
  time, features = shape[0], shape[-1]
  clusters.check(features, gates, features + clusters.FEATURES)
  count, size = clusters.in_parts(features)
  keep = dtype is None
  outputs = [jnp.float32] * len(state) if keep else [dtype]
  counts = len(weights), len(state), len(inputs), len(flags), len(outputs)

  def gated_forward(*refs):
    *groups, final, rest = parts.split(refs, *counts, len(state))
    weight_refs, state_refs, input_refs, flag_refs, output_refs = groups
    (exchange, *rest), here = rest, clusters.Here.of()
    kernel, hidden, staged, loaded, arrived, shared, everyone = rest
    here.fetch(weight_refs[0], kernel, loaded)
    biases = [
      here.place.bias(leaf.at[here.place.head, gate])
      for leaf in weight_refs[1:]
      for gate in range(gates)
    ]

    def publish(t, state):
      """Sends the hidden state before a step to all blocks."""
      staged[:, here.columns] = state[0].astype(jnp.bfloat16)
      plgpu.commit_smem()
      # Both halves are there, and nobody reads what arrived before.
      parts.meet(shared)

      @pl.when(here.first)
      def _():
        to = exchange.at[(lax.rem(t, 2), *here.owned)]
        plgpu.copy_smem_to_gmem(staged, to)
        plgpu.wait_smem_to_gmem(0)
        plgpu.barrier_arrive(everyone)

    def gather(t):
      """Begins to copy the hidden states of all blocks."""

      @pl.when(here.first)
      def _():
        plgpu.barrier_wait(everyone)
        for part in range(count):
          columns = pl.ds(part * size, size)
          place = exchange.at[(lax.rem(t, 2), *here.rows, columns)]
          plgpu.copy_gmem_to_smem(place, hidden.at[part], arrived.at[part])

    def products(total):
      def one_part(part, _):
        plgpu.barrier_wait(arrived.at[part])
        columns = pl.ds(part * size, size)
        right = kernel.at[here.group, :, columns].T
        plgpu.wgmma(total, hidden.at[part], right)

      # Unrolled, what addresses the weights takes half the registers.
      lax.fori_loop(0, count, one_part, None)
      return total[...]

    def step(t, state):
      # Read before anything is waited for.
      given = here.place.read(input_refs, t)
      flag = here.place.flag(flag_refs, t + 1)
      gather(t)
      total = pl.run_scoped(
        products, plgpu.ACC((ROWS, gates * clusters.COLUMNS), jnp.float32)
      )
      recurrent = _gates(total, gates)
      if biases:
        recurrent = tuple(map(jnp.add, recurrent, biases))
      new, _ = cell.forward(given, recurrent, state)
      before_next = parts.forget(flag, new)
      publish(t + 1, before_next)
      here.place.write(output_refs, state if keep else new, t)
      return jax.tree.map(parts.in_layout, before_next)

    first = parts.as_computed(here.place.read(state_refs))
    first = parts.forget(here.place.flag(flag_refs, 0), first)
    first = jax.tree.map(parts.in_layout, first)
    publish(0, first)
    here.place.write(final, lax.fori_loop(0, time, step, first))
    # Nobody leaves before all have arrived at its barrier.
    pl.when(here.first)(lambda: plgpu.barrier_wait(everyone))

  result = functools.partial(support.varying, inputs[0])
  out = [result(shape, leaf) for leaf in outputs]
  out += [result(shape[1:], jnp.float32)] * len(state)
  # Two steps of hidden states: while some read one, others write the other.
  out.append(result((2, *shape[1:]), jnp.bfloat16))
  scratch = (
    _wide(clusters.GROUPS, gates * clusters.COLUMNS, features),
    _wide(count, ROWS, size),
    _narrow(ROWS, clusters.FEATURES),
    plgpu.Barrier(num_arrivals=clusters.GROUPS),
    plgpu.Barrier(num_barriers=count),
  )
  call = clusters.kernel(gated_forward, out, scratch, shape, interpret)
  kernel, *bias = weights
  # As [head, warpgroup, (gate, out), in].
  kernel = kernel.reshape(*kernel.shape[:3], -1, clusters.COLUMNS)
  kernel = kernel.transpose(0, 3, 1, 4, 2)
  kernel = kernel.reshape(*kernel.shape[:2], gates * clusters.COLUMNS, features)
  # After the last step nothing is forgotten.
  flags = [jnp.pad(leaf, ((0, 1), (0, 0))) for leaf in flags]
  results = call(kernel, *bias, *state, *inputs, *flags)
  results = [_varying.vary_as(inputs[0], leaf) for leaf in results[:-1]]
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
  """Runs the loop backward, as `gated_gpu.pull` does."""
  shape, gates = inputs[0].shape, kernel.shape[1]
  time, features = shape[0], shape[-1]
  outputs = max(slots) + 1
  clusters.check(features, gates, features + outputs * clusters.FEATURES)
  count, size = clusters.in_parts(features)
  counts = 1, len(before), len(inputs), gates, len(flags), 1, len(d_state)
  counts = *counts, outputs

  def gated_backward(*refs):
    *groups, d_first, rest = parts.split(refs, *counts, len(d_state))
    (kernel_ref,), before_refs, input_refs, recurrent_refs = groups[:4]
    flag_refs, d_hidden_refs, d_final_refs, output_refs = groups[4:]
    weights, stream, staged, loaded, arrived, free, shared, everyone = rest
    here = clusters.Here.of()
    here.fetch(kernel_ref, weights, loaded)

    def publish(t, cotangents):
      """Sends the cotangents of the gates to all blocks, and where they go."""
      for slot, value in enumerate(cotangents):
        staged[slot, :, here.columns] = value.astype(jnp.bfloat16)
      plgpu.commit_smem()
      parts.meet(shared)

      @pl.when(here.first)
      def _():
        for slot, leaf in enumerate(output_refs):
          to = leaf.at[(t, *here.owned)]
          plgpu.copy_smem_to_gmem(staged.at[slot], to)
        plgpu.wait_smem_to_gmem(0)
        plgpu.barrier_arrive(everyone)

    def copy(t, gate, part):
      """Begins to copy some features of one gate's cotangents of all blocks."""
      columns = pl.ds(part * size, size)
      place = output_refs[slots[gate - gates]].at[(t, *here.rows, columns)]
      plgpu.copy_gmem_to_smem(place, stream.at[part], arrived.at[part])

    def through(t, total):
      """The products with the cotangents of all blocks."""

      @pl.when(here.first)
      def _():
        plgpu.barrier_wait(everyone)
        for part in range(count):
          copy(t, 0, part)

      def one_part(number, _):
        part = lax.rem(number, count)
        plgpu.barrier_wait(arrived.at[part])
        right = weights.at[here.group, :, pl.ds(number * size, size)].T
        plgpu.wgmma(total, stream.at[part], right)
        plgpu.wgmma_wait(0)
        plgpu.barrier_arrive(free.at[part])

        @pl.when(here.first)
        def _():
          plgpu.barrier_wait(free.at[part])
          for gate in range(1, gates):
            of_gate = number // count == gate - 1
            pl.when(of_gate)(functools.partial(copy, t, gate, part))

      lax.fori_loop(0, gates * count, one_part, None)
      return total[...]

    def read(t):
      """What a step needs of main memory."""
      read = here.place.read
      given = (
        parts.as_computed(read(input_refs, t)),
        parts.as_computed(read(recurrent_refs, t)),
        parts.as_computed(read(before_refs, t)),
        *parts.as_computed(read(d_hidden_refs, t)),
      )
      return jax.tree.map(parts.in_layout, given)

    def step(number, carry):
      t, (d_new, given) = time - 1 - number, carry
      inputs, products, state, d_hidden = given
      flag = here.place.flag(flag_refs, t)
      _, saved = cell.forward(inputs, products, state)
      d_new = d_new[0] + d_hidden.astype(jnp.float32), *d_new[1:]
      d_inputs, d_recurrent, d_state = cell.backward(saved, state, d_new)
      _, distinct = _gated_chunk.shared((*d_inputs, *d_recurrent))
      publish(t, distinct)
      # Of the step before this one, while others work on this.
      given = read(jnp.maximum(t - 1, 0))
      total = pl.run_scoped(
        functools.partial(through, t),
        plgpu.ACC((ROWS, clusters.COLUMNS), jnp.float32),
      )
      d_state = parts.forget(flag, (d_state[0] + total, *d_state[1:]))
      return jax.tree.map(parts.in_layout, d_state), given

    last = parts.as_computed(here.place.read(d_final_refs))
    last, _ = lax.fori_loop(0, time, step, (last, read(time - 1)))
    here.place.write(d_first, last)

  result = functools.partial(support.varying, inputs[0])
  out = [result(shape, kernel.dtype)] * outputs
  out += [result(shape[1:], jnp.float32)] * len(d_state)
  scratch = (
    _wide(clusters.GROUPS, clusters.COLUMNS, gates * features),
    _wide(count, ROWS, size),
    _narrow(outputs, ROWS, clusters.FEATURES),
    plgpu.Barrier(num_arrivals=clusters.GROUPS),
    plgpu.Barrier(num_barriers=count),
    plgpu.Barrier(num_arrivals=clusters.GROUPS, num_barriers=count),
  )
  call = clusters.kernel(gated_backward, out, scratch, shape, interpret)
  # As [head, warpgroup, in, (gate, out)].
  kernel = kernel.transpose(0, 3, 1, 2)
  kernel = kernel.reshape(len(kernel), -1, clusters.COLUMNS, gates * features)
  given = (*before, *inputs, *recurrent, *flags, d_hidden, *d_state)
  results = call(kernel, *given)
  results = [_varying.vary_as(inputs[0], leaf) for leaf in results]
  d_gates = tuple(results[slot] for slot in slots)
  return d_gates, tuple(results[outputs:])


def _gates(total, gates):
  """The sums of each gate."""
  return tuple(
    lax.slice(total, (0, start), (ROWS, start + clusters.COLUMNS))
    for start in range(0, gates * clusters.COLUMNS, clusters.COLUMNS)
  )
