"""Gated networks with time split over the devices of a mesh axis.

Their recurrence is not associative: there is no prefix to combine. Devices can
take turns, or exchange the split of time for a split of what is independent:
the rows of the batch, or the heads of a block-diagonal recurrence.
"""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence import collectives
from jaxseq.recurrence import gated
from jaxseq.recurrence import resets
from jaxseq.recurrence import sharded_exchange

SCHEMES = ("auto", "batch", "heads", "relay")


def sharded_gated_scan(
  cell: gated.GatedCell,
  params: gated.GatedParams,
  state: gated.Arrays,
  x: jax.Array,
  *,
  axis: str,
  scheme: str = "auto",
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
) -> tuple[jax.Array, gated.Arrays]:
  """Runs a gated network over time that is split over devices.

  For use inside `jax.shard_map`; device i of W holds the i-th of equally long,
  contiguous chunks of time. Schemes, with how they compare to one device:

    batch: two all_to_alls, of the inputs and of the hidden states, from a split
      of time to one of the batch and back. A W-th of the time and memory. The
      exchange of head and sequence of Jacobs et al., "DeepSpeed Ulysses",
      arXiv:2309.14509, section 3, for the rows of a batch.
    heads: two all_to_alls, of the projected inputs and of the hidden states,
      from a split of time to one of the heads. A W-th of the time and memory.
    relay: devices wait for each other; W - 1 ppermutes of a state. No less
      time, a W-th of the memory. Each device then runs once more from the state
      that it received, all at once: the turns keep nothing but states.

  Args:
    cell: the pointwise functions.
    params: weights, the same on every device.
    state: state before the first step of the whole sequence, the same on every
      device: a tuple of (heads, batch, features) arrays.
    x: (time, batch, inputs), this device's chunk.
    axis: name of the mesh axis.
    scheme: one of the above, or "auto": the first of them that W fits.
    reset: (time, batch) bool; where True the state is zeros before that step.
    chunk_size: as in `gated_scan`.

  Returns:
    The hidden states of this device's chunk, (time, heads, batch, features),
    and the state after the last step of the whole sequence, the same on every
    device.

  Raises:
    ValueError: if shapes do not fit together, or the scheme does not fit W.
  """
  # Checked before anything moves: messages show the caller's shapes.
  gated.check_scan(params, state, x, reset)
  heads, batch, _ = state[0].shape
  chosen = choose(scheme, lax.axis_size(axis), batch, heads)
  params, state, x, reset = sharded_exchange.vary(
    axis, params, tuple(state), x, reset
  )
  run = {"batch": _by_batch, "heads": _by_heads, "relay": _relay}[chosen]

  def scan(params, state, x, reset):
    return gated.gated_scan(
      cell, params, state, x, reset=reset, chunk_size=chunk_size
    )

  return run(scan, params, state, x, reset, axis)


def check_scheme(scheme: str) -> None:
  """Raises ValueError unless there is such a scheme."""
  if scheme not in SCHEMES:
    raise ValueError(f"scheme must be one of {SCHEMES}; got {scheme!r}.")


def choose(scheme: str, devices: int, batch: int, heads: int) -> str:
  """Returns the scheme that "auto" stands for, and checks any other.

  Args:
    scheme: one of `SCHEMES`.
    devices: number of devices.
    batch: number of rows of the batch.
    heads: number of heads.

  Returns:
    "batch", "heads" or "relay".

  Raises:
    ValueError: if there is no such scheme, or it does not fit the numbers.
  """
  check_scheme(scheme)
  sizes = {"batch": batch, "heads": heads}
  if scheme == "auto":
    fits = (name for name, size in sizes.items() if size % devices == 0)
    return next(fits, "relay")
  if scheme in sizes and sizes[scheme] % devices:
    what = {"batch": "rows of the batch", "heads": "heads"}[scheme]
    raise ValueError(
      f"scheme {scheme!r} needs a number of {what} that is a multiple of the "
      f"number of devices; got {sizes[scheme]} and {devices} devices."
    )
  return scheme


def _by_batch(scan, params, state, x, reset, axis):
  x, reset = (
    None if leaf is None else lax.all_to_all(leaf, axis, 1, 0, tiled=True)
    for leaf in (x, reset)
  )
  state = tuple(collectives.own_slice(axis, leaf, 1) for leaf in state)
  hidden, final = scan(params, state, x, reset)
  hidden = lax.all_to_all(hidden, axis, 0, 2, tiled=True)
  return hidden, collectives.joined(axis, final, 1)


def _by_heads(scan, params, state, x, reset, axis):
  heads, features, gates, _ = params.kernel.shape
  inputs, input_gates, width = params.input_kernel.shape
  time, batch, _ = x.shape
  # All heads use the same inputs: exchanged is what each makes of them.
  kernel = params.input_kernel.reshape(inputs, input_gates * width)
  x = (x.reshape(-1, inputs) @ kernel).reshape(
    time, batch, input_gates, heads, features
  )
  x = lax.all_to_all(x, axis, 3, 0, tiled=True)
  if reset is not None:
    reset = lax.all_gather(reset, axis, tiled=True)

  def own(bias):
    bias = bias.reshape(bias.shape[0], heads, features)
    return collectives.own_slice(axis, bias, 1).reshape(bias.shape[0], -1)

  local = gated.GatedParams(
    None,
    own(params.input_bias),
    collectives.own_slice(axis, params.kernel, 0),
    None if params.bias is None else own(params.bias),
  )
  state = tuple(collectives.own_slice(axis, leaf, 0) for leaf in state)
  hidden, final = scan(local, state, x.reshape(*x.shape[:2], -1), reset)
  hidden = lax.all_to_all(hidden, axis, 0, 1, tiled=True)
  return hidden, collectives.joined(axis, final, 0)


def _relay(scan, params, state, x, reset, axis):
  own = lax.axis_index(axis)

  # Recomputed, so that the gradient keeps one state per turn and not what a
  # whole chunk of time leaves behind.
  @jax.checkpoint
  def turn(state, number):
    def work(state):
      return scan(params, state, x, reset)[1]

    # What a device sends whose turn it is not, nobody takes.
    if collectives.may_branch():
      after = lax.cond(own == number, work, lambda state: state, state)
    else:
      after = work(state)
    received = tuple(collectives.shift(leaf, axis) for leaf in after)
    return resets.select(own == number + 1, received, state), None

  turns = jnp.arange(lax.axis_size(axis) - 1)
  state, _ = lax.scan(turn, state, turns)
  hidden, final = scan(params, state, x, reset)
  return hidden, sharded_exchange.replicate_last(final, axis)
