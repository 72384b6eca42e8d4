"""Loops of a gated recurrence for TPUs: weights and states stay on the chip.

The grid goes over heads, rows, and one after the other over tiles of time. The
recurrent weights of a head lie in VMEM as long as time runs, the state in
scratch there, and the pointwise functions of the cell are traced into the
kernel. Each gate has arrays of its own, so that none is cut at a width that is
no multiple of 128.

Arrays are (time, heads, rows, features), states (heads, rows, features); rows
come in eights. Weights are `(kernel,)` or `(kernel, bias)`: (heads, gates,
features, features) as [head, gate, in, out] and (heads, gates, features). Flags
of resets are `()` or one (time, rows) array, not 0 at resets.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

from jaxseq.recurrence.gated import _gated_chunk
from jaxseq.recurrence.platform import support

Arrays = _gated_chunk.Arrays

# Elements of a state in one block of rows: 64 registers.
_BLOCK_ELEMENTS = 2**16
# Bytes of what streams through in a tile of time, and the steps in a tile.
_TILE_BYTES = 2**24
_TILE_STEPS = 32
# Of the 128 MiB of a TPU v5e; the rest is the compiler's.
_VMEM_BYTES = 100 * 2**20


@support.in_32_bits
def run(
  cell,
  dtype: jnp.dtype | None,
  weights: Arrays,
  state: Arrays,
  inputs: Arrays,
  flags: Arrays,
  interpret: bool,
) -> tuple[Arrays, Arrays]:
  """Runs the loop forward.

  Args:
    cell: `gated.GatedCell`.
    dtype: of the hidden states that are returned; if None, all states before
      the steps are returned in their place.
    weights: of the recurrence, the kernel in the dtype of operands.
    state: before the first step, float32.
    inputs: projected, float32, one array for each gate.
    flags: of resets.
    interpret: whether Pallas's interpreter runs it.

  Returns:
    A tuple of the hidden states alone, or of the states before all steps, and
    the last state.
  """
  shape = inputs[0].shape
  kept = [jnp.float32] * len(state) if dtype is None else [dtype]
  blocks = _Blocks.of(shape, weights, flags, state, (*inputs, *kept))
  return pl.pallas_call(
    functools.partial(_forward, cell, shape[0], dtype is None),
    grid=blocks.grid(shape),
    in_specs=[
      blocks.weights(weights),
      (blocks.state(),) * len(state),
      (blocks.steps(),) * len(inputs),
      (blocks.flags(),) * len(flags),
    ],
    out_specs=((blocks.steps(),) * len(kept), (blocks.state(),) * len(state)),
    out_shape=(
      tuple(support.varying(inputs[0], shape, leaf) for leaf in kept),
      (support.varying(inputs[0], shape[1:], jnp.float32),) * len(state),
    ),
    scratch_shapes=[(blocks.scratch(),) * len(state)],
    compiler_params=blocks.parameters(),
    interpret=interpret,
    name="gated_forward",
  )(weights, state, inputs, _in_column(flags))


def _forward(
  cell, time, keep, weights, state, inputs, flags, kept, final, carry
):
  """One tile of time."""
  tile, steps = pl.program_id(2), inputs[0].shape[0]

  @pl.when(tile == 0)
  def _():
    _write(carry, [leaf[...] for leaf in state])

  def step(i, _):
    before = _forget(flags, i, [leaf[...] for leaf in carry])
    hidden = before[0].astype(weights[0].dtype)
    recurrent = [
      _product(weights, gate, hidden) for gate in range(weights[0].shape[0])
    ]
    new, _ = cell.forward(
      tuple(leaf[i] for leaf in inputs), tuple(recurrent), before
    )
    for leaf, value in zip(kept, before if keep else new):
      leaf[i] = value.astype(leaf.dtype)
    _write(carry, new)

  lax.fori_loop(0, _steps(time, tile, steps), step, None)

  @pl.when(tile == pl.num_programs(2) - 1)
  def _():
    _write(final, [leaf[...] for leaf in carry])


@support.in_32_bits
def pull(
  cell,
  weights: Arrays,
  before: Arrays,
  inputs: Arrays,
  flags: Arrays,
  d_hidden: jax.Array,
  d_state: Arrays,
  slots: list[int],
  interpret: bool,
) -> tuple[Arrays, Arrays]:
  """Runs the loop backward.

  Args:
    cell: as in `run`.
    weights: as in `run`.
    before: the states before all steps, from `run`.
    inputs: as in `run`.
    flags: as in `run`.
    d_hidden: cotangent of the hidden states.
    d_state: cotangent of the last state, float32.
    slots: which of the distinct cotangents is that of each input and product.
    interpret: as in `run`.

  Returns:
    Cotangents of all inputs and of all recurrent products, (time, heads, rows,
    features) in the dtype of the kernel, and that of the first state.
  """
  shape, gates = inputs[0].shape, weights[0].shape[1]
  out = [weights[0].dtype] * (max(slots) + 1)
  streams = (*before, *inputs, d_hidden, *out)
  # The recurrent products of a tile have no second buffer.
  products = [jnp.float32] * -(-gates // 2)
  blocks = _Blocks.of(shape, weights, flags, d_state, (*streams, *products))
  backwards = functools.partial(blocks.steps, pl.cdiv(shape[0], blocks.time))
  d_gates, d_state = pl.pallas_call(
    functools.partial(_backward, cell, shape[0]),
    grid=blocks.grid(shape),
    in_specs=[
      blocks.weights(weights),
      (backwards(),) * len(before),
      (backwards(),) * len(inputs),
      (blocks.flags(pl.cdiv(shape[0], blocks.time)),) * len(flags),
      backwards(),
      (blocks.state(),) * len(d_state),
    ],
    out_specs=((backwards(),) * len(out), (blocks.state(),) * len(d_state)),
    out_shape=(
      tuple(support.varying(inputs[0], shape, leaf) for leaf in out),
      (support.varying(inputs[0], shape[1:], jnp.float32),) * len(d_state),
    ),
    scratch_shapes=[
      (blocks.scratch(),) * len(d_state),
      (blocks.scratch(blocks.time),) * gates,
    ],
    compiler_params=blocks.parameters(),
    interpret=interpret,
    name="gated_backward",
  )(weights, before, inputs, _in_column(flags), d_hidden, d_state)
  return tuple(d_gates[slot] for slot in slots), tuple(d_state)


def _backward(
  cell,
  time,
  weights,
  before,
  inputs,
  flags,
  d_hidden,
  d_final,
  d_gates,
  d_first,
  carry,
  recurrent,
):
  """One tile of time, of which the last one comes first."""
  kernel = weights[0]
  number, tiles = pl.program_id(2), pl.num_programs(2)
  steps, rows, features = d_hidden.shape
  count = _steps(time, tiles - 1 - number, steps)

  @pl.when(number == 0)
  def _():
    _write(carry, [leaf[...] for leaf in d_final])

  # All steps of the tile in one product for each gate.
  hidden = before[0][...].reshape(steps * rows, features).astype(kernel.dtype)
  for gate, leaf in enumerate(recurrent):
    leaf[...] = _product(weights, gate, hidden).reshape(leaf.shape)

  def step(number, _):
    i = count - 1 - number
    state = tuple(leaf[i] for leaf in before)
    products = tuple(leaf[i] for leaf in recurrent)
    _, saved = cell.forward(tuple(leaf[i] for leaf in inputs), products, state)
    d_new = [leaf[...] for leaf in carry]
    d_new[0] += d_hidden[i].astype(jnp.float32)
    d_inputs, d_recurrent, d_state = cell.backward(saved, state, tuple(d_new))
    through, *rest = d_state
    for gate, leaf in enumerate(d_recurrent):
      through += lax.dot_general(
        leaf.astype(kernel.dtype),
        kernel[gate],
        (((1,), (1,)), ((), ())),
        preferred_element_type=jnp.float32,
      )
    _write(carry, _forget(flags, i, (through, *rest)))
    _, distinct = _gated_chunk.shared((*d_inputs, *d_recurrent))
    for leaf, value in zip(d_gates, distinct):
      leaf[i] = value.astype(leaf.dtype)

  lax.fori_loop(0, count, step, None)

  @pl.when(number == tiles - 1)
  def _():
    _write(d_first, [leaf[...] for leaf in carry])


def _product(weights, gate, hidden):
  """R h + b of one gate."""
  kernel, *bias = weights
  product = jnp.dot(hidden, kernel[gate], preferred_element_type=jnp.float32)
  return product + bias[0][gate : gate + 1] if bias else product


def _forget(flags, step, state):
  """Zeros where there is a reset: a select, whatever is forgotten."""
  if flags:
    flag = jnp.broadcast_to(flags[0][step], state[0].shape)
    state = (jnp.where(flag != 0, 0.0, leaf) for leaf in state)
  return tuple(state)


def _in_column(flags):
  """With an axis that the kernel repeats over the features."""
  return tuple(leaf[..., None] for leaf in flags)


def _write(refs, values):
  for ref, value in zip(refs, values):
    ref[...] = value


def _steps(time, tile, steps):
  """Those of a tile that there are; the last one may be cut off."""
  if time % steps == 0:
    return steps
  return jnp.minimum(steps, time - tile * steps)


class _Blocks(NamedTuple):
  """Blocks of arrays: steps of time, rows, features, and bytes in VMEM."""

  time: int
  rows: int
  features: int
  memory: int

  @classmethod
  def of(cls, shape, weights, flags, state, streams):
    """Blocks that fit, `streams` being arrays or dtypes of what streams."""
    time, _, rows, features = shape
    most = max(8, _BLOCK_ELEMENTS // features // 8 * 8)
    rows = min(rows, most)
    lanes = -(-features // 128) * 128
    sizes = [
      getattr(leaf, "dtype", jnp.dtype(leaf)).itemsize for leaf in streams
    ]
    # Two of each block: one is worked on while the other travels.
    step = 2 * rows * (sum(sizes) * lanes + len(flags) * 4 * 128)
    steps = max(1, min(_TILE_STEPS, _TILE_BYTES // step, time))
    kernel = weights[0]
    fixed = 2 * kernel.shape[1] * features * lanes * kernel.dtype.itemsize
    fixed += 5 * 4 * len(state) * rows * lanes
    memory = fixed + steps * step
    if memory > _VMEM_BYTES:
      got = (
        f"{features} features a head in {kernel.shape[1]} gates, {memory} bytes"
        " on a TPU"
      )
      expected = f"at most {_VMEM_BYTES} bytes"
      raise NotImplementedError(support.sentence("gated", got, expected))
    return cls(steps, rows, features, memory)

  def grid(self, shape):
    return shape[1], pl.cdiv(shape[2], self.rows), pl.cdiv(shape[0], self.time)

  def weights(self, weights):
    """All gates of a head."""
    return tuple(
      pl.BlockSpec(
        (None, *leaf.shape[1:]),
        lambda head, rows, time, n=leaf.ndim: (head, *(0,) * (n - 1)),
      )
      for leaf in weights
    )

  def state(self):
    return pl.BlockSpec(
      (None, self.rows, self.features), lambda head, rows, time: (head, rows, 0)
    )

  def steps(self, tiles=None):
    """A tile of time; from the last to the first of so many, if given."""
    return pl.BlockSpec(
      (self.time, None, self.rows, self.features),
      lambda head, rows, time: (_place(time, tiles), head, rows, 0),
    )

  def flags(self, tiles=None):
    return pl.BlockSpec(
      (self.time, self.rows, 1),
      lambda head, rows, time: (_place(time, tiles), rows, 0),
    )

  def scratch(self, *lead):
    return pltpu.VMEM((*lead, self.rows, self.features), jnp.float32)

  def parameters(self):
    return pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "arbitrary"),
      # What the compiler keeps beside the blocks: the arrays of one step.
      vmem_limit_bytes=self.memory + 16 * 2**20,
    )


def _place(time, tiles):
  return time if tiles is None else tiles - 1 - time
