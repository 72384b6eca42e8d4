"""Gated networks with time split over devices, by turns or an exchange."""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _collectives
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _resets
from jaxseq.types import PyTree

SCHEMES = ("auto", "batch", "heads", "relay")


def scan(
  run: Callable[..., tuple[jax.Array, tuple[jax.Array, ...]]],
  params: PyTree,
  state: tuple[jax.Array, ...],
  x: jax.Array,
  reset: jax.Array | None,
  axis: str,
  scheme: str,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  """Runs `gated_scan` with checked arguments; `run` scans one chunk."""
  heads, batch, _ = state[0].shape
  chosen = choose(scheme, lax.axis_size(axis), batch, heads)
  params, state, x, reset = _prefix.vary(axis, params, tuple(state), x, reset)
  split = {"batch": _by_batch, "heads": _by_heads, "relay": _relay}[chosen]
  return split(run, params, state, x, reset, axis)


def choose(scheme: str, devices: int, batch: int, heads: int) -> str:
  """Returns the scheme for "auto", or the given one if it fits the sizes."""
  validate.choice("scheme", scheme, SCHEMES)
  sizes = {"batch": batch, "heads": heads}
  if scheme == "auto":
    fits = (name for name, size in sizes.items() if size % devices == 0)
    return next(fits, "relay")
  if scheme in sizes and sizes[scheme] % devices:
    noun = {"batch": "rows of the batch", "heads": "heads"}[scheme]
    raise validate.error(
      f"number of {noun}",
      sizes[scheme],
      f"a multiple of the {devices} devices for scheme {scheme!r}",
    )
  return scheme


def _by_batch(run, params, state, x, reset, axis):
  x, reset = (
    None if leaf is None else lax.all_to_all(leaf, axis, 1, 0, tiled=True)
    for leaf in (x, reset)
  )
  state = tuple(_collectives.own_slice(axis, leaf, 1) for leaf in state)
  hidden, final = run(params, state, x, reset)
  hidden = lax.all_to_all(hidden, axis, 0, 2, tiled=True)
  return hidden, _collectives.joined(axis, final, 1)


def _by_heads(run, params, state, x, reset, axis):
  heads, features, gates, _ = params.kernel.shape
  input_gates = params.input_bias.shape[0]
  time, batch, inputs = x.shape
  if params.input_kernel is not None:
    # All heads have the same inputs: devices exchange the projected ones.
    kernel = params.input_kernel.reshape(inputs, -1)
    # In float32 even for a narrow x: the inputs of gates are not rounded.
    x = _contractions.dense(x.reshape(-1, inputs), kernel, wide=True)
  x = x.reshape(time, batch, input_gates, heads, features)
  x = lax.all_to_all(x, axis, 3, 0, tiled=True)
  if reset is not None:
    reset = lax.all_gather(reset, axis, tiled=True)

  def own(bias):
    bias = bias.reshape(bias.shape[0], heads, features)
    return _collectives.own_slice(axis, bias, 1).reshape(bias.shape[0], -1)

  local = type(params)(
    None,
    own(params.input_bias),
    _collectives.own_slice(axis, params.kernel, 0),
    None if params.bias is None else own(params.bias),
  )
  state = tuple(_collectives.own_slice(axis, leaf, 0) for leaf in state)
  hidden, final = run(local, state, x.reshape(*x.shape[:2], -1), reset)
  hidden = lax.all_to_all(hidden, axis, 0, 1, tiled=True)
  return hidden, _collectives.joined(axis, final, 0)


def _relay(run, params, state, x, reset, axis):
  device = lax.axis_index(axis)

  # Recomputed, so that the gradient keeps one state per turn, and not the
  # residuals of a whole chunk of time.
  @jax.checkpoint
  def turn(state, number):
    def work(state):
      return run(params, state, x, reset)[1]

    # Only the device whose turn it is sends a state that another one uses.
    if _collectives.may_branch():
      after = lax.cond(device == number, work, lambda state: state, state)
    else:
      after = work(state)
    received = tuple(_collectives.shift(leaf, axis) for leaf in after)
    return _resets.select(device == number + 1, received, state), None

  turns = jnp.arange(lax.axis_size(axis) - 1)
  state, _ = lax.scan(turn, state, turns)
  hidden, final = run(params, state, x, reset)
  return hidden, _prefix.replicate_last(final, axis)
