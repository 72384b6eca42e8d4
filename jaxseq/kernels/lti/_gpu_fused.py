"""`lti_scan` by one kernel that projects, scans and reads out, if it fits.

If there are too few rows to fill a GPU, time is split into segments, whose
inputs are projected twice.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _kept_vjp
from jaxseq.kernels.linear import _parts as _linear_parts
from jaxseq.kernels.lti import _gpu_parts
from jaxseq.recurrence.linear import _linear_methods
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.systems import _lti_chunk

# JAX's precisions that equal the kernel's.
_PRECISIONS = (None, "default", "fastest")


class _Options(NamedTuple):
  """Static options of a kernel."""

  form: support.Form
  segments: int
  reverse: bool


class _Arrays(NamedTuple):
  """Arrays of the recurrence; states are by parts [B, P]."""

  system: tuple  # see `_lti_chunk.System`
  u: jax.Array  # [B, T, H]
  init: tuple[jax.Array, ...]
  reset: jax.Array | None


def fits(form: support.Form, system, u: jax.Array) -> bool:
  """True if the kernel supports such a system and inputs."""
  a, w_in, w_out, _ = system
  parts, P = len(a), a[0].shape[0]
  widths = u.shape[-1], w_out.shape[1]
  states = parts * (P + -P % _gpu_parts.CHANNELS)
  return (
    form.chip == "gpu"
    and {u.dtype.name, w_in.dtype.name} == {"float32"}
    and all(0 < width and width % _gpu_parts.DEPTH == 0 for width in widths)
    and max(*widths, states) <= _gpu_parts.WIDEST
    and u.shape[0] > 0
    and u.shape[1] >= _gpu_parts.TILE
    and jax.config.jax_default_matmul_precision in _PRECISIONS
  )


def chunk(form: support.Form, reverse: bool, options: dict, carry, u, reset):
  """Computes one chunk, in the form of `_chunks.over_chunks`."""
  system, init = carry
  # The last chunk may be shorter.
  count = min(options["segments"], u.shape[1] // _gpu_parts.TILE)
  static = _Options(form, max(1, count), reverse)
  y, final = _scan(static, _Arrays(system, u, init, reset))
  return (system, final), y


def _forward(options, arrays, _):
  """Returns outputs [B, T, M] and the last state; states in kernel layout."""
  from jaxseq.kernels.lti import _gpu

  system, u, init, reset = arrays
  layout = _Layout.of(system, u, options)
  a, w_in, w_out, D = layout.system(system)
  walk = _gpu_parts.Walk(options.form, layout.parts, options.reverse)
  flags, x, init = layout.flags(reset), layout.along(u), layout.state(init)
  entering = init
  if options.segments > 1:
    maps = _gpu.summary(walk, a, w_in, x, flags, False)
    entering = layout.entering(maps, init, options.reverse)
  h, y, last = _gpu.states(walk, a, w_in, w_out, D, x, entering, flags)
  final = layout.by_row(last)[:, 0 if options.reverse else -1]
  return (layout.whole(y), layout.parts_of(final)), h


def _gradient(options, arrays, h, cotangents):
  """Computes the arrays' cotangents by the kernel."""
  from jaxseq.kernels.lti import _gpu

  (system, u, init, reset), (g, g_final) = arrays, cotangents
  layout = _Layout.of(system, u, options)
  a, w_in, w_out, D = layout.system(system)
  back = _gpu_parts.Walk(options.form, layout.parts, not options.reverse)
  flags, x, along = layout.flags(reset), layout.along(g), layout.along(u)
  entering, before = layout.state(g_final), layout.state(init)
  if options.segments > 1:
    maps = _gpu.summary(back, a, w_out.T, x, flags, True)
    entering = layout.entering(maps, entering, back.backwards)
    after = layout.by_row(h[:, 0 if options.reverse else -1])
    before = _linear_methods.previous(after, before, options.reverse)
    before = before.reshape(entering.shape)
  lam, du, mu, da = _gpu.gradient(
    back, a, w_in, w_out, D, x, entering, flags, h, before
  )
  first = -1 if options.reverse else 0
  d_system = (
    layout.parts_of(jnp.sum(da, axis=0)),
    layout.unpadded(jnp.einsum("bth,bts->hs", along, lam)),
    layout.unpadded(jnp.einsum("btm,bts->ms", x, h)).T,
    None if D is None else jnp.sum(g * u, axis=(0, 1)),
  )
  d_init = layout.parts_of(layout.by_row(mu)[:, first])
  return _Arrays(d_system, layout.whole(du), d_init, None)


