"""Positions: rotary embeddings and LRPE, along one axis and along several.

LRPE rotates queries and keys by angles; a product of the two depends only on
the difference of their angles. It is that of LightNet (Qin et al., "You Only
Scan Once: Efficient Multi-dimension Sequential Modeling with LightNet",
arXiv:2405.21022), as in its first author's code.
"""

import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from jaxseq import validate


def frequencies(count: int, width: int, base: float = 10000.0) -> np.ndarray:
  """Returns base^(-2 i / width) for i < count, in float64."""
  return base ** (-2.0 * np.arange(count) / width)


def angles(positions: jax.Array, theta: np.ndarray, dtype) -> jax.Array:
  """Returns positions * theta, up to multiples of 2 pi.

  A float32 product of a position of 100,000 and a frequency of 1 is off by
  0.004. Here the position is split into digits of eight bits, whose angles are
  reduced in float64 beforehand.

  Args:
    positions: (...,) integers, or whole numbers in floating point, from 0 to
      2^24.
    theta: (n,) frequencies, a numpy array.
    dtype: dtype of the result.

  Returns:
    (..., n) angles; their derivative with respect to positions is theta.
  """
  rest = jnp.asarray(positions, dtype)[..., None]
  total = jnp.zeros((), dtype)
  for size in (2**16, 2**8):
    digit = jnp.floor(rest / size)
    rest = rest - digit * size
    total = total + digit * np.mod(size * theta, 2 * np.pi).astype(dtype)
  return total + rest * theta.astype(dtype)


