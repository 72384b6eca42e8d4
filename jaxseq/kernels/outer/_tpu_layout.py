"""Conversion of `outer_scan_heads`' arrays to the blocks of TPU kernels.

Blocks have 8 k x 128 l numbers or a whole axis: heads with fewer features are
adjacent, features are padded to a power of two or a multiple of 128.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels.outer import _products
from jaxseq.kernels.outer import _tpu
from jaxseq.kernels.outer import _tpu_backward
from jaxseq.kernels.outer import _tpu_channels
from jaxseq.recurrence.outer import _outer_decays
from jaxseq.recurrence.platform import support

_LANES = 128
# Maximum of columns of v per program: the fixed cost of a program is then small
# compared to its computation.
_COLUMNS = 512
# bfloat16 elements are packed in pairs of eight.
_SUBLANES = 16


def forward(
  form: support.Form, chunk_size: int, x: _products.Inputs, keeps: bool
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Returns outputs, last state, and entering states if requested."""
  if _per_channel(x):
    layout, x_own = _Channels.of(form, chunk_size, x), _own_keys(x)
    o, final, *entering = _tpu_channels.forward(
      layout.plan, layout.inputs(x_own), layout.blocks(x.init), keeps
    )
    o, final = _heads(o, x.v.shape), layout.states(final, x.init.shape)
    return o, final, entering[0] if keeps else None
  layout = _Layout.of(form, chunk_size, x)
  o, final, *entering = _tpu.forward(
    layout.plan, layout.inputs(x), layout.blocks(x.init), keeps
  )
  o, final = _heads(o, x.v.shape), layout.states(final, x.init.shape)
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
  if _per_channel(x):
    return _backward_channels(form, chunk_size, x, entering, g, d_final)
  layout = _Layout.of(form, chunk_size, x)
  dq, dk, dv, d_init, *d_facts = _tpu_backward.backward(
    layout.plan,
    layout.inputs(x),
    entering,
    layout.flat(g, layout.plan.values, layout.per_group),
    layout.blocks(d_final),
  )
  dq, dk = (_heads(y, x.q.shape) for y in (dq, dk))
  dv = _heads(dv, x.v.shape)
  da = layout.d_decay(d_facts[0], x) if d_facts else None
  d_init = layout.states(d_init, x.init.shape)
  return _products.Inputs(dq, dk, dv, da, d_init, None)


def _backward_channels(form, chunk_size, x, entering, g, d_final):
  """Returns the cotangents of `backward`, with a decay for each key."""
  layout, x_own = _Channels.of(form, chunk_size, x), _own_keys(x)
  *d_x, d_init = _tpu_channels.backward(
    layout.plan,
    layout.inputs(x_own),
    entering,
    layout.flat(g),
    layout.blocks(d_final),
  )
  shapes = x_own.q.shape, x_own.k.shape, x.v.shape, x.decay.shape
  dq, dk, dv, da = map(_heads, d_x, shapes)
  if dq.shape != x.q.shape:
    dq, dk = (
      y.reshape(*y.shape[:2], x.q.shape[2], -1, y.shape[3])
      .sum(3, dtype=jnp.float32)
      .astype(y.dtype)
      for y in (dq, dk)
    )
  d_init = layout.states(d_init, x.init.shape)
  return _products.Inputs(dq, dk, dv, da, d_init, None)


def _per_channel(x):
  return x.decay is not None and x.decay.shape[-1] > 1


def _own_keys(x):
  """Repeats queries and keys for each head."""
  shared = x.v.shape[2] // x.q.shape[2]
  q, k = (jnp.repeat(y, shared, axis=2) for y in (x.q, x.k))
  return x._replace(q=q, k=k)


def _flat(x, chunk, heads, features):
  """Converts [rows, time, heads, n] to padded [rows, time, heads * n]."""
  for axis, multiple in enumerate((chunk, heads, features), 1):
    x = _calls.padded(x, axis, multiple)
  return x.reshape(*x.shape[:2], -1)


def _heads(x, shape):
  """Undoes `_flat`, for arrays of that shape."""
  return _calls.cut(x.reshape(*x.shape[:2], -1, features(shape[-1])), shape)


