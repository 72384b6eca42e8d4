"""The recurrence of gated networks (GRU, LSTM and their relatives).

One step is a matrix product of the hidden state in each head, followed by
pointwise functions. All such networks share the rest: the input projection, the
loop, resets and the gradient.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.gated import _gated_chunk
from jaxseq.recurrence.gated import _gated_products
from jaxseq.recurrence.gated import _gated_sharded
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _contractions

Arrays = _gated_chunk.Arrays
to_heads = _gated_products.to_heads
from_heads = _gated_products.from_heads

METHODS = ("auto", "sequential", "unrolled", "pallas")
SCHEMES = _gated_sharded.SCHEMES


class GatedCell(NamedTuple):
  """The pointwise part of a gated recurrence and its derivative.

  Attributes:
    forward: `forward(inputs, recurrent, state) -> (state, saved)`, all of them
      tuples of arrays of one shape. `state[0]` is the hidden state, which is
      multiplied by the recurrent kernel. `saved` are the residuals for
      `backward`.
    backward: `backward(saved, state, cotangent) -> (d_inputs, d_recurrent,
      d_state)` with the `state` before the step and the cotangent of the one
      after it.
  """

  forward: Callable[[Arrays, Arrays, Arrays], tuple[Arrays, Arrays]]
  backward: Callable[[Arrays, Arrays, Arrays], tuple[Arrays, Arrays, Arrays]]


class GatedParams(NamedTuple):
  """Weights of a gated recurrence.

  Attributes:
    input_kernel: (inputs, input gates, heads * features); or None if the
      inputs of `gated_scan` are such products already, (time, batch, input
      gates * heads * features).
    input_bias: (input gates, heads * features).
    kernel: (heads, features, gates, features), [head, in, gate, out].
    bias: (gates, heads * features), added to the recurrent product; or None.
  """

  input_kernel: jax.Array | None
  input_bias: jax.Array
  kernel: jax.Array
  bias: jax.Array | None = None


def _check(params: GatedParams, state: Arrays, x: jax.Array, reset):
  """Raises ValueError unless the shapes fit together."""
  shape = jnp.shape(params.kernel)
  if len(shape) != 4 or shape[1] != shape[3]:
    raise validate.error(
      "params.kernel", f"shape {shape}", "(heads, features, gates, features)"
    )
  heads, features, gates, _ = shape
  width = heads * features
  if params.input_kernel is None:
    input_gates = x.shape[-1] // width
    if x.shape[-1] != input_gates * width:
      expected = f"a multiple of {width} features without params.input_kernel"
      raise validate.error("x", f"shape {x.shape}", expected)
  else:
    expected = x.shape[-1], "input gates", width
    _, input_gates, _ = validate.shape(
      "params.input_kernel", params.input_kernel, expected
    )
  validate.shape("params.input_bias", params.input_bias, (input_gates, width))
  _checks.shape("params.bias", params.bias, (gates, width))
  for leaf in state:
    validate.shape("state", leaf, (heads, x.shape[-2], features))
  _checks.reset(reset, x.shape[:-1])


def _dtypes(params, state, x):
  """The dtypes of states, of operands of products and of hidden states."""
  wide = jnp.result_type(jnp.float32, x, *jax.tree.leaves((params, state)))
  narrow = x.dtype if _contractions.is_narrow(x.dtype) else wide
  return wide, narrow, narrow


def _kernel(wide, operands):
  """Returns the form of the kernels here, or raises NotImplementedError."""
  form = support.form("gated", wide)
  if operands != jnp.bfloat16:
    support.refuse("gated", f"dtype {operands}", "bfloat16")
  return form


def gated_step(
  cell: GatedCell,
  params: GatedParams,
  state: Arrays,
  x: jax.Array,
  *,
  reset: jax.Array | None = None,
) -> Arrays:
  """Runs one step of `gated_scan`.

  Args:
    cell: the pointwise functions.
    params: weights, with an input kernel.
    state: tuple of (heads, batch, features) arrays; the first is the hidden
      state.
    x: (batch, inputs).
    reset: (batch,) bool; if True, the state is zeros before the step.

  Returns:
    The state after the step, float32 or wider.

  Raises:
    ValueError: if shapes do not fit together.
  """
  _checks.floating(x=x)
  validate.shape("x", x, ("batch", "inputs"))
  _check(params, state, x, reset)
  wide, operands, _ = _dtypes(params, state, x)
  state = tuple(leaf.astype(wide) for leaf in state)
  return _gated_chunk.step(cell, operands, params, state, x, reset)


def gated_scan(
  cell: GatedCell,
  params: GatedParams,
  state: Arrays,
  x: jax.Array,
  *,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
  scheme: str = "auto",
) -> tuple[jax.Array, Arrays]:
  """Runs a gated network over time.

  Time is cut into chunks. The inputs are projected chunk by chunk, so that the
  gates of the whole sequence are never stored; the gradient keeps the states
  between the chunks, recomputes inside each, and sums the gradients of the
  weights in matrix products over a chunk instead of one per step. It can be
  differentiated again, but not in forward mode.

  Args:
    cell: the pointwise functions; hashable, so make it once per module.
    params: weights.
    state: state before the first step, a tuple of (heads, batch, features)
      arrays; the first is the hidden state.
    x: (time, batch, inputs), time-major: the loop reads it without a copy.
    reset: (time, batch) bool; if True, the state is zeros before that step.
    chunk_size: steps in one chunk; chosen by the sizes if None.
    method: "sequential"; "unrolled", with fewer kernels on GPUs; "pallas", with
      kernels that keep the recurrent weights on the chip, on Hopper GPUs, for
      bfloat16 inputs and at most 512 features a head; or "auto".
    axis: name of the mesh axis over which time is split, for use inside
      `jax.shard_map`: x, reset and the hidden states are this device's chunk,
      the states those of the whole sequence, the same on all devices.
    scheme: exchange between devices, with `axis`; "auto" is the first that fits
      the number W of devices:

      batch: two all_to_alls, of the inputs and of the hidden states, from a
        split of time to one of the batch and back. A W-th of the time and
        memory. The exchange of head and sequence of Jacobs et al., "DeepSpeed
        Ulysses", arXiv:2309.14509, section 3, for the rows of a batch.
      heads: two all_to_alls, of the projected inputs and of the hidden states,
        from a split of time to one of the heads. A W-th of the time and memory.
      relay: devices wait for each other; W - 1 ppermutes of a state. No less
        time, a W-th of the memory. Each device then runs once more from the
        state that it received, all at the same time: turns store only states.

  Returns:
    The hidden states (time, heads, batch, features), in the dtype of x if that
    is narrower than float32, and the last state. Gates and states are float32
    or wider. For a narrow x the operands of products, including the hidden
    state and the weights, have its dtype; their sums are float32. Kernels on a
    GPU round the projected inputs as well.

  Raises:
    ValueError: if shapes do not fit together, or the scheme does not fit W.
    NotImplementedError: if a kernel is requested that does not exist for the
      platform, the dtype or the width.

  Source: the recurrence, Poeppel, Beck, Hochreiter, "FlashRNN", arXiv
  2412.07752.
  """
  _checks.floating(x=x)
  validate.shape("x", x, ("time", "batch", "inputs"))
  _check(params, state, x, reset)
  wide, operands, hidden = _dtypes(params, state, x)
  state = tuple(leaf.astype(wide) for leaf in state)

  validate.choice("method", method, METHODS)

  def loop(*arguments, method, chunk_size):
    kernel, scan = None, _gated_chunk.scan
    if method == "pallas":
      kernel = _kernel(wide, operands)
      scan = registry.find("gated", kernel.chip)
    unrolled = method == "unrolled"
    form = _gated_chunk.Form(chunk_size, operands, hidden, unrolled, kernel)
    return scan(cell, form, *arguments)

  def run(params, state, x, reset):
    time, (heads, rows, features) = x.shape[0], state[0].shape
    size = chunk_size
    if size is not None:
      size = min(validate.positive("chunk_size", size), time)
    return choice.by_platform(
      "gated",
      hidden if wide == jnp.float32 else wide,
      (rows, time, heads, features),
      loop,
      *(params, state, x, reset),
      method=method,
      chunk_size=size,
    )

  if axis is None:
    return run(params, state, x, reset)
  return _gated_sharded.scan(
    run, params, state, x.astype(operands), reset, axis, scheme
  )
