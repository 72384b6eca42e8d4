"""Token shift: the previous element of each element; the last one is the state.

The element before the first of a sequence is zeros, after a reset too. RWKV
mixes an element and the one before it channel by channel before its projections
(Peng et al., arXiv:2305.13048, section 3.1).
"""

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _halo
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _resets


def token_shift(
  x: jax.Array,
  last: jax.Array,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns the previous element of each element.

  Args:
    x: (*batch, time, features), floating, time at least 1.
    last: (*batch, features), the element before the first; zeros for a fresh
      sequence.
    reset: (*batch, time) bool; if true, the previous element counts as zeros.
    axis: name of the mesh axis over which time is split, or None. x and reset
      are this device's chunk; last, here and as a result, belongs to the whole
      sequence and is the same on all devices. The last element of a chunk is
      sent in one `ppermute`.

  Returns:
    x shifted by one element, in its dtype, and the last element, in the common
    dtype of x and last, at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = jnp.asarray(x)
  validate.shape("x", x, ("*batch", "time", "features"))
  dtype = _check(x, last, x.shape[:-2])
  _checks.reset(reset, x.shape[:-1])
  entering = last.astype(x.dtype)[..., None, :]
  if axis is not None:
    entering = _halo.previous(x, 1, axis, entering)
  before = jnp.concatenate([entering, x[..., :-1, :]], axis=-2)
  if reset is not None:
    before = _resets.forget(reset, before)
  last = x[..., -1, :].astype(dtype)
  if axis is not None:
    last = _prefix.replicate_last(last, axis)
  return before, last


def token_shift_step(
  x: jax.Array, last: jax.Array, reset: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
  """Consumes one element; `token_shift` without the time axis.

  Args:
    x: (*batch, features).
    last: (*batch, features), the element before.
    reset: (*batch,) bool or None.

  Returns:
    The previous element, in the dtype of x, and this one.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x = jnp.asarray(x)
  validate.shape("x", x, ("*batch", "features"))
  dtype = _check(x, last, x.shape[:-1])
  _checks.reset(reset, x.shape[:-1])
  before = last.astype(x.dtype)
  if reset is not None:
    before = _resets.forget(reset, before)
  return before, x.astype(dtype)


def _check(x, last, batch):
  """Checks shapes and dtypes; returns the dtype of the last element."""
  _checks.floating(x=x, last=last)
  validate.shape("last", last, (*batch, x.shape[-1]))
  return jnp.result_type(x, last, jnp.float32)
