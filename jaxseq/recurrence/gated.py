"""The recurrence of gated networks (GRU, LSTM and their relatives).

One step is a matrix product of the hidden state inside every head, followed by
pointwise functions. Everything else about such a network is the same for all of
them and lives here: the input projection, the loop, resets and the gradient.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq.recurrence import _checks
from jaxseq.recurrence import _resets
from jaxseq.recurrence._sharded import gated_schemes

Arrays = tuple[jax.Array, ...]

SCHEMES = gated_schemes.SCHEMES

# Elements of one gate's values in one chunk of time, and the fewest steps in a
# chunk. Measured on a CPU core, widths 64 and 256, batches 8 to 64: up to four
# times more is no faster and takes more memory.
_CHUNK_ELEMENTS = 2**15
_CHUNK_STEPS = 16


class GatedCell(NamedTuple):
  """The pointwise part of a gated recurrence and its derivative.

  Attributes:
    forward: `forward(inputs, recurrent, state) -> (state, saved)`, all of them
      tuples of arrays of one shape. `state[0]` is the hidden state, the one
      that is multiplied by the recurrent kernel. `saved` holds what `backward`
      needs.
    backward: `backward(saved, state, cotangent) -> (d_inputs, d_recurrent,
      d_state)` with the `state` that went into the step and the cotangent of
      the one that came out.
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


def to_heads(array: jax.Array, heads: int) -> jax.Array:
  """(..., batch, heads * features) to (..., heads, batch, features)."""
  if heads == 1:  # Moving an axis of length 1 makes compilers copy the array.
    return array[..., None, :, :]
  return jnp.moveaxis(array.reshape(*array.shape[:-1], heads, -1), -2, -3)


def from_heads(array: jax.Array) -> jax.Array:
  """(..., heads, batch, features) to (..., batch, heads * features)."""
  if array.shape[-3] == 1:
    return array[..., 0, :, :]
  array = jnp.moveaxis(array, -3, -2)
  return array.reshape(*array.shape[:-2], -1)


def _project(params: GatedParams, x: jax.Array) -> Arrays:
  """Input projections of a chunk, one array per gate.

  The loop over time wants the gates as arrays of their own: slices of one array
  inside the loop are not turned into vector code. The merged axes keep the
  gradient of the kernel a plain matrix product.
  """
  heads = params.kernel.shape[0]
  if params.input_kernel is None:
    return _with_bias(x, params)
  flat = x.reshape(-1, x.shape[-1])
  gates = (
    flat @ params.input_kernel[:, i] + bias
    for i, bias in enumerate(params.input_bias)
  )
  return tuple(to_heads(y.reshape(*x.shape[:-1], -1), heads) for y in gates)


def _with_bias(products, params):
  """From all gates' products one array per gate, with its bias."""
  parts = jnp.split(products, len(params.input_bias), -1)
  heads = params.kernel.shape[0]
  return tuple(to_heads(x + b, heads) for x, b in zip(parts, params.input_bias))


def _recurrent(params: GatedParams, hidden: jax.Array) -> Arrays:
  """R h + b of one step, one array per gate; `hidden` is (heads, batch, f)."""
  heads, features, gates, _ = params.kernel.shape
  # One product for all gates, heads leading: the layout in which compilers
  # find a plain (batched) matrix product.
  product = jnp.einsum(
    "hbi,hio->hbo", hidden, params.kernel.reshape(heads, features, -1)
  )
  split = jnp.split(product, gates, -1)
  if params.bias is None:
    return tuple(split)
  bias = params.bias.reshape(gates, heads, 1, features)
  return tuple(part + bias[i] for i, part in enumerate(split))


def _zeros_like(tree):
  return jax.tree.map(jnp.zeros_like, tree)


def _run_chunk(cell, params, state, x, reset, *, keep=False):
  """The loop over one chunk; with `keep` also what its reverse loop needs."""

  def body(state, element):
    inputs, reset_t = element
    if reset_t is not None:
      state = _resets.select(reset_t[None], _zeros_like(state), state)
    new, saved = cell.forward(inputs, _recurrent(params, state[0]), state)
    return new, (new[0], (state, saved) if keep else None)

  return lax.scan(body, state, (_project(params, x), reset))


def _unrolled_step(cell, params, state, x, reset):
  """One step, without a loop."""
  if reset is not None:
    state = _resets.select(reset[None], _zeros_like(state), state)
  inputs, gates, width = params.input_kernel.shape
  # One product, no copies of parts of the kernel: this may stand in a loop.
  product = x @ params.input_kernel.reshape(inputs, gates * width)
  projected = _with_bias(product, params)
  new, _ = cell.forward(projected, _recurrent(params, state[0]), state)
  return new


