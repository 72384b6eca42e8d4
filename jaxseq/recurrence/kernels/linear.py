"""`linear_scan` by kernels, forward and backward.

The gradient is one more kernel that reads decays, states and cotangents once.
Its derivative in turn is that of the tree, so that second derivatives are
right, if slow. Where rows and channels give too few blocks to fill a GPU, time
is cut into segments: what each does to a state is found first, then the states
that enter the segments, then all states.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence import linear
from jaxseq.recurrence.kernels import linear_parts
from jaxseq.recurrence.kernels import support

LANES = 128


class Options(NamedTuple):
  """What a kernel is made for: static.

  Attributes:
    form: as `support.form` gives it.
    tile: elements per tile, a multiple of 8, on TPUs of 128.
    stages: tiles under way at a time, on GPUs.
    segments: of time, side by side, on GPUs.
    reverse: whether the recurrence runs from the last element to the first.
  """

  form: support.Form
  tile: int
  stages: int
  segments: int
  reverse: bool


def scan(
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
  """H_t = a_t h_{t-1} + b_t, in float32 or complex64.

  Args:
    a: [1|B, 1|T, 1|n] decays.
    b: [B, T, n] inputs, of the same dtype.
    init: [B, n] state before the first element.
    reset: [B, T] bool, or None.
    reverse: run from the last element to the first.
    tile: as in `Options`.
    stages: as in `Options`.
    segments: as in `Options`.

  Returns:
    The states [B, T, n], and the last one [B, n].

  Raises:
    NotImplementedError: if no kernel runs here; see `support.why_not`.
  """
  form = support.form("linear", b.dtype)
  if form.chip == "gpu" and jnp.iscomplexobj(b):
    tile //= 2  # Both parts share the memory.
  options = Options(form, tile, stages, segments, reverse)
  a = jnp.broadcast_to(a, a.shape[:2] + b.shape[2:])
  return _scan(a, b, init, reset, options)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scan(a, b, init, reset, options):
  """The states [B, T, n] and the last one."""
  h = _states(a, b, init, reset, options)
  return h, h[:, 0 if options.reverse else -1]


def _scan_forward(a, b, init, reset, options):
  h, final = _scan(a, b, init, reset, options)
  return (h, final), (a, h, init, reset)


def _scan_backward(options, residuals, cotangents):
  return *_gradient(*residuals, *cotangents, options), None


_scan.defvjp(_scan_forward, _scan_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def _gradient(a, h, init, reset, g, g_final, options):
  """Cotangents of a, b and init."""
  return _cotangents(a, h, init, reset, g, g_final, options)


def _gradient_forward(*arguments):
  return _gradient(*arguments), arguments[:-1]


def _gradient_backward(options, arrays, cotangents):
  """The derivative of the tree's."""
  a, h, init, reset, g, g_final = arrays

  def by_tree(a, h, init, g, g_final):
    residuals, cotangents = (a, h, init, reset), (g, g_final)
    return linear.adjoint(options.reverse, "associative", residuals, cotangents)

  _, pull = jax.vjp(by_tree, a, h, init, g, g_final)
  da, dh, d_init, dg, dg_final = pull(cotangents)
  return da, dh, d_init, None, dg, dg_final


_gradient.defvjp(_gradient_forward, _gradient_backward)


# Compiled functions, so that layers of one shape share what is slow to lower.
@functools.partial(jax.jit, static_argnums=4)
def _states(a, b, init, reset, options):
  """The states [B, T, n]."""
  layout, kernels, walk = _begin(b, options)
  a, keep, b = layout.decays(a), layout.keep(reset), layout.along(b)
  entering = init[:, None]
  if options.segments > 1:
    maps = kernels.summary(walk, a, b, keep, False)
    entering = layout.entering(maps, init, options.reverse)
  h = kernels.states(walk, a, b, layout.by_segment(entering), keep)
  return layout.whole(h)


