"""Thin keys of attention: a pruned cache after a prompt, and steps from it.

While a prompt is read, `Observed` keeps the squares of its last queries beside
attention's own state. `thin` then drops the channels of its keys that are least
important for these queries, see `recurrence.thin_window`; a `Thin` state is
narrower, and steps continue from it:

    state = thin_keys.observe(config, attention.initial_state(config))
    y, state = thin_keys.apply(config, params, prompt, state)
    state = thin_keys.thin(state, kept=10, whole=128)
    y, state = thin_keys.step(config, params, x, state)

`nn.SequenceMixer` uses these functions instead of attention's for such states.
Keys are stored rotated by their positions, as in the authors' code: dropped
channels are channels of rotated keys.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import positions
from jaxseq.mixers.keys_and_values import _heads
from jaxseq.mixers.keys_and_values import attention
from jaxseq.types import PyTree

Thin = recurrence.ThinWindow

# Number of queries that decide, and of keys before these that keep all
# channels; both are from the authors' configuration.
RECENT = 32


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["window", "squares"],
  meta_fields=["config"],
)
@dataclasses.dataclass(frozen=True)
class Observed:
  """Attention's state while a prompt is read.

  Attributes:
    window: its own state.
    squares: (*batch, queries, groups, D), squares of the last queries with
      their positions, summed over the heads that share keys.
    config: options of the layer.
  """

  window: recurrence.WindowState
  squares: jax.Array
  config: attention.Config


def check(config: attention.Config) -> None:
  """Raises ValueError if keys of such a layer cannot be thin."""
  for name, fits, expected in (
    ("positions", config.positions != "relative", "'rotary' or 'none'"),
    ("select", config.select == "all", "'all'"),
    ("key_format", config.key_format is None, "None"),
    ("bidirectional", not config.bidirectional, "False"),
    ("forget_gate", config.forget_gate == "none", "'none'"),
    ("key_shift", not config.key_shift, "False"),
    ("value_shift", not config.value_shift, "False"),
    ("output_norm", not config.output_norm, "False"),
  ):
    if not fits:
      expected = f"{expected} for thin keys"
      raise contract.error(name, getattr(config, name), expected)


def observe(
  config: attention.Config,
  state: recurrence.WindowState,
  queries: int = RECENT,
) -> Observed:
  """Returns the state that reads a prompt.

  Args:
    config: options of the layer.
    state: its own state before the prompt.
    queries: number of the last queries that will count.

  Raises:
    ValueError: if keys of such a layer cannot be thin.
  """
  check(config)
  *batch, _, groups, width = state.keys.shape
  shape = *batch, queries, groups, width
  return Observed(state, jnp.zeros(shape, state.keys.dtype), config)


def thin(state: Observed, kept: int, whole: int, recent: int = RECENT) -> Thin:
  """Drops the channels that matter least to the last queries.

  Args:
    state: state after the prompt.
    kept: number of channels that each head's keys keep.
    whole: number of the last keys that have room for all channels.
    recent: number of the prompt's last keys that keep all channels.

  Raises:
    ValueError: see `recurrence.thin_window`.
  """
  config = state.config
  turn = _heads.turning(config, config.turned)
  options = kept, whole, recent
  return recurrence.thin_window(
    state.window, state.squares, *options, embed=turn
  )


def apply(
  config: attention.Config,
  params: contract.Params,
  x: jax.Array,
  state: Observed | Thin,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
  **options: Any,
) -> tuple[jax.Array, Observed | Thin]:
  """Runs attention over a sequence, (*batch, time, d_model).

  After thin keys, elements are read one after the other.

  Args:
    config: options of the layer.
    params: its parameters.
    x: (*batch, time, d_model).
    state: state before the first element.
    reset: (*batch, time) bool, or None.
    axis: None: time is not split over devices.
    **options: options of `attention.apply`, while a prompt is read.

  Returns:
    y of x's shape and dtype, and the state after the last element.

  Raises:
    ValueError: if time is split over devices.
  """
  if axis is not None:
    raise contract.error("axis", axis, "None with thin keys")
  if isinstance(state, Observed):
    arguments = config, params, x, state.window, reset
    y, window = attention.apply(*arguments, **options)
    squares = _squares(config, params, x, state.squares, window.length)
    return y, dataclasses.replace(state, window=window, squares=squares)

  q, k, v = _heads.normed(config, params, _heads.project(params, x))
  q = _heads.scaled(config, q)
  turn = _heads.turning(config, config.turned)
  if turn is not None:
    place, _ = positions.since_reset(state.length, reset, x.shape[-2])
    q, k = turn(q, place), turn(k, place)
  o, state = recurrence.thin_window_attention(q, k, v, state, reset)
  o = _heads.gated(config, params, x, o)
  return contract.project(params, "W_o", o).astype(x.dtype), state


def step(
  config: attention.Config,
  params: contract.Params,
  x: jax.Array,
  state: Observed | Thin,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, Observed | Thin]:
  """Runs attention over one element; `apply` without the time axis."""
  return contract.one_element(apply, config, params, x, state, reset)


def plain(state: PyTree) -> Any:
  """Returns a state with the structure of attention's own state.

  Only its structure is used; arrays of thin keys are not restored.
  """
  if isinstance(state, Observed):
    return state.window
  if isinstance(state, Thin):
    return recurrence.WindowState(state.keys, state.values, state.length)
  return state


def is_state(value: object) -> bool:
  """Returns whether these functions go on from a value."""
  return isinstance(value, Observed | Thin)


def _squares(config, params, x, squares, length):
  """Squares of the last queries after those of x; `length` after x."""
  count = squares.shape[-3]
  x = x[..., -count:, :]
  q, _, _ = _heads.normed(config, params, _heads.project(params, x))
  index = length[..., None] - x.shape[-2] + jnp.arange(x.shape[-2])
  turn = _heads.turning(config, config.turned)
  if turn is not None:
    q = turn(q, jnp.maximum(index, 0))
  q = q.astype(squares.dtype)
  q = q.reshape(*x.shape[:-1], config.groups, -1, config.head_width)
  squares = jnp.concatenate([squares, jnp.sum(q * q, axis=-2)], axis=-3)
  squares = squares[..., -count:, :, :]
  # Queries of an earlier episode do not count.
  index = length[..., None] - count + jnp.arange(count)
  return jnp.where((index >= 0)[..., None, None], squares, 0)
