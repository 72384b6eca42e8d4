"""Causal depthwise convolution over time whose window is a state.

  y_t = bias + sum_j weight[j] x_{t - width + 1 + j}

An element sees itself and the width - 1 elements before it, each channel on its
own. Entries from before a reset, and those before a fresh sequence, count as
zero. Short convolutions of this kind stand in front of the recurrence in H3
(arXiv:2212.14052), Mamba (arXiv:2312.00752) and Mamba-2 (arXiv:2405.21060).
"""

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq.recurrence import _checks
from jaxseq.recurrence import _resets
from jaxseq.recurrence._sharded import halo
from jaxseq.recurrence._sharded import prefix


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
    weight: (width, channels); the last row meets the present element. The
      weight (channels, 1, width) of a `torch.nn.Conv1d` is the transpose.
    bias: (channels,) or None.
    window: (*batch, width - 1, channels), the inputs before the first element,
      oldest first; zeros for a fresh sequence.
    reset: (*batch, time) bool; where true all inputs before that element count
      as zero from there on.
    axis: name of the mesh axis over which time is split, or None. x and reset
      are this device's chunk; window, here and as a result, belongs to the
      whole sequence and is the same on all devices. What a chunk sees of those
      before it comes in one `ppermute`, or one for each chunk that it is from.

  Returns:
    y (*batch, time, channels) and the window after the last element, both in
    the common dtype of x and window, at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = jnp.asarray(x)
  _validate.shape("x", x, ("*batch", "time", "channels"))
  dtype = _check(x, weight, bias, window, x.shape[:-2])
  _checks.reset(reset, x.shape[:-1])
  width = weight.shape[0]
  if axis is not None and width > 1:
    window = _arriving(x.astype(dtype), window.astype(dtype), reset, axis)
  weight = weight.astype(dtype)
  cut = _cut(reset, width)
  # For the gradient x is kept as it came, not once more in float32.
  run = _convolve if x.dtype == dtype else jax.checkpoint(_convolve)
  y, window = run(x, weight, window.astype(dtype), cut)
  if bias is not None:
    y = y + bias.astype(dtype)
  if cut is not None and width > 1:
    # The newest entry has lag 0 seen from the last element.
    lags = [cut[lag][..., -1] for lag in reversed(range(width - 1))]
    window = _resets.forget(jnp.stack(lags, axis=-1), window)
  if axis is not None and width > 1:
    window = prefix.replicate_last(window, axis)
  return y, window


def _convolve(x, weight, window, cut):
  """Outputs without bias, and the last elements, nothing of them cut off."""
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
  _validate.shape("x", x, ("*batch", "channels"))
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
  width, _ = _validate.shape("weight", weight, ("width", channels))
  _checks.shape("bias", bias, (channels,))
  _validate.shape("window", window, (*batch, width - 1, channels))
  return jnp.result_type(x.dtype, window, jnp.float32)


def _arriving(x, window, reset, axis):
  """The window before this device's chunk, cut at the resets in it."""
  count = window.shape[-2]
  if reset is None:
    return halo.previous(x, count, axis, window)
  # The flags travel as one more channel.
  flags = reset[..., None].astype(x.dtype)
  x = jnp.concatenate([x, flags], axis=-1)
  window = jnp.pad(window, [(0, 0)] * (window.ndim - 1) + [(0, 1)])
  arrived = halo.previous(x, count, axis, window)
  # An entry is cut off by a reset after it.
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
    # Whether element t - lag + 1 begins anew; none did before the sequence.
    shift = min(lag - 1, time)
    later = jnp.zeros_like(reset[..., :shift])
    begins = jnp.concatenate([later, reset[..., : time - shift]], axis=-1)
    cut.append(cut[-1] | begins)
  return cut
