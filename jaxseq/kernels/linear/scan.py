"""`linear_scan` by kernels, forward and backward.

If rows and channels give too few blocks to fill a GPU, time is split into
segments: the map of each is computed first, then the states that enter them.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels.linear import _parts
from jaxseq.recurrence.linear import _linear_methods
from jaxseq.recurrence.platform import support

LANES = 128


class Options(NamedTuple):
  """Static options of a kernel."""

  form: support.Form  # see `support.form`
  tile: int  # elements per tile, a multiple of 8, on TPUs of 128
  stages: int  # tiles in flight at a time, on GPUs
  segments: int  # parallel segments of time, on GPUs
  # whether the recurrence runs from the last element to the first
  reverse: bool
  # whether the parts are halves of the last axis of one array, whose size is a
  # multiple of 256; on GPUs
  joined: bool


def scan(
  form: support.Form,
  a: jax.Array,
  b: jax.Array,
  init: jax.Array,
  reset: jax.Array | None,
  *,
  reverse: bool,
  tile: int,
  stages: int = 1,
  segments: int = 1,
) -> tuple[jax.Array, jax.Array]:
  """Runs `linear_scan` by kernels.

  Args:
    form: see `support.form`.
    a: (1 | rows, 1 | time, 1 | n) decays, float32 or complex64.
    b: (rows, time, n) addends, of that dtype.
    init: (rows, n) state before the first element, of that dtype.
    reset: (rows, time) bool, or None.
    reverse: whether to run from the last element to the first.
    tile: elements per tile, a multiple of 8, on TPUs of 128.
    stages: tiles in flight at a time, on GPUs.
    segments: parallel segments of time, on GPUs.

  Returns:
    States (rows, time, n), and the last one.
  """
  a = jnp.broadcast_to(a, a.shape[:2] + b.shape[2:])
  arrays = map(_parts.split, (a, b, init))
  how = {"tile": tile, "stages": stages, "segments": segments}
  h, final = scan_parts(form, *arrays, reset, reverse=reverse, **how)
  return _parts.join(h), _parts.join(final)


def scan_parts(
  form: support.Form,
  a: _parts.Parts,
  b: _parts.Parts,
  init: _parts.Parts,
  reset: jax.Array | None,
  *,
  reverse: bool,
  tile: int,
  stages: int = 1,
  segments: int = 1,
  joined: bool = False,
) -> tuple[_parts.Parts, _parts.Parts]:
  """Runs `scan` of complex numbers by parts, without joining them.

  Arrays are by parts; for `joined` see `Options`.
  """
  if form.chip == "gpu" and (joined or len(b) > 1):
    tile //= 2  # Both parts share the memory.
  options = Options(form, tile, stages, segments, reverse, joined)
  return _scan(a, b, init, reset, options)


# The gradient needs only the states: `_kept_vjp` would keep the inputs.
@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scan(a, b, init, reset, options):
  """Returns the states [B, T, n] and the last one, by parts."""
  h = _states(a, b, init, reset, options)
  return h, tuple(part[:, 0 if options.reverse else -1] for part in h)


def _scan_forward(a, b, init, reset, options):
  h, final = _scan(a, b, init, reset, options)
  return (h, final), (a, h, init, reset)


def _scan_backward(options, residuals, cotangents):
  return *_gradient(*residuals, *cotangents, options), None


_scan.defvjp(_scan_forward, _scan_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def _gradient(a, h, init, reset, g, g_final, options):
  """Returns cotangents of a, b and init."""
  return _cotangents(a, h, init, reset, g, g_final, options)


def _gradient_forward(*arguments):
  return _gradient(*arguments), arguments[:-1]


def _gradient_backward(options, arrays, cotangents):
  """VJP of `_gradient`, by the associative scan."""
  a, h, init, reset, g, g_final = arrays

  def by_tree(*arrays):
    # A cotangent of JAX is the conjugate of the cotangent by parts.
    a, h, init, g, g_final = (_complex(x, options) for x in arrays)
    cotangents = jnp.conj(g), jnp.conj(g_final)
    gradients = _linear_methods.adjoint(
      options.reverse, "associative", (a, h, init, reset), cotangents
    )
    return tuple(_parts_of(jnp.conj(x), options) for x in gradients)

  _, pull = jax.vjp(by_tree, a, h, init, g, g_final)
  da, dh, d_init, dg, dg_final = pull(cotangents)
  return da, dh, d_init, None, dg, dg_final


_gradient.defvjp(_gradient_forward, _gradient_backward)


def _complex(x, options):
  """Joins parts to one real or complex array."""
  if options.joined:
    x = jnp.split(x[0], 2, axis=-1)
  return _parts.join(tuple(x))


def _parts_of(x, options):
  """Undoes `_complex`."""
  x = _parts.split(x)
  return (jnp.concatenate(x, axis=-1),) if options.joined else x


# Compiled functions, so that layers of one shape share the slow lowering.
@functools.partial(jax.jit, static_argnums=4)
def _states(a, b, init, reset, options):
  """Returns the states [B, T, n], by parts."""
  layout, kernels, walk = _begin(b, options)
  a, keep, b = layout.decays(a), layout.keep(reset), layout.along(b)
  entering = init
  if options.segments > 1:
    maps = kernels.summary(walk, a, b, keep, False)
    entering = layout.entering(maps, init, options.reverse)
  h = kernels.states(walk, a, b, layout.by_segment(entering), keep)
  return layout.whole(h)


@functools.partial(jax.jit, static_argnums=6)
def _cotangents(a, h, init, reset, g, g_final, options):
  """Computes the cotangents of `_gradient` by the kernel."""
  layout, kernels, walk = _begin(h, options)
  shape = a[0].shape
  # If the recurrence starts in padding, that contains the state `init`.
  ends = tuple(x[:, None] for x in init) if options.reverse else None
  h = layout.along(h, ends)
  a, keep, g = layout.decays(a), layout.keep(reset), layout.along(g)
  before, entering = init, g_final
  if options.segments > 1:
    back = walk._replace(reverse=not options.reverse)
    maps = kernels.summary(back, a, g, keep, True)
    entering = layout.entering(maps, g_final, back.reverse)
    last = 0 if options.reverse else -1
    after = layout.states(tuple(part[:, last] for part in h))
    before = tuple(
      _linear_methods.previous(x, first, options.reverse)
      for x, first in zip(after, init)
    )
  states = map(layout.by_segment, (entering, before))
  da, db, mu = kernels.gradient(walk, a, g, h, *states, keep)
  if a[0].shape[1] == 1:
    da = tuple(jnp.sum(x, axis=1, keepdims=True) for x in layout.states(da))
  else:
    da = layout.whole(da)
  summed = tuple(i for i in range(3) if da[0].shape[i] != shape[i])
  da = tuple(jnp.sum(x, axis=summed, keepdims=True) for x in da)
  first = -1 if options.reverse else 0
  d_init = tuple(x[:, first] for x in layout.states(mu))
  return da, layout.whole(db), d_init


def _begin(x, options):
  """Returns layout, kernels and walk for parts x [B, T, n] on a chip."""
  if options.form.chip == "tpu":
    from jaxseq.kernels.linear import _tpu as kernels
  else:
    from jaxseq.kernels.linear import _gpu as kernels
  form, tile, stages, _, reverse, joined = options
  walk = _parts.Walk(form, tile, stages, reverse, joined)
  return _Layout(options, *x[0].shape), kernels, walk


class _Layout(NamedTuple):
  """Converts arrays to the kernels' layout: padded, time segments as rows.

  Padding at the end of time leaves a state unchanged. All are tuples of arrays.
  """

  options: Options
  rows: int
  time: int
  n: int

  @property
  def _missing(self):
    return -self.time % (self.options.tile * self.options.segments)

  def along(self, x, ends=None):
    """Converts [b, T, n] to [b S, T / S, N]; pads with `ends`, or 0."""
    if self._missing:
      ends = ends or (jnp.float32(0),) * len(x)
      ends = (
        jnp.broadcast_to(end, (part.shape[0], self._missing, self.n))
        for end, part in zip(ends, x)
      )
      x = (jnp.concatenate(each, axis=1) for each in zip(x, ends))
    x = [_calls.padded(part, 2, LANES) for part in x]
    rows = x[0].shape[0] * self.options.segments
    return tuple(part.reshape(rows, -1, part.shape[-1]) for part in x)

  def whole(self, x):
    """Undoes `along`."""
    x = (part.reshape(self.rows, -1, part.shape[-1]) for part in x)
    return tuple(part[:, : self.time, : self.n] for part in x)

  def by_segment(self, x):
    """Converts [B, S, n] or [B, n] to [B S, N]."""
    x = (part.reshape(-1, self.n) for part in x)
    return tuple(_calls.padded(part, 1, LANES) for part in x)

  def states(self, x):
    """Converts [B S, N] to [B, S, n]."""
    x = (part.reshape(self.rows, -1, part.shape[-1]) for part in x)
    return tuple(part[..., : self.n] for part in x)

  def decays(self, a):
    """Converts decays [1|B, 1|T, n] to [1|B S, 1|T / S, N]."""
    segments = self.options.segments
    if a[0].shape[1] > 1 or self._missing:
      rows = self.rows if segments > 1 else a[0].shape[0]
      shape = (rows, self.time, self.n)
      one = jnp.ones_like(a[0], shape=(1, 1, self.n))
      if self.options.joined:
        one = one.at[..., self.n // 2 :].set(0)
      ends = (one, *map(jnp.zeros_like, (one,) * (len(a) - 1)))
      return self.along([jnp.broadcast_to(x, shape) for x in a], ends)
    a = (_calls.padded(x, 2, LANES) for x in a)
    return tuple(
      jnp.repeat(x, segments, axis=0) if x.shape[0] > 1 else x for x in a
    )

  def keep(self, reset):
    """Converts resets to int32 keep flags [B S, T / S]."""
    if reset is None:
      return None
    shape = (self.rows * self.options.segments, -1)
    keep = jnp.pad(~reset, ((0, 0), (0, self._missing)), constant_values=True)
    return keep.astype(jnp.int32).reshape(shape)

  def entering(self, maps, init, reverse):
    """Returns the state entering each segment, [B, S, n], from their maps."""
    maps = (_complex(self.states(x), self.options) for x in maps)
    init = _complex(init, self.options)
    states = _linear_methods.entering(*maps, init, reverse=reverse)
    return _parts_of(states, self.options)