class _Channels(NamedTuple):
  """Sizes after padding, for `_tpu_channels`."""

  plan: _tpu_channels.Plan

  @classmethod
  def of(cls, form, chunk_size, x):
    """Returns the layout for arrays of such shapes."""
    time, heads = x.v.shape[1:3]
    keys, values = features(x.q.shape[-1]), features(x.v.shape[-1])
    chunk = max(_SUBLANES, _power(min(chunk_size, time)))
    together, _ = _blocks(heads, 1, keys, values)
    return cls(
      _tpu_channels.Plan(
        together, keys, values, chunk, x.reset is not None, form
      )
    )

  def flat(self, x):
    """Converts [rows, time, heads, n] to padded [rows, time, heads * n]."""
    return _flat(x, self.plan.chunk, self.plan.heads, features(x.shape[3]))

  def blocks(self, state):
    """Converts [rows, heads, dk, dv] to padded [rows, heads, V, K]."""
    state = _calls.padded(state.swapaxes(2, 3), 1, self.plan.heads)
    state = _calls.padded(state, 2, self.plan.values)
    return _calls.padded(state, 3, self.plan.keys)

  def states(self, state, shape):
    """Undoes `blocks`, for arrays of that shape."""
    return _calls.cut(state.swapaxes(2, 3), shape)

  def inputs(self, x):
    """Returns padded arrays of the kernel."""
    episode = None
    if x.reset is not None:
      reset = _calls.padded(x.reset, 1, self.plan.chunk)
      episode = _episodes(reset.reshape(x.v.shape[0], -1, 1, self.plan.chunk))
    return _tpu_channels.Blocks(*map(self.flat, x[:4]), episode)


def _episodes(reset):
  """Counts resets up to each element [..., 8, C] from flags [..., 1, C]."""
  episode = jnp.cumsum(reset, axis=-1, dtype=jnp.int32).astype(jnp.float32)
  return jnp.broadcast_to(episode, (*reset.shape[:-2], 8, reset.shape[-1]))


def _power(size):
  """Rounds up to a power of two."""
  return 1 << (size - 1).bit_length()


