"""Causal depthwise convolution over the elements routed to a memory.

  y_t = sum_j weight[j] x_{s(t, width - 1 - j)}

with s(t, n) the n-th routed element before t, and s(t, 0) = t: neighbors are
adjacent in the order of the memory that they are routed to, and not in time.
The other elements do not enter the window, and have outputs of 0. These are the
short convolutions of Mixture-of-Memories (arXiv:2502.13685), whose memories are
a batch axis here.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _recent
from jaxseq.recurrence.shared import _resets


def routed_conv(
  x: jax.Array,
  weight: jax.Array,
  window: jax.Array,
  routed: jax.Array,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Convolves the routed elements of a sequence.

  Nothing is sorted: running maxima find the previous routed elements, and the
  gradient gathers like the outputs.

  Args:
    x: (*batch, time, channels) inputs, floating, time at least 1.
    weight: (width, channels); the last row multiplies the present element.
    window: (*batch, width - 1, channels), the last routed inputs before the
      first element, oldest first; zeros for a fresh sequence.
    routed: (*batch, time) bool.
    reset: (*batch, time) bool; if true, all inputs before that element count as
      zero from there on.
    axis: name of the mesh axis over which time is split, or None. x, routed and
      reset are this device's chunk; window, here and as a result, belongs to
      the whole sequence and is the same on all devices. Devices exchange the
      last width - 1 routed elements of each chunk, or as many as it has.

  Returns:
    y (*batch, time, channels) and the window after the last element, both in
    the common dtype of x and window, at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = jnp.asarray(x)
  validate.shape("x", x, ("*batch", "time", "channels"))
  dtype = _check(x, weight, window, routed, reset)
  x, weight, window = (y.astype(dtype) for y in (x, weight, window))

  def last(window):
    return _last(_order(x, window, routed, reset), window.shape[-2])

  def run(window):
    order = _order(x, window, routed, reset)
    return _outputs(order, weight, routed), _last(order, window.shape[-2])[0]

  if axis is None:
    return run(window)
  through = None if reset is None else ~jnp.any(reset, axis=-1)
  return _recent.split(run, last, window, through, axis=axis)


def routed_conv_step(
  x: jax.Array,
  weight: jax.Array,
  window: jax.Array,
  routed: jax.Array,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Consumes one element; `routed_conv` without the time axis.

  Args:
    x: (*batch, channels) input.
    weight: (width, channels).
    window: (*batch, width - 1, channels), oldest first.
    routed: (*batch,) bool.
    reset: (*batch,) bool or None.

  Returns:
    y (*batch, channels) and the window after the element.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = jnp.asarray(x)
  validate.shape("x", x, ("*batch", "channels"))
  dtype = _check(x, weight, window, routed, reset, step=True)
  x, weight, window = (y.astype(dtype) for y in (x, weight, window))
  if reset is not None:
    window = _resets.select(reset, jnp.zeros_like(window), window)
  seen = jnp.concatenate([window, x[..., None, :]], axis=-2)
  y = _resets.forget(~routed, jnp.sum(weight * seen, axis=-2))
  return y, _resets.select(routed, seen[..., 1:, :], window)


def _check(x, weight, window, routed, reset, step=False):
  """Checks shapes; returns the dtype to compute in."""
  lead = x.shape[:-1]
  batch = lead if step else lead[:-1]
  _checks.floating(x=x)
  width, _ = validate.shape("weight", weight, ("width", x.shape[-1]))
  validate.shape("window", window, (*batch, width - 1, x.shape[-1]))
  for name, flags in (("routed", routed), ("reset", reset)):
    _checks.flags(name, flags, lead)
  return jnp.result_type(x.dtype, window, jnp.float32)


class _Order(NamedTuple):
  """A window followed by x as one sequence of n places."""

  entries: jax.Array  # (*batch, n, channels)
  marks: jax.Array  # (*batch, n), routed; true in the window
  episode: jax.Array | None  # (*batch, n), 0 in the window
  # The previous marked place of each place and of the end, (*batch, n + 1), or
  # 0; and the next marked place of each place, (*batch, n), or n.
  before: jax.Array
  after: jax.Array


def _order(x, window, routed, reset):
  entries = jnp.concatenate([window, x], axis=-2)
  batch, count = routed.shape[:-1], window.shape[-2]
  held = jnp.ones_like(routed, shape=(*batch, count))
  marks = jnp.concatenate([held, routed], axis=-1)
  episode = None
  if reset is not None:
    episode = jnp.cumsum(reset, axis=-1, dtype=jnp.int32)
    earliest = jnp.zeros_like(episode, shape=held.shape)
    episode = jnp.concatenate([earliest, episode], axis=-1)
  size, axis = marks.shape[-1], marks.ndim - 1
  place = jnp.arange(size)
  before = lax.cummax(jnp.where(marks, place, 0), axis=axis)
  first = jnp.zeros_like(before[..., :1])
  before = jnp.concatenate([first, before], axis=-1)
  after = lax.cummin(jnp.where(marks, place, size), axis=axis, reverse=True)
  after = jnp.concatenate([after[..., 1:], first + size], axis=-1)
  return _Order(entries, marks, episode, before, after)


def _outputs(order, weight, routed):
  """Outputs of `routed_conv`."""
  count, size = weight.shape[0] - 1, order.marks.shape[-1]
  y = weight[-1] * order.entries[..., count:, :]
  back = jnp.broadcast_to(jnp.arange(count, size), routed.shape)
  ahead = jnp.broadcast_to(jnp.arange(size), order.marks.shape)
  marks = order.marks
  for lag in range(1, weight.shape[0]):
    back, ahead = _take(order.before, back), _take(order.after, ahead)
    marks = marks & (ahead < size)
    ahead = jnp.minimum(ahead, size - 1)
    past = _moved(order.entries, back, ahead - count, marks)
    if order.episode is not None:
      other = _take(order.episode, back) != order.episode[..., count:]
      past = _resets.forget(other, past)
    y = y + weight[count - lag] * past
  return _resets.forget(~routed, y)


def _last(order, count):
  """The last routed elements, and how many are from x and its last episode."""
  end = jnp.full_like(order.before[..., :1], order.marks.shape[-1])
  places = []
  for _ in range(count):
    end = _take(order.before, end)
    places.append(end)
  index = jnp.concatenate([end[..., :0], *places[::-1]], axis=-1)
  entries = jnp.take_along_axis(order.entries, index[..., None], axis=-2)
  marks = index >= count
  if order.episode is not None:
    other = _take(order.episode, index) != order.episode[..., -1:]
    entries, marks = _resets.forget(other, entries), marks & ~other
  return entries, jnp.sum(marks, axis=-1, dtype=jnp.int32)


def _take(values, index):
  return jnp.take_along_axis(values, index, axis=-1)


@jax.custom_vjp
def _moved(x, back, ahead, marks):
  """Gathers entries (*batch, n, channels) at places `back` (*batch, time)."""
  del ahead, marks
  return jnp.take_along_axis(x, back[..., None], axis=-2)


def _moved_forward(x, back, ahead, marks):
  return _moved(x, back, ahead, marks), (ahead, marks)


def _moved_backward(residuals, g):
  ahead, marks = residuals
  # Places of the window's entries are below 0.
  index = jnp.maximum(ahead, 0)[..., None]
  dx = jnp.take_along_axis(g, index, axis=-2)
  return _resets.forget(~marks | (ahead < 0), dx), None, None, None


_moved.defvjp(_moved_forward, _moved_backward)
