"""Loops of a gated recurrence on Hopper, with weights split over a cluster.

Each block has 32 features of all gates of 64 rows. In every step they exchange
hidden states, or the gates' cotangents in the backward pass, through the cache
shared by all processors: a block copies its own there, waits until the copy is
complete, arrives at a barrier of the cluster, and then copies those of all
blocks.
"""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels.gated import _gpu_cluster_parts as clusters
from jaxseq.kernels.gated import _gpu_parts as parts
from jaxseq.recurrence.gated import _gated_chunk
from jaxseq.recurrence.shared import _varying

Arrays = _gated_chunk.Arrays

ROWS = clusters.ROWS
width = clusters.width
# Shared memory of the tensor cores' inputs, and of outputs.
_wide = functools.partial(parts.smem, features=clusters.TILE)
_narrow = functools.partial(parts.smem, features=clusters.COLUMNS)


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
  """Runs the loop forward, see `_gpu.run`."""
  heads, gates, features, _ = kernel.shape
  time, rows, total = inputs.shape
  shape, columns = (time, rows, heads * features), gates * clusters.COLUMNS
  split = total // (heads * features)
  clusters.check(features, gates, features + clusters.FEATURES)
  count, size = clusters.in_parts(features)
  more = state[1:] if keep else ()
  counts = 2, len(state), 1, len(flags), 1, len(more)

  def gated_forward(*refs):
    *groups, final, rest = parts.split(refs, *counts, len(state))
    (kernel_ref, bias_ref), state_refs, (input_ref,) = groups[:3]
    flag_refs, (output_ref,), kept_refs = groups[3:]
    exchange, weights, hidden, staged, loaded, arrived, shared, everyone = rest
    here = clusters.Here.of(heads, features)
    here.fetch(kernel_ref, weights, loaded)
    biases = here.place.biases(bias_ref)

    def publish(t, state):
      """Sends the hidden state before a step to all blocks."""
      staged[:, here.columns] = state[0].astype(jnp.bfloat16)
      plgpu.commit_smem()
      # Both halves are written, and the previous arrivals have been read.
      parts.meet(shared)

      @pl.when(here.first)
      def _():
        to = exchange.at[here.owned(lax.rem(t, 2))]
        plgpu.copy_smem_to_gmem(staged, to)
        plgpu.wait_smem_to_gmem(0)
        plgpu.barrier_arrive(everyone)

    def gather(t):
      """Starts to copy the hidden states of all blocks."""

      @pl.when(here.first)
      def _():
        plgpu.barrier_wait(everyone)
        for part in range(count):
          place = exchange.at[here.others(lax.rem(t, 2), part * size, size)]
          plgpu.copy_gmem_to_smem(place, hidden.at[part], arrived.at[part])

    def products(total):
      def one_part(part, _):
        plgpu.barrier_wait(arrived.at[part])
        columns = pl.ds(part * size, size)
        right = weights.at[here.group, :, columns].T
        plgpu.wgmma(total, hidden.at[part], right)

      # Unrolled, the addresses of the weights take half the registers.
      lax.fori_loop(0, count, one_part, None)
      return total[...]

    def step(t, state):
      # Read before any wait.
      each = (here.place.read(input_ref, t, part=gate) for gate in range(split))
      values, flag = [*each], here.place.flag(flag_refs, t + 1)
      gather(t)
      total = pl.run_scoped(products, plgpu.ACC((ROWS, columns), jnp.float32))
      values = parts.with_biases(values + _gates(total, gates), biases, slots)
      new, _ = cell.forward(tuple(values[:split]), tuple(values[split:]), state)
      before_next = parts.forget(flag, new)
      publish(t + 1, before_next)
      here.place.write(output_ref, new[0], t)
      for leaf, value in zip(kept_refs, state[1:]):
        here.place.write(leaf, value, t)
      return jax.tree.map(parts.in_layout, before_next)

    first = tuple(here.place.read(leaf) for leaf in state_refs)
    first = parts.forget(here.place.flag(flag_refs, 0), first)
    first = jax.tree.map(parts.in_layout, first)
    publish(0, first)
    last = lax.fori_loop(0, time, step, first)
    for leaf, value in zip(final, last):
      here.place.write(leaf, value)
    # A block must not exit before all have arrived at its barrier.
    pl.when(here.first)(lambda: plgpu.barrier_wait(everyone))

  result = functools.partial(_calls.varying, inputs)
  out = [result(shape, jnp.bfloat16)]
  out += [result(shape, jnp.float32)] * len(more)
  out += [result(shape[1:], jnp.float32)] * len(state)
  # Hidden states of two steps: while some read one, others write the other.
  out.append(result((2, *shape[1:]), jnp.bfloat16))
  scratch = (
    _wide(clusters.GROUPS, columns, features),
    _wide(count, ROWS, size),
    _narrow(ROWS, clusters.FEATURES),
    plgpu.Barrier(num_arrivals=clusters.GROUPS),
    plgpu.Barrier(num_barriers=count),
  )
  grid = heads, rows, features
  call = clusters.kernel(gated_forward, out, scratch, grid, interpret)
  # Layout [head, warpgroup, (gate, out), in].
  kernel = kernel.reshape(*kernel.shape[:3], -1, clusters.COLUMNS)
  kernel = kernel.transpose(0, 3, 1, 4, 2)
  kernel = kernel.reshape(*kernel.shape[:2], columns, features)
  # There is no reset after the last step.
  flags = [jnp.pad(leaf, ((0, 1), (0, 0))) for leaf in flags]
  results = call(kernel, bias, *state, inputs, *flags)
  hidden, *results = (_varying.vary_as(inputs, leaf) for leaf in results[:-1])
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
  """Runs the loop backward, see `_gpu.pull`."""
  heads, gates, features, _ = kernel.shape
  time, rows, total = sums.shape
  outputs, inputs = total // (heads * features), len(slots) - gates
  clusters.check(features, gates, features + outputs * clusters.FEATURES)
  count, size = clusters.in_parts(features)
  counts = 2, len(more), 1, len(flags), 1, len(d_state), 1

  def gated_backward(*refs):
    *groups, d_first, rest = parts.split(refs, *counts, len(d_state))
    (kernel_ref, hidden_ref), kept_refs, (sums_ref,), flag_refs = groups[:4]
    (d_hidden_ref,), d_final_refs, (output_ref,) = groups[4:]
    weights, stream, staged, loaded, arrived, free, shared, everyone = rest
    here = clusters.Here.of(heads, features)
    here.fetch(kernel_ref, weights, loaded)

    def publish(t, cotangents):
      """Sends the gates' cotangents to all blocks, and to the outputs."""
      for slot, value in enumerate(cotangents):
        staged[slot, :, here.columns] = value.astype(jnp.bfloat16)
      plgpu.commit_smem()
      parts.meet(shared)

      @pl.when(here.first)
      def _():
        for slot in range(outputs):
          to = output_ref.at[here.owned(t, part=slot)]
          plgpu.copy_smem_to_gmem(staged.at[slot], to)
        plgpu.wait_smem_to_gmem(0)
        plgpu.barrier_arrive(everyone)

    def copy(t, gate, part):
      """Starts to copy some features of one gate's cotangents of all blocks."""
      place = here.others(t, part * size, size, part=slots[gate - gates])
      plgpu.copy_gmem_to_smem(
        output_ref.at[place], stream.at[part], arrived.at[part]
      )

    def through(t, total):
      """Multiplies the cotangents of all blocks by the weights."""

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
      """Returns the arrays that a step loads from main memory."""
      place = here.place
      loads = (
        tuple(place.read(sums_ref, t, part=slot) for slot in range(outputs)),
        tuple(place.read(leaf, t) for leaf in (hidden_ref, *kept_refs)),
        place.read(d_hidden_ref, t),
      )
      return jax.tree.map(parts.in_layout, loads)

    def step(number, carry):
      t, (d_new, loads) = time - 1 - number, carry
      given_sums, state, d_hidden = loads
      values = parts.from_sums(given_sums, slots)
      values = tuple(values[:inputs]), tuple(values[inputs:])
      flag = here.place.flag(flag_refs, t)
      _, saved = cell.forward(*values, state)
      d_new = d_new[0] + d_hidden, *d_new[1:]
      d_inputs, d_recurrent, d_state = cell.backward(saved, state, d_new)
      _, distinct = _gated_chunk.shared((*d_inputs, *d_recurrent))
      publish(t, distinct)
      # Loads the earlier step's arrays while others work on this step.
      loads = read(jnp.maximum(t - 1, 0))
      total = pl.run_scoped(
        functools.partial(through, t),
        plgpu.ACC((ROWS, clusters.COLUMNS), jnp.float32),
      )
      d_state = parts.forget(flag, (d_state[0] + total, *d_state[1:]))
      return jax.tree.map(parts.in_layout, d_state), loads

    last = tuple(here.place.read(leaf) for leaf in d_final_refs)
    last, _ = lax.fori_loop(0, time, step, (last, read(time - 1)))
    for leaf, value in zip(d_first, last):
      here.place.write(leaf, value)

  result = functools.partial(_calls.varying, sums)
  out = [result(sums.shape, jnp.bfloat16)]
  out += [result(leaf.shape, jnp.float32) for leaf in d_state]
  scratch = (
    _wide(clusters.GROUPS, clusters.COLUMNS, gates * features),
    _wide(count, ROWS, size),
    _narrow(outputs, ROWS, clusters.FEATURES),
    plgpu.Barrier(num_arrivals=clusters.GROUPS),
    plgpu.Barrier(num_barriers=count),
    plgpu.Barrier(num_arrivals=clusters.GROUPS, num_barriers=count),
  )
  grid = heads, rows, features
  call = clusters.kernel(gated_backward, out, scratch, grid, interpret)
  # Layout [head, warpgroup, in, (gate, out)].
  kernel = kernel.transpose(0, 2, 1, 3)
  kernel = kernel.reshape(heads, -1, clusters.COLUMNS, gates * features)
  results = call(kernel, hidden, *more, sums, *flags, d_hidden, *d_state)
  d_sums, *d_state = (_varying.vary_as(sums, leaf) for leaf in results)
  return d_sums, tuple(d_state)


def _gates(total, gates):
  """Returns the sums of each gate."""
  return [
    lax.slice(total, (0, start), (ROWS, start + clusters.COLUMNS))
    for start in range(0, gates * clusters.COLUMNS, clusters.COLUMNS)
  ]