class _Layout(NamedTuple):
  """Sizes after padding, for `_tpu`."""

  plan: _tpu.Plan
  groups: int
  per_group: int  # Heads per group.
  time: int

  @classmethod
  def of(cls, form, chunk_size, x):
    """Returns the layout for arrays of such shapes."""
    _, time, groups, keys = x.q.shape
    heads, values = x.v.shape[2:]
    keys, values, per_group = features(keys), features(values), heads // groups
    chunk = min(chunk_size, time)
    chunk += -chunk % _SUBLANES
    blocks = _blocks(groups, per_group, keys, values)
    plan = _tpu.Plan(
      *(*blocks, keys, values, chunk),
      *(x.decay is not None, x.reset is not None),
      x.v.dtype == jnp.float32,
      form,
    )
    return cls(
      plan, groups + -groups % plan.groups, per_group, time + -time % chunk
    )

  def flat(self, x, features, per_group=1):
    """Converts [rows, time, heads, n] to padded [rows, time, heads * n]."""
    return _flat(x, self.plan.chunk, self.plan.groups * per_group, features)

  def blocks(self, state):
    """Converts [rows, heads, dk, dv] to [rows, blocks, blocks, K, W]."""
    plan = self.plan
    state = _calls.padded(state, 1, plan.groups * self.per_group)
    state = _calls.padded(_calls.padded(state, 2, plan.keys), 3, plan.values)
    state = state.reshape(
      *(state.shape[0], self.groups // plan.groups, plan.groups),
      *(self.per_group // plan.heads, plan.heads, plan.keys, plan.values),
    )
    state = state.transpose(0, 1, 3, 5, 2, 4, 6)
    return state.reshape(*state.shape[:4], -1)

  def states(self, blocks, shape):
    """Undoes `blocks`, for arrays of that shape."""
    plan = self.plan
    state = blocks.reshape(
      *(*blocks.shape[:4], plan.groups, plan.heads, plan.values)
    )
    state = state.transpose(0, 1, 4, 2, 5, 3, 6)
    state = state.reshape(shape[0], -1, plan.keys, plan.values)
    return _calls.cut(state, shape)

  def inputs(self, x):
    """Returns padded arrays of the kernel."""
    return _tpu.Blocks(
      self.flat(x.q, self.plan.keys),
      self.flat(x.k, self.plan.keys),
      self.flat(x.v, self.plan.values, self.per_group),
      self.facts(x),
    )

  def decays(self, x):
    """Returns decays [rows, blocks, blocks, chunks, heads, C], bad flags."""
    plan = self.plan
    a = x.decay[..., 0].astype(jnp.float32)
    a = _calls.padded(a, 1, plan.chunk)
    a = _calls.padded(a, 2, plan.groups * self.per_group)
    a = a.reshape(
      *(a.shape[0], self.time // plan.chunk, plan.chunk),
      *(self.groups // plan.groups, plan.groups),
      *(self.per_group // plan.heads, plan.heads),
    ).transpose(0, 3, 5, 1, 4, 6, 2)
    a = a.reshape(*a.shape[:4], -1, plan.chunk)
    bad = jnp.isnan(a) | (a == jnp.inf)
    return (jnp.where(bad, 0, a) if plan.reset else a), bad

  def d_decay(self, d_sums, x):
    """Returns cotangents of the decays from those of their sums in chunks."""
    plan = self.plan
    a, bad = self.decays(x)
    d_sums = d_sums[..., : a.shape[-2], :]
    begins = self.resets(x)[..., None] if plan.reset else None
    d_sums = d_sums[..., None]
    da = _outer_decays.d_log_decay(d_sums, a[..., None], begins)[..., 0]
    if plan.reset:
      da = jnp.where(bad, 0, da)
    da = da.reshape(*da.shape[:4], plan.groups, plan.heads, plan.chunk)
    da = da.transpose(0, 3, 6, 1, 4, 2, 5)
    da = da.reshape(da.shape[0], self.time, -1, 1)
    da = da[:, : x.decay.shape[1], : x.decay.shape[2]]
    return da.astype(x.decay.dtype)

  def resets(self, x):
    """Returns flags [rows, 1, 1, chunks, 1, C]."""
    reset = _calls.padded(x.reset, 1, self.plan.chunk)
    return reset.reshape(reset.shape[0], 1, 1, -1, 1, self.plan.chunk)

  def facts(self, x):
    """Returns the facts of the elements, in the layout of `_tpu.Facts`."""
    plan = self.plan
    parts, at = [], _tpu.Facts.of(plan)
    lead = (
      *(x.v.shape[0], self.groups // plan.groups),
      *(self.per_group // plan.heads, self.time // plan.chunk),
    )
    if plan.decay:
      a, bad = self.decays(x)
      sums = _outer_decays.log_decay_sums(a[..., None])
      if not plan.exact:
        sums = (sums.total(),)
      parts += [part[..., 0] for part in sums]
      if plan.reset:
        parts.append(bad.astype(jnp.float32))
    if plan.reset:
      missing = at.episode - sum(part.shape[-2] for part in parts)
      parts.append(jnp.zeros((*lead, missing, plan.chunk), jnp.float32))
      reset = jnp.broadcast_to(self.resets(x), (*lead, 1, plan.chunk))
      parts.append(_episodes(reset))
    if not parts:
      return None
    facts = jnp.concatenate(parts, axis=-2)
    return _calls.padded(facts, facts.ndim - 2, 8)


def features(size: int) -> int:
  """Returns the padded number of a head's features."""
  if size > _LANES:
    return size + -size % _LANES
  return max(_SUBLANES, _power(size))


@functools.cache
def _blocks(groups, per_group, keys, values):
  """Returns the groups of one program, and the heads of each."""

  def fits(count):
    return not (count * keys % _LANES or count * per_group * values % _LANES)

  # A power of two, at most eight because there are at least 16 features.
  together = 1
  while not fits(together):
    together *= 2
  if together >= groups:
    # Blocks have whole axes.
    together = groups
  while together < groups and groups % (2 * together) == 0:
    wide = 2 * together * max(keys, per_group * values)
    if wide > _COLUMNS:
      break
    together *= 2
  if together > 1:
    return together, per_group
  whole = groups == 1
  heads = [
    count
    for count in range(1, per_group + 1)
    if per_group % count == 0
    and (count * values % _LANES == 0 or (whole and count == per_group))
  ]
  return 1, max(
    (count for count in heads if count * values <= _COLUMNS), default=heads[0]
  )