def rotary(
  x: jax.Array,
  positions: jax.Array,
  base: float = 10000.0,
  *,
  channels: int | None = None,
) -> jax.Array:
  """Rotary position embedding: rotates channel i with channel i + D / 2.

  (x1 cos - x2 sin, x1 sin + x2 cos) with x1 the first and x2 the second half of
  the channels; Su et al., "RoFormer", arXiv:2104.09864, in the layout of
  GPT-NeoX. Called LRPE "rotate" in LightNet's code.

  Args:
    x: (..., D), D even.
    positions: integers or whole numbers, of a shape that broadcasts to that of
      x without its last axis: (time,) for x (..., time, D), (*batch, time, 1)
      for x (*batch, time, heads, D).
    base: the slowest frequency is about 1 / base.
    channels: number of channels to rotate, the first ones; D if None.

  Returns:
    Array like x.

  Raises:
    ValueError: if D is odd, or `channels` is odd or larger than D.
  """
  x = jnp.asarray(x)
  width = x.shape[-1]
  if channels is not None and channels != width:
    if not 0 < channels < width or channels % 2:
      expected = f"an even number of at most {width}"
      raise validate.error("channels", channels, expected)
    turned = rotary(x[..., :channels], positions, base)
    return jnp.concatenate([turned, x[..., channels:]], axis=-1)
  if width % 2:
    raise validate.error("x", f"shape {x.shape}", "an even number of channels")
  # Angles of hundreds of radians have no digits left in bfloat16.
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  phase = angles(positions, frequencies(width // 2, width, base), dtype)
  x1, x2 = jnp.split(x.astype(dtype), 2, axis=-1)
  # Computed once, and not in the loop over heads and rows that rotates them.
  cos, sin = lax.optimization_barrier((jnp.cos(phase), jnp.sin(phase)))
  turned = jnp.concatenate([x1 * cos - x2 * sin, x1 * sin + x2 * cos], axis=-1)
  return turned.astype(x.dtype)


def since_reset(
  position: jax.Array,
  reset: jax.Array | None,
  time: int,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Counts elements since the last reset.

  Args:
    position: (*batch,) number of elements before the first one, floating.
    reset: (*batch, time) bool, or None.
    time: number of elements.
    axis: name of the mesh axis over which time is split, or None.

  Returns:
    Places (*batch, time) in the dtype of position, and the next place.
  """
  index = jnp.arange(time)
  if axis is not None and reset is not None:
    # The count is a recurrence itself: each element adds one.
    one = jnp.ones((1,), position.dtype)
    ones = jnp.ones((*reset.shape, 1), position.dtype)
    counts, after = recurrence.linear_scan(
      one, ones, position[..., None], axis=axis, reset=reset
    )
    return counts[..., 0] - 1, after[..., 0]
  first, count = 0, time
  if axis is not None:
    first = lax.axis_index(axis) * time
    count = lax.axis_size(axis) * time
  place = position[..., None] + (first + index).astype(position.dtype)
  if reset is None:
    return place, position + count
  last = lax.cummax(jnp.where(reset, index, -1), axis=reset.ndim - 1)
  since = (index - last).astype(position.dtype)
  place = jnp.where(last < 0, place, since)
  return place, place[..., -1] + 1


def check_rotary(config: Any, name: str, width: int) -> None:
  """Checks rotary options; `name` is the field that gives a head's width."""
  if not config.rotary_base > 1:
    raise validate.error(
      "rotary_base", config.rotary_base, "a number greater than 1"
    )
  if config.positions == "rotary" and (width % 2 or not width):
    raise validate.error(name, width, "an even number under rotary positions")


def lrpe_cosine(
  x: jax.Array, positions: jax.Array, base: float = 10000.0
) -> jax.Array:
  """LRPE "cosine": [x cos(n theta), x sin(n theta)] at position n.

  The product of two such vectors is sum_i q_i k_i cos(theta_i (n - m)).

  Args:
    x: (..., D).
    positions: as in `rotary`.
    base: theta_i = base^(-2 i / D).

  Returns:
    (..., 2 D).
  """
  x = jnp.asarray(x)
  width = x.shape[-1]
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  phase = angles(positions, frequencies(width, width, base), dtype)
  turned = [x * jnp.cos(phase), x * jnp.sin(phase)]
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def md_frequencies(width: int, axes: int, base: float = 10000.0) -> np.ndarray:
  """Returns frequencies for `md_lrpe`: ceil(width / axes) of them."""
  count = -(-width // axes)
  return frequencies(count, count, base)


def md_lrpe(
  x: jax.Array,
  shape: tuple[int, ...],
  theta: jax.Array | np.ndarray | None = None,
  *,
  num_extra: int = 0,
) -> jax.Array:
  """MD-LRPE: LRPE "cosine" for the elements of an array of several axes.

  Element (s_1, ..., s_m) has the phases [s_1 theta, ..., s_m theta], cut to D
  channels: each axis rotates a separate block of channels.

  Args:
    x: (..., n, D) with n = num_extra + prod(shape): extra elements, which have
      no place in the array and phase 0, then the array row by row.
    shape: sizes of the array's axes.
    theta: (e,) or, with x (..., heads, n, D), (heads, e) frequencies with e *
      len(shape) >= D; `md_frequencies` if None.
    num_extra: number of extra elements.

  Returns:
    (..., n, 2 D): [x cos, x sin].

  Raises:
    ValueError: if sizes do not fit the above.
  """
  x = jnp.asarray(x)
  check_grid("x", x.shape[-2], shape, num_extra)
  width = x.shape[-1]
  if theta is None:
    theta = md_frequencies(width, len(shape))
  if np.shape(theta)[-1] * len(shape) < width:
    raise validate.error(
      "theta",
      f"shape {np.shape(theta)}",
      f"at least {-(-width // len(shape))} frequencies, {width} channels "
      f"over {len(shape)} axes",
    )
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  phase = _grid_phases(shape, jnp.asarray(theta, dtype), width, num_extra)
  turned = [x * jnp.cos(phase), x * jnp.sin(phase)]
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def check_grid(
  name: str, count: int, shape: tuple[int, ...], num_extra: int
) -> None:
  """Raises ValueError unless count = num_extra + prod(shape)."""
  if not shape or any(size < 1 for size in shape) or num_extra < 0:
    raise validate.error(
      "shape and num_extra",
      (shape, num_extra),
      "at least one positive size, and a number of at least 0",
    )
  if count != num_extra + math.prod(shape):
    raise validate.error(
      name,
      f"{count} elements",
      f"num_extra + prod(shape) = {num_extra + math.prod(shape)} elements",
    )


def _grid_phases(shape, theta, width, num_extra):
  """Phases (..., n, width) of the elements of a row-major grid."""
  grid = np.stack(np.indices(shape), axis=-1).reshape(-1, len(shape))
  phase = grid[:, :, None].astype(theta.dtype) * theta[..., None, None, :]
  phase = phase.reshape(phase.shape[:-2] + (-1,))[..., :width]
  widths = ((0, 0),) * (phase.ndim - 2) + ((num_extra, 0), (0, 0))
  return jnp.pad(phase, widths)


def rms_norm(
  x: jax.Array, weight: jax.Array, eps: float, *, eps_on: str = "mean"
) -> jax.Array:
  """Divides by the root of the mean square over the last axis.

  Args:
    x: (..., d).
    weight: (d,) factors.
    eps: added under the root.
    eps_on: whether eps is added to the "mean" of the squares, or to their "sum"
      as in LightNet's first author's code, which is eps / d on the mean.

  Returns:
    Array like x, computed in float32 or wider.
  """
  if eps_on == "sum":
    eps = eps / x.shape[-1]
  dtype, wide = x.dtype, jnp.promote_types(x.dtype, jnp.float32)
  x = x.astype(wide)
  square = jnp.mean(x * x, axis=-1, keepdims=True)
  y = x * jax.lax.rsqrt(square + eps) * weight.astype(wide)
  return y.astype(dtype)