@functools.partial(jax.jit, static_argnums=6)
def _cotangents(a, h, init, reset, g, g_final, options):
  """As `_gradient`."""
  layout, kernels, walk = _begin(h, options)
  shape = a.shape
  # Where the recurrence begins with padding, that holds the state `init`.
  h = layout.along(h, init[:, None] if options.reverse else 0)
  a, keep, g = layout.decays(a), layout.keep(reset), layout.along(g)
  before, entering = init[:, None], g_final[:, None]
  if options.segments > 1:
    back = walk._replace(reverse=not options.reverse)
    maps = kernels.summary(back, a, g, keep, True)
    entering = layout.entering(maps, g_final, back.reverse)
    last = 0 if options.reverse else -1
    after = layout.states(tuple(part[:, last] for part in h))
    before = _shifted(after, init, options.reverse)
  states = map(layout.by_segment, (entering, before))
  da, db, mu = kernels.gradient(walk, a, g, h, *states, keep)
  if a[0].shape[1] == 1:
    da = jnp.sum(layout.states(da), axis=1, keepdims=True)
  else:
    da = layout.whole(da)
  summed = tuple(axis for axis in range(3) if da.shape[axis] != shape[axis])
  da = jnp.sum(da, axis=summed, keepdims=True)
  first = -1 if options.reverse else 0
  return da, layout.whole(db), layout.states(mu)[:, first]


def _begin(x, options):
  """The layout for x [B, T, n], the chip's kernels, and their walk."""
  if options.form.chip == "tpu":
    from jaxseq.recurrence.kernels import linear_tpu as kernels
  else:
    from jaxseq.recurrence.kernels import linear_gpu as kernels
  form, tile, stages, _, reverse = options
  walk = linear_parts.Walk(form, tile, stages, reverse)
  return _Layout(options, *x.shape), kernels, walk


class _Layout(NamedTuple):
  """Arrays as kernels take them: by parts, padded, segments of time as rows.

  Padding at the end of time lets a state through as it is.
  """

  options: Options
  rows: int
  time: int
  n: int

  @property
  def _missing(self):
    return -self.time % (self.options.tile * self.options.segments)

  def along(self, x, fill=0):
    """[b, T, n] -> parts [b S, T / S, N]; `fill` is a number or an array."""
    if self._missing:
      shape = (x.shape[0], self._missing, self.n)
      end = jnp.broadcast_to(jnp.asarray(fill, x.dtype), shape)
      x = jnp.concatenate([x, end], axis=1)
    x = support.padded(x, 2, LANES)
    shape = (x.shape[0] * self.options.segments, -1, x.shape[-1])
    return linear_parts.split(x.reshape(shape))

  def whole(self, parts):
    """The inverse of `along`."""
    x = linear_parts.join(parts)
    return x.reshape(self.rows, -1, x.shape[-1])[:, : self.time, : self.n]

  def by_segment(self, x):
    """[B, S, n] -> parts [B S, N]."""
    x = support.padded(x, 2, LANES)
    return linear_parts.split(x.reshape(-1, x.shape[-1]))

  def states(self, parts):
    """The inverse of `by_segment`."""
    x = linear_parts.join(parts)
    return x.reshape(self.rows, -1, x.shape[-1])[..., : self.n]

  def decays(self, a):
    """[1|B, 1|T, n] -> parts [1|B S, 1|T / S, N]."""
    segments = self.options.segments
    moves = a.shape[1] > 1 or self._missing
    if moves:
      rows = self.rows if segments > 1 else a.shape[0]
      return self.along(jnp.broadcast_to(a, (rows, self.time, self.n)), 1)
    a = support.padded(a, 2, LANES)
    if a.shape[0] > 1:
      a = jnp.repeat(a, segments, axis=0)
    return linear_parts.split(a)

  def keep(self, reset):
    """[B, T] bool -> [B S, T / S] int32."""
    if reset is None:
      return None
    shape = (self.rows * self.options.segments, -1)
    keep = jnp.pad(~reset, ((0, 0), (0, self._missing)), constant_values=True)
    return keep.astype(jnp.int32).reshape(shape)

  def entering(self, maps, init, reverse):
    """The state that enters each segment, [B, S, n], from what each does."""
    factor, addend = map(self.states, maps)
    after, _ = linear.linear_scan(
      factor, addend, init, reverse=reverse, method="associative"
    )
    return _shifted(after, init, reverse)


def _shifted(after, init, reverse):
  """The state before each of the segments, from that after each."""
  if reverse:
    return jnp.concatenate([after[:, 1:], init[:, None]], axis=1)
  return jnp.concatenate([init[:, None], after[:, :-1]], axis=1)
