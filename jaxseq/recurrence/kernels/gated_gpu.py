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
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.recurrence import _gated_chunk
from jaxseq.recurrence.kernels import support

Arrays = _gated_chunk.Arrays

# Rows of a block: those of one instruction of the tensor cores.
ROWS = 64
# Features of a warpgroup, and of a head: a block has up to four warpgroups.
FEATURES = 32
WIDEST = 128
# Bytes that a block may have in shared memory, with 8 KiB left for barriers.
_SHARED = 219 * 1024
_BLOCK = ROWS, FEATURES
_WGMMA = plgpu.Layout.WGMMA


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
  _check(shape[-1], gates)
  keep = dtype is None
  outputs = [jnp.float32] * len(state) if keep else [dtype]
  counts = len(weights), len(state), len(inputs), len(flags), len(outputs)

  def gated_forward(*refs):
    *groups, final, scratch = _split(refs, *counts, len(state))
    weight_refs, state_refs, input_refs, flag_refs, output_refs = groups
    kernel, hidden, loaded, shared = scratch
    here = _Here.of()
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
      state = _forget(flag_refs, t, here, state)
      # While some read one half, others may be a step ahead and write.
      slot = lax.rem(t, 2)
      hidden[slot, :, here.columns] = state[0].astype(jnp.bfloat16)
      plgpu.commit_smem()
      _meet(shared)
      recurrent = pl.run_scoped(
        functools.partial(products, slot),
        *[plgpu.ACC(_BLOCK, jnp.float32)] * gates,
      )
      new, _ = cell.forward(here.read(input_refs, t), recurrent, state)
      here.write(output_refs, state if keep else new, t)
      return _in_layout(new)

    first = _as_computed(here.read(state_refs))
    here.write(final, lax.fori_loop(0, shape[0], step, first))

  result = functools.partial(support.varying, inputs[0])
  out = [result(shape, leaf) for leaf in outputs]
  out += [result(shape[1:], jnp.float32)] * len(state)
  width = shape[-1]
  scratch = _buffer(gates, width, width), _buffer(2, ROWS, width)
  call = _kernel(gated_forward, out, scratch, shape, gates, interpret)
  results = call(*weights, *state, *inputs, *flags)
  results = [support.vary_as(inputs[0], leaf) for leaf in results]
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

  def gated_backward(*refs):
    *groups, d_first, scratch = _split(refs, *counts, outputs, len(d_state))
    (kernel_ref,), before_refs, input_refs, recurrent_refs = groups[:4]
    flag_refs, (d_hidden_ref,), d_final_refs, output_refs = groups[4:]
    weights, d_products, loaded, written, read = scratch
    here = _Here.of()
    _fetch(kernel_ref, weights, loaded)

    def through(total):
      for gate in range(gates):
        plgpu.wgmma(
          total, d_products.at[gate], weights.at[gate, :, here.columns]
        )
      return total[...]

    def step(number, d_new):
      t = time - 1 - number
      state = here.read(before_refs, t)
      given = here.read(input_refs, t), here.read(recurrent_refs, t), state
      _, saved = cell.forward(*given)
      (d_hidden,) = here.read([d_hidden_ref], t)
      d_new = d_new[0] + d_hidden.astype(jnp.float32), *d_new[1:]
      d_inputs, d_recurrent, d_state = cell.backward(saved, state, d_new)
      for gate, value in enumerate(d_recurrent):
        d_products[gate, :, here.columns] = value.astype(jnp.bfloat16)
      _, distinct = _gated_chunk.shared((*d_inputs, *d_recurrent))
      here.write(output_refs, distinct, t)
      plgpu.commit_smem()
      _meet(written)
      total = pl.run_scoped(through, plgpu.ACC(_BLOCK, jnp.float32))
      _meet(read)
      d_state = d_state[0] + total, *d_state[1:]
      return _in_layout(_forget(flag_refs, t, here, d_state))

    last = _as_computed(here.read(d_final_refs))
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
  results = [support.vary_as(inputs[0], leaf) for leaf in results]
  d_gates = tuple(results[slot] for slot in slots)
  return d_gates, tuple(results[outputs:])


class _Here(NamedTuple):
  """What a warpgroup works on: rows and features of a head."""

  head: jax.Array
  rows: pl.Slice
  columns: pl.Slice

  @classmethod
  def of(cls):
    rows = pl.ds(lax.axis_index("block") * ROWS, ROWS)
    columns = pl.ds(lax.axis_index("group") * FEATURES, FEATURES)
    return cls(lax.axis_index("head"), rows, columns)

  def read(self, leaves, *time):
    places = (leaf.at[(*time, *self)] for leaf in leaves)
    return tuple(_load(place, _WGMMA) for place in places)

  def write(self, leaves, values, *time):
    for leaf, value in zip(leaves, values):
      leaf[(*time, *self)] = value.astype(leaf.dtype)

  def bias(self, leaf):
    bias = _load(leaf.at[self.columns], _WGMMA.reduce(0))
    return lax.broadcast_in_dim(bias, _BLOCK, (1,))

  def flags(self, leaf, t):
    flags = _load(leaf.at[t, self.rows], _WGMMA.reduce(1))
    return lax.broadcast_in_dim(flags, _BLOCK, (0,))


def _check(features, gates):
  """NotImplementedError if the weights of a head do not fit."""
  taken = 2 * gates * features * (features + ROWS)
  if features > WIDEST or taken > _SHARED:
    got = (
      f"{features} features a head, in multiples of {FEATURES}, in {gates} "
      "gates on a GPU"
    )
    expected = (
      f"at most {WIDEST}, and weights of {_SHARED} bytes with the state"
    )
    raise NotImplementedError(support.sentence("gated", got, expected))


def _load(place, layout):
  """From main memory right to registers."""
  return plgpu.load(place, layout=layout, optimized=False)


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


def _buffer(*shape):
  """Shared memory in the tiles that the tensor cores read."""
  tiles = plgpu.TilingTransform((8, FEATURES))
  transforms = tiles, plgpu.SwizzleTransform(2 * FEATURES)
  return plgpu.SMEM(shape, jnp.bfloat16, transforms=transforms)


def _split(refs, *counts):
  """Groups of so many, and the rest."""
  groups = []
  for count in counts:
    groups.append(refs[:count])
    refs = refs[count:]
  return *groups, refs


def _fetch(kernel, to, loaded):
  """Brings the weights of a head to shared memory."""

  @pl.when(lax.axis_index("group") == 0)
  def _():
    for gate in range(kernel.shape[1]):
      place = kernel.at[lax.axis_index("head"), gate]
      plgpu.copy_gmem_to_smem(place, to.at[gate], loaded)

  plgpu.barrier_wait(loaded)


def _meet(barrier):
  """Waits for all warpgroups of the block."""
  plgpu.barrier_arrive(barrier)
  plgpu.barrier_wait(barrier)


def _as_computed(state):
  """With the types of what a step returns.

  What is read in a kernel varies over the devices of `jax.shard_map` as the
  argument does, by its type, and what is computed does not.
  """
  return tuple(1.0 * leaf for leaf in state)


def _in_layout(state):
  return tuple(plgpu.layout_cast(leaf, _WGMMA) for leaf in state)


def _forget(flags, t, here, state):
  """Zeros where there is a reset: a select, whatever is forgotten."""
  if not flags:
    return state
  flag = here.flags(flags[0], t)
  return tuple(jnp.where(flag != 0, 0.0, leaf) for leaf in state)