def _pull_chunk(cell, params, state, x, reset, d_hidden, d_state):
  """Cotangents of one chunk: of the state before it, its x and the weights."""
  _, (_, (before, saved)) = _run_chunk(cell, params, state, x, reset, keep=True)
  heads, features, gates, _ = params.kernel.shape
  kernel = params.kernel.reshape(heads, features, -1)
  slots = []  # Where each cotangent is stored; filled when `body` is traced.

  def body(d_state, element):
    d_hidden_t, before_t, saved_t, reset_t = element
    d_state = (d_state[0] + d_hidden_t, *d_state[1:])
    d_inputs, d_recurrent, d_state = cell.backward(saved_t, before_t, d_state)
    through = jnp.einsum(
      "hbo,hio->hbi", jnp.concatenate(d_recurrent, -1), kernel
    )
    d_state = (d_state[0] + through, *d_state[1:])
    if reset_t is not None:
      d_state = _resets.select(reset_t[None], _zeros_like(d_state), d_state)
    # Gates without a product between have one cotangent for both sides.
    distinct = {id(leaf): leaf for leaf in (*d_inputs, *d_recurrent)}
    order = list(distinct)
    slots[:] = [order.index(id(leaf)) for leaf in (*d_inputs, *d_recurrent)]
    return d_state, tuple(distinct.values())

  d_state, stacked = lax.scan(
    body, d_state, (d_hidden, before, saved, reset), reverse=True
  )
  d_gates = tuple(stacked[slot] for slot in slots)
  d_inputs, d_recurrent = d_gates[:-gates], d_gates[-gates:]
  _, pull = jax.vjp(_project, params, x)
  d_params, d_x = pull(d_inputs)
  # The gradient of the kernel in one product per gate, not one per step.
  d_kernel = jnp.stack([_outer_sum(before[0], leaf) for leaf in d_recurrent], 2)
  d_params = d_params._replace(kernel=d_kernel)
  if params.bias is not None:
    d_params = d_params._replace(
      bias=jnp.stack([leaf.sum((0, 2)).reshape(-1) for leaf in d_recurrent])
    )
  return d_state, d_x, d_params


def _outer_sum(left: jax.Array, right: jax.Array) -> jax.Array:
  """sum_tb left[t,h,b,i] right[t,h,b,j]; returns (heads, i, j)."""
  if left.shape[1] == 1:
    # With two summed axes the compiler would transpose first: merge them.
    left = left.reshape(-1, left.shape[-1])
    return (left.T @ right.reshape(-1, right.shape[-1]))[None]
  return jnp.einsum("thbi,thbj->hij", left, right)


def _split_time(tree, first: int, chunk: int):
  """Splits time into `first` steps and a leading axis of whole chunks."""
  head = jax.tree.map(lambda leaf: leaf[:first], tree)
  rest = jax.tree.map(
    lambda leaf: leaf[first:].reshape(-1, chunk, *leaf.shape[1:]), tree
  )
  return head, rest


def _run(cell, chunk, params, state, x, reset):
  """Returns hidden states, the last state and the states before the chunks."""
  first = x.shape[0] % chunk
  head, rest = _split_time((x, reset), first, chunk)
  parts, bounds = [], [state, None]
  if first:
    state, (hidden, _) = _run_chunk(cell, params, state, *head)
    parts.append(hidden)
  if first < x.shape[0]:

    def body(state, element):
      new, (hidden, _) = _run_chunk(cell, params, state, *element)
      return new, (hidden, state)

    state, (hidden, bounds[1]) = lax.scan(body, state, rest)
    parts.append(hidden.reshape(-1, *hidden.shape[2:]))
  hidden = jnp.concatenate(parts) if len(parts) > 1 else parts[0]
  return hidden, state, tuple(bounds)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gated_scan(cell, chunk, params, state, x, reset):
  hidden, final, _ = _run(cell, chunk, params, state, x, reset)
  return hidden, final


def _gated_scan_forward(cell, chunk, params, state, x, reset):
  hidden, final, bounds = _run(cell, chunk, params, state, x, reset)
  return (hidden, final), (params, x, reset, bounds)


def _gated_scan_backward(cell, chunk, residuals, cotangents):
  """Goes back chunk by chunk, recomputing inside each from its first state."""
  params, x, reset, (first_state, states) = residuals
  d_hidden, d_state = cotangents
  first = x.shape[0] % chunk
  head, rest = _split_time((x, reset, d_hidden), first, chunk)
  d_params, parts = _zeros_like(params), []
  if first < x.shape[0]:

    def body(carry, element):
      d_state, d_params = carry
      state, inputs = element
      d_state, d_x, update = _pull_chunk(cell, params, state, *inputs, d_state)
      return (d_state, jax.tree.map(jnp.add, d_params, update)), d_x

    (d_state, d_params), d_x = lax.scan(
      body, (d_state, d_params), (states, rest), reverse=True
    )
    parts.append(d_x.reshape(-1, *d_x.shape[2:]))
  if first:
    pulled = _pull_chunk(cell, params, first_state, *head, d_state)
    d_state, d_x, update = pulled
    d_params = jax.tree.map(jnp.add, d_params, update)
    parts.insert(0, d_x)
  d_x = jnp.concatenate(parts) if len(parts) > 1 else parts[0]
  return d_params, d_state, d_x, None


