"""Causal depthwise convolution over time whose state is the last inputs.

  y_t = bias + sum_j weight[j] x_{t - width + 1 + j}

An element sees itself and the width - 1 elements before it, in each channel
separately. Inputs before a reset, and before a fresh sequence, count as zero.
Short convolutions of this kind precede the recurrence in H3 (arXiv:2212.14052),
Mamba (arXiv:2312.00752) and Mamba-2 (arXiv:2405.21060).
"""

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _halo
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _varying


def causal_conv(
  x: jax.Array,
  weight: jax.Array,
  bias: jax.Array | None,
  window: jax.Array,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Convolves a sequence.

  Args:
    x: (*batch, time, channels) inputs, floating, time at least 1.
    weight: (width, channels); the last row multiplies the present element. The
      weight (channels, 1, width) of a `torch.nn.Conv1d` is the transpose.
    bias: (channels,) or None.
    window: (*batch, width - 1, channels), the inputs before the first element,
      oldest first; zeros for a fresh sequence.
    reset: (*batch, time) bool; if true, all inputs before that element count as
      zero from there on.
    axis: name of the mesh axis over which time is split, or None. x and reset
      are this device's chunk; window, here and as a result, belongs to the
      whole sequence and is the same on all devices. Earlier inputs come in one
      `ppermute`, or in one for each chunk that they are from.

  Returns:
    y (*batch, time, channels) and the window after the last element, both in
    the common dtype of x and window, at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = jnp.asarray(x)
  validate.shape("x", x, ("*batch", "time", "channels"))
  dtype = _check(x, weight, bias, window, x.shape[:-2])
  _checks.reset(reset, x.shape[:-1])
  width = weight.shape[0]
  if axis is not None and width > 1:
    window = _arriving(x.astype(dtype), window.astype(dtype), reset, axis)
  weight = weight.astype(dtype)
  cut = _cut(reset, width)
  window = window.astype(dtype)
  if x.dtype == dtype:
    y, window = _convolve(x, weight, window, cut)
  else:
    # This custom derivative gives cotangents that vary over devices as y does.
    same = _varying.vary_as(x, weight)
    y = _convolve_narrow(x, same, window, cut)
    window = _last(x, window)
  if bias is not None:
    y = y + bias.astype(dtype)
  if cut is not None and width > 1:
    # The newest entry has lag 0 from the last element.
    lags = [cut[lag][..., -1] for lag in reversed(range(width - 1))]
    window = _resets.forget(jnp.stack(lags, axis=-1), window)
  if axis is not None and width > 1:
    window = _prefix.replicate_last(window, axis)
  return y, window


def _convolve(x, weight, window, cut):
  """Outputs without bias, and the last elements, without resets applied."""
  width, time = weight.shape[0], x.shape[-2]
  padded = jnp.concatenate([window, x.astype(window.dtype)], axis=-2)
  y = None
  for lag in reversed(range(width)):
    start = width - 1 - lag
    past = padded[..., start : start + time, :]
    if cut is not None and lag:
      past = _resets.forget(cut[lag], past)
    term = weight[start] * past
    y = term if y is None else y + term
  return y, padded[..., time:, :]


def _last(x, window):
  """The last elements of window and x together, as many as the window has."""
  time, count = x.shape[-2], window.shape[-2]
  new = x[..., max(0, time - count) :, :].astype(window.dtype)
  return jnp.concatenate([window[..., min(time, count) :, :], new], axis=-2)


@jax.custom_vjp
def _convolve_narrow(x, weight, window, cut):
  """Outputs of `_convolve` in float32, for narrower x."""
  return _convolve(x, weight, window, cut)[0]


def _convolve_narrow_forward(x, weight, window, cut):
  return _convolve_narrow(x, weight, window, cut), (x, weight, window, cut)


def _convolve_narrow_backward(residuals, g):
  x, weight, window, cut = residuals
  width, (*_, time, _) = weight.shape[0], x.shape
  g, wide = g.astype(x.dtype), g.dtype
  dx, rows = None, []
  for lag in reversed(range(width)):
    seen = g
    if cut is not None and lag:
      seen = _resets.forget(cut[lag], g)
    row = jnp.zeros_like(weight, shape=weight.shape[1:])
    if lag < time:
      past = _shifted(x, lag).astype(wide) * seen.astype(wide)
      row = jnp.sum(past, axis=tuple(range(x.ndim - 1)))
      term = weight[width - 1 - lag] * _shifted(seen, -lag).astype(wide)
      dx = term if dx is None else dx + term
    rows.append(row)
  d_weight, d_window = jnp.stack(rows), jnp.zeros_like(window)
  count = min(width - 1, time)
  if count:
    # Contributions of the window to the first elements.
    begin = None if cut is None else [flags[..., :count] for flags in cut]
    nothing = jnp.zeros_like(x[..., :count, :])
    _, pull = jax.vjp(
      lambda *args: _convolve(nothing, *args, begin)[0], weight, window
    )
    more, d_window = pull(g[..., :count, :].astype(wide))
    d_weight += more
  return dx.astype(x.dtype), d_weight, d_window, None


_convolve_narrow.defvjp(_convolve_narrow_forward, _convolve_narrow_backward)


def _shifted(x, steps):
  """Shifts the axis before the last by `steps` later; zeros enter."""
  widths = [(0, 0, 0)] * (x.ndim - 2) + [(steps, -steps, 0), (0, 0, 0)]
  return jax.lax.pad(x, jnp.zeros((), x.dtype), widths)


def causal_conv_step(
  x: jax.Array,
  weight: jax.Array,
  bias: jax.Array | None,
  window: jax.Array,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Consumes one element; `causal_conv` without the time axis.

  Args:
    x: (*batch, channels) input.
    weight: (width, channels).
    bias: (channels,) or None.
    window: (*batch, width - 1, channels), oldest first.
    reset: (*batch,) bool or None.

  Returns:
    y (*batch, channels) and the window after the element.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = jnp.asarray(x)
  validate.shape("x", x, ("*batch", "channels"))
  dtype = _check(x, weight, bias, window, x.shape[:-1])
  _checks.reset(reset, x.shape[:-1])
  window = window.astype(dtype)
  if reset is not None:
    window = _resets.select(reset, jnp.zeros_like(window), window)
  window = jnp.concatenate([window, x.astype(dtype)[..., None, :]], axis=-2)
  y = jnp.sum(weight.astype(dtype) * window, axis=-2)
  if bias is not None:
    y = y + bias.astype(dtype)
  return y, window[..., 1:, :]


def _check(x, weight, bias, window, batch):
  """Checks shapes; returns the dtype to compute in."""
  channels = x.shape[-1]
  _checks.floating(x=x)
  width, _ = validate.shape("weight", weight, ("width", channels))
  _checks.shape("bias", bias, (channels,))
  validate.shape("window", window, (*batch, width - 1, channels))
  return jnp.result_type(x.dtype, window, jnp.float32)


def _arriving(x, window, reset, axis):
  """The window before this device's chunk, cut at the resets in it."""
  count = window.shape[-2]
  if reset is None:
    return _halo.previous(x, count, axis, window)
  # The flags are sent as an additional channel.
  flags = reset[..., None].astype(x.dtype)
  x = jnp.concatenate([x, flags], axis=-1)
  window = jnp.pad(window, [(0, 0)] * (window.ndim - 1) + [(0, 1)])
  arrived = _halo.previous(x, count, axis, window)
  # A reset after an entry removes it.
  flags = arrived[..., -1] > 0
  later = jax.lax.cumsum(flags.astype(jnp.int32), flags.ndim - 1, reverse=True)
  return _resets.forget(later > flags, arrived[..., :-1])


def _cut(reset, width):
  """For each lag (*batch, time): whether a reset lies between t - lag and t."""
  if reset is None:
    return None
  time = reset.shape[-1]
  cut = [jnp.zeros_like(reset)]
  for lag in range(1, width):
    # Whether element t - lag + 1 starts an episode; False before the sequence.
    shift = min(lag - 1, time)
    later = jnp.zeros_like(reset[..., :shift])
    begins = jnp.concatenate([later, reset[..., : time - shift]], axis=-1)
    cut.append(cut[-1] | begins)
  return cut
