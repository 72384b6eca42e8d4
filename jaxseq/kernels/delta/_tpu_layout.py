"""Conversion of `delta_scan`'s arrays to the blocks of TPU kernels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels.delta import _products
from jaxseq.kernels.delta import _tpu
from jaxseq.kernels.delta import _tpu_backward
from jaxseq.kernels.outer import _tpu_layout as _outer_tpu_layout
from jaxseq.recurrence.outer import _outer_decays
from jaxseq.recurrence.platform import support

# Rows of a program, whose products wait for each other: the gaps of one row are
# filled by the others.
_ROWS = 4
# bfloat16 elements are packed in pairs of eight.
_LEAST_CHUNK = 16


def forward(
  form: support.Form, chunk_size: int, x: _products.Inputs, keeps: bool
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Returns outputs, last state, and entering states if requested."""
  layout = _Layout.of(form, chunk_size, x)
  o, final, *entering = _tpu.forward(
    layout.plan, layout.inputs(x), layout.state(x.init), keeps
  )
  o, final = _calls.cut(o, x.v.shape), _calls.cut(final, x.init.shape)
  return o, final, entering[0] if keeps else None


def backward(
  form: support.Form,
  chunk_size: int,
  x: _products.Inputs,
  entering: jax.Array,
  g: jax.Array,
  d_final: jax.Array,
) -> _products.Inputs:
  """Returns cotangents of the inputs from those of outputs and last state."""
  layout = _Layout.of(form, chunk_size, x)
  *d_inputs, d_init, d_decay = _tpu_backward.backward(
    layout.plan,
    layout.inputs(x),
    entering,
    layout.elements(g),
    layout.state(d_final),
  )
  d_inputs = (_calls.cut(d, y.shape) for d, y in zip(d_inputs, x))
  if layout.plan.channels:
    d_decay = _calls.cut(d_decay, x.decay.shape)
  elif layout.plan.decay:
    d_decay = layout.d_decay(d_decay, x)
  d_init = _calls.cut(d_init, x.init.shape)
  return _products.Inputs(*d_inputs, d_decay, d_init, None)


class _Layout(NamedTuple):
  """Sizes after padding."""

  plan: _tpu.Plan

  @classmethod
  def of(cls, form, chunk_size, x):
    """Returns the layout for arrays of such shapes."""
    rows, time, _ = x.v.shape
    chunk = 1 << (min(chunk_size, time) - 1).bit_length()
    together = next(n for n in range(_ROWS, 0, -1) if rows % n == 0)
    channels = x.decay is not None and x.decay.shape[2] > 1
    kinds = x.decay is not None, channels, x.reset is not None
    return cls(_tpu.Plan(together, max(_LEAST_CHUNK, chunk), *kinds, form))

  def elements(self, x):
    """Pads an array [rows, time, n]."""
    x = _calls.padded(x, 1, self.plan.chunk)
    return _calls.padded(x, 2, _outer_tpu_layout.features(x.shape[2]))

  def state(self, x):
    """Pads a state [rows, K, V]."""
    for axis in (1, 2):
      x = _calls.padded(x, axis, _outer_tpu_layout.features(x.shape[axis]))
    return x

  def inputs(self, x):
    """Returns padded arrays of the kernels."""
    a = self.elements(x.decay) if self.plan.channels else None
    return _tpu.Blocks(*map(self.elements, x[:4]), a, self.facts(x))

  def chunks(self, x):
    """Returns a padded array [rows, chunks, C] of [rows, time]."""
    x = _calls.padded(x, 1, self.plan.chunk)
    return x.reshape(x.shape[0], -1, self.plan.chunk)

  def decays(self, x):
    """Returns finite log-decays [rows, chunks, C], and flags of bad ones."""
    a = self.chunks(x.decay[..., 0].astype(jnp.float32))
    bad = ~(a < jnp.inf)
    return (jnp.where(bad, 0, a) if self.plan.reset else a), bad

  def d_decay(self, d_sums, x):
    """Returns cotangents of the decays from those of their sums in chunks."""
    a, bad = self.decays(x)
    d_sums = d_sums[:, :, 0, :, None]
    begins = self.chunks(x.reset)[..., None] if self.plan.reset else None
    da = _outer_decays.d_log_decay(d_sums, a[..., None], begins)[..., 0]
    if self.plan.reset:
      da = jnp.where(bad, 0, da)
    da = da.reshape(da.shape[0], -1, 1)[:, : x.decay.shape[1]]
    return da.astype(x.decay.dtype)

  def facts(self, x):
    """Returns the facts of the elements, in the layout of `_tpu.Facts`."""
    plan, Facts = self.plan, _tpu.Facts
    if not plan.reset and plan.decay == plan.channels:
      return None
    rows, time, _ = x.v.shape
    shape = rows, -(-time // plan.chunk), 1, plan.chunk
    fact_rows = {}
    if plan.channels:
      fact_rows = {Facts.RESET: self.chunks(x.reset).astype(jnp.float32)}
    elif plan.decay:
      a, bad = self.decays(x)
      sums = _outer_decays.log_decay_sums(a[..., None])
      fact_rows = {
        Facts.SUMS: sums.high[..., 0],
        Facts.REST: sums.low[..., 0],
        Facts.BAD: bad.astype(jnp.float32),
      }
    zeros = jnp.zeros(shape, jnp.float32)
    lines = [
      fact_rows[row].reshape(shape) if row in fact_rows else zeros
      for row in range(int(Facts.EPISODE))
    ]
    if plan.reset:
      episode = jnp.cumsum(self.chunks(x.reset), axis=-1, dtype=jnp.int32)
      lines += 8 * [episode.astype(jnp.float32).reshape(shape)]
    return jnp.concatenate(lines, axis=2)