_gated_scan.defvjp(_gated_scan_forward, _gated_scan_backward)


def _check(params: GatedParams, state: Arrays, x: jax.Array, reset):
  """Raises ValueError unless the shapes fit together."""
  shape = jnp.shape(params.kernel)
  if len(shape) != 4 or shape[1] != shape[3]:
    raise _validate.error(
      "params.kernel", f"shape {shape}", "(heads, features, gates, features)"
    )
  heads, features, gates, _ = shape
  width = heads * features
  if params.input_kernel is None:
    input_gates = x.shape[-1] // width
    if x.shape[-1] != input_gates * width:
      expected = f"a multiple of {width} features without params.input_kernel"
      raise _validate.error("x", f"shape {x.shape}", expected)
  else:
    expected = x.shape[-1], "input gates", width
    _, input_gates, _ = _validate.shape(
      "params.input_kernel", params.input_kernel, expected
    )
  _validate.shape("params.input_bias", params.input_bias, (input_gates, width))
  _checks.shape("params.bias", params.bias, (gates, width))
  for leaf in state:
    _validate.shape("state", leaf, (heads, x.shape[-2], features))
  _checks.reset(reset, x.shape[:-1])


def gated_step(
  cell: GatedCell,
  params: GatedParams,
  state: Arrays,
  x: jax.Array,
  *,
  reset: jax.Array | None = None,
) -> Arrays:
  """One step of `gated_scan`.

  Args:
    cell: the pointwise functions.
    params: weights, with an input kernel.
    state: tuple of (heads, batch, features) arrays; the first is the hidden
      state.
    x: (batch, inputs).
    reset: (batch,) bool; where True the state is zeros before the step.

  Returns:
    The state after the step.

  Raises:
    ValueError: if shapes do not fit together.
  """
  _validate.shape("x", x, ("batch", "inputs"))
  _check(params, state, x, reset)
  return _unrolled_step(cell, params, state, x, reset)


def gated_scan(
  cell: GatedCell,
  params: GatedParams,
  state: Arrays,
  x: jax.Array,
  *,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
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
    params: weights, all of one floating dtype, as are `state` and `x`.
    state: state before the first step, a tuple of (heads, batch, features)
      arrays; the first is the hidden state.
    x: (time, batch, inputs), time-major: the loop reads it without a copy.
    reset: (time, batch) bool; where True the state is zeros before that step.
    chunk_size: steps in one chunk; chosen by the sizes if None.
    axis: name of the mesh axis over which time is split, for use inside
      `jax.shard_map`: x, reset and the hidden states are this device's chunk,
      the states those of the whole sequence, the same on all devices.
    scheme: what devices exchange, with `axis`; "auto" is the first that fits
      the number W of devices:

      batch: two all_to_alls, of the inputs and of the hidden states, from a
        split of time to one of the batch and back. A W-th of the time and
        memory. The exchange of head and sequence of Jacobs et al., "DeepSpeed
        Ulysses", arXiv:2309.14509, section 3, for the rows of a batch.
      heads: two all_to_alls, of the projected inputs and of the hidden states,
        from a split of time to one of the heads. A W-th of the time and memory.
      relay: devices wait for each other; W - 1 ppermutes of a state. No less
        time, a W-th of the memory. Each device then runs once more from the
        state that it received, all at once: the turns keep nothing but states.

  Returns:
    The hidden states (time, heads, batch, features) and the last state.

  Raises:
    ValueError: if shapes do not fit together, or the scheme does not fit W.

  Source: the recurrence, Poeppel, Beck, Hochreiter, "FlashRNN", arXiv
  2412.07752.
  """
  _validate.shape("x", x, ("time", "batch", "inputs"))
  _check(params, state, x, reset)
  if axis is not None:

    def run(params, state, x, reset):
      return gated_scan(
        cell, params, state, x, reset=reset, chunk_size=chunk_size
      )

    return gated_schemes.scan(run, params, state, x, reset, axis, scheme)
  if chunk_size is None:
    width = max(1, state[0].size)
    chunk_size = max(_CHUNK_STEPS, _CHUNK_ELEMENTS // width)
  chunk_size = min(_validate.positive("chunk_size", chunk_size), x.shape[0])
  return _gated_scan(cell, chunk_size, params, tuple(state), x, reset)