def _plain(options, arrays):
  """Computes the results without a kernel."""
  system, u, init, reset = arrays
  how = _lti_chunk.Options(options.reverse, "associative", u.shape[1])
  return _lti_chunk.run(_lti_chunk.System(*system), u, init, reset, how)


_scan = _kept_vjp.differentiable(_forward, _gradient, _plain)


class _Layout(NamedTuple):
  """Converts arrays to the kernel's layout: segments as rows, padded states."""

  rows: int
  time: int
  segments: int
  parts: int
  P: int

  @classmethod
  def of(cls, system, u, options):
    a = system[0]
    return cls(*u.shape[:2], options.segments, len(a), a[0].shape[0])

  @property
  def _missing(self):
    return -self.time % (_gpu_parts.TILE * self.segments)

  def along(self, x):
    """Converts [B, T, n] to [B segments, T / segments, n]."""
    x = _calls.padded(x, 1, _gpu_parts.TILE * self.segments)
    return x.reshape(self.rows * self.segments, -1, x.shape[-1])

  def whole(self, x):
    """Undoes `along`."""
    return x.reshape(self.rows, -1, x.shape[-1])[:, : self.time]

  def flags(self, reset):
    """Converts [B, T] bool to [B segments, T / segments] int32."""
    if reset is None and not self._missing:
      return None
    if reset is None:
      reset = jnp.zeros((self.rows, self.time), bool)
    flags = (~reset).astype(jnp.int32)
    # 2 leaves the state unchanged.
    flags = _calls.padded(flags, 1, _gpu_parts.TILE * self.segments, fill=2)
    return flags.reshape(self.rows * self.segments, -1)

  def system(self, system):
    """Returns joined decays, and matrices with padded states."""
    a, w_in, w_out, D = system
    a = self._padded(jnp.concatenate(a))
    return a, self._padded(w_in).T, self._padded(w_out.T), D

  def state(self, x):
    """Converts parts [B, P] to [B, S]."""
    return self._padded(jnp.concatenate(x, axis=-1))

  def by_row(self, x):
    """Converts [B segments, S] to [B, segments, S]."""
    return x.reshape(self.rows, self.segments, -1)

  def entering(self, maps, init, reverse):
    """Returns the state entering each segment, [B segments, S]."""
    maps = (self._complex(self.by_row(x)) for x in maps)
    states = _linear_methods.entering(
      *maps, self._complex(init), reverse=reverse
    )
    states = jnp.concatenate(_linear_parts.split(states), axis=-1)
    return states.reshape(self.rows * self.segments, -1)

  def parts_of(self, x):
    """Converts [..., S] to parts [..., P]."""
    halves = jnp.split(x, self.parts, axis=-1)
    return tuple(half[..., : self.P] for half in halves)

  def unpadded(self, x):
    """Converts [..., S] to concatenated parts [..., P]."""
    return jnp.concatenate(self.parts_of(x), axis=-1)

  def _padded(self, x):
    """Undoes `unpadded`."""
    halves = jnp.split(x, self.parts, axis=-1)
    halves = [
      _calls.padded(half, x.ndim - 1, _gpu_parts.CHANNELS) for half in halves
    ]
    return jnp.concatenate(halves, axis=-1)

  def _complex(self, x):
    return _linear_parts.join(tuple(jnp.split(x, self.parts, axis=-1)))
