"""The core of S5 on Hopper, in one kernel: y = Re(C h) + D u, h = a h + B u.

A block of 128 threads takes one row through time, 64 elements at a time: the
tensor cores project a tile's inputs, a thread takes each channel of the states
from element to element in shared memory, and the tensor cores read the outputs
off. The matrices come by, 32 columns at a time, as there is no room for them.
Backward, cotangents take the place of inputs and matrices that of each other.
Products are those of float32 at JAX's default precision, with 10 bits.

Real and imaginary parts lie side by side, in the two halves of the last axis.
"""

from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.recurrence.kernels import linear_parts
from jaxseq.recurrence.kernels import support

TILE = 64  # Rows of a product.
CHANNELS = 128
# Columns of both factors that are multiplied at once: 128 bytes.
DEPTH = 32
_STAGES = 3
# Elements whose inputs are loaded at once.
_GROUP = 8
# Beside the columns of a tile, so that rows begin in different banks.
_APART = 8
# Columns of outputs that wait for their inputs at once.
_OUT = 32
_LAYOUT = plgpu.Layout.WGMMA
_add, _times, _conj = linear_parts.add, linear_parts.times, linear_parts.conj


class Walk(NamedTuple):
  """How a kernel goes along time: static.

  Attributes:
    form: as `support.form` gives it.
    parts: 2 for complex states, 1 for real ones.
    backwards: whether from the last element to the first.
  """

  form: support.Form
  parts: int
  backwards: bool


class Flags:
  """Values of flags: what becomes of the state before an element."""

  FORGOTTEN, KEPT, PADDING = 0, 1, 2


def states(
  walk: Walk,
  a: jax.Array,
  w_in: jax.Array,
  w_out: jax.Array,
  D: jax.Array | None,
  u: jax.Array,
  init: jax.Array,
  flags: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """H_t = a h_{t-1} + w_in u_t, and y_t = w_out h_t + D u_t.

  Args:
    walk: static.
    a: [S] decays.
    w_in: [S, H], where H is a multiple of `DEPTH`, S of all `CHANNELS`.
    w_out: [M, S], where M is a multiple of `DEPTH`.
    D: [M], or None.
    u: [R, T, H], where T is a multiple of `TILE`.
    init: [R, S].
    flags: [R, T] int32, see `Flags`; None if all are kept.

  Returns:
    H [R, T, S], y [R, T, M], and the last state [R, S].
  """

  def step(x, carry):
    h = _add(x.kept(_times(x.a, carry)), x.b)
    h = x.passing(carry, h)
    return h, h

  h, y, last = _along_time(step, walk, a, w_in, (w_out, D), u, (init,), flags)
  return h, y, last


def summary(
  walk: Walk,
  a: jax.Array,
  w_in: jax.Array,
  u: jax.Array,
  flags: jax.Array | None,
  adjoint: bool,
) -> tuple[jax.Array, jax.Array]:
  """What all elements of a row together do to a state: its factor and addend.

  Args:
    walk: as in `states`.
    a: as in `states`.
    w_in: as in `states`.
    u: as in `states`.
    flags: as in `states`.
    adjoint: whether to the carry of `gradient`.

  Returns:
    [R, S] both.
  """

  def step(x, carry):
    half = len(carry) // 2
    factor, addend = carry[:half], carry[half:]
    after = x.kept(_times(x.a, factor))
    if adjoint:
      through = x.kept(_times(x.a, _add(addend, x.b)))
    else:
      through = _add(x.kept(_times(x.a, addend)), x.b)
    return x.passing(carry, after + through), ()

  S = a.shape[0]
  zero = jnp.zeros_like(u, shape=(u.shape[0], S))
  one = zero.at[:, : S // walk.parts].set(1)
  a = _conjugate(walk, a) if adjoint else a
  *_, factor, addend = _along_time(
    step, walk, a, w_in, (), u, (one, zero), flags
  )
  return factor, addend


def gradient(
  walk: Walk,
  a: jax.Array,
  w_in: jax.Array,
  w_out: jax.Array,
  D: jax.Array | None,
  g: jax.Array,
  g_final: jax.Array,
  flags: jax.Array | None,
  h: jax.Array,
  before: jax.Array,
) -> tuple[jax.Array, ...]:
  """Lam_t = w_out^T g_t + mu_{t+1}, mu_t = a^* lam_t, du_t = w_in^T lam_t + ...

  Args:
    walk: as it is walked: from the end, unless the states run backwards.
    a: as in `states`.
    w_in: as in `states`.
    w_out: as in `states`.
    D: as in `states`: du_t also has D g_t.
    g: [R, T, M], cotangents of y.
    g_final: [R, S], cotangents of the last state.
    flags: as in `states`.
    h: [R, T, S], the states.
    before: [R, S], those before each row.

  Returns:
    Lam [R, T, S], du [R, T, H], mu of the first element [R, S], and the
    cotangent of a [R, S].
  """

  def step(x, carry):
    mu, da = carry[: walk.parts], carry[walk.parts :]
    lam = _add(x.b, mu)
    after = x.kept(_times(x.a, lam))
    da_after = _add(da, x.kept(_times(lam, _conj(x.h))))
    return x.passing(carry, after + da_after), lam

  zero = jnp.zeros_like(g_final)
  return _along_time(
    step,
    walk,
    _conjugate(walk, a),
    w_out.T,
    (w_in.T, D),
    g,
    (g_final, zero),
    flags,
    h,
    before,
  )


def _conjugate(walk, a):
  half = a.shape[0] // walk.parts
  return a if walk.parts == 1 else a.at[half:].multiply(-1)


class _Element(NamedTuple):
  """What a step sees of one element: vectors of 128 channels, by parts."""

  a: linear_parts.Parts
  b: linear_parts.Parts
  h: linear_parts.Parts
  flag: jax.Array | None

  def kept(self, x):
    """Zeros where the element starts afresh."""
    return linear_parts.select(self.flag, x, 0.0)

  def passing(self, carry, x):
    """What it was in the padding."""
    if self.flag is None:
      return x
    padding = self.flag > 1.5
    return tuple(jnp.where(padding, *each) for each in zip(carry, x))


@support.in_32_bits
def _along_time(
  step, walk, a, w_in, read_out, x, carry, flags, h=None, before=None
):
  """Folds `step(element, carry) -> carry, state` over time, in each row.

  Returns the states and what is read off them, if anything is, and the last
  carry, in arrays of [R, S].
  """
  rows, time, H = x.shape
  S, tiles = a.shape[0], time // TILE
  read_out = tuple(each for each in read_out if each is not None)
  flags = () if flags is None else (flags,)
  past = () if h is None else (h, before)
  # What is multiplied, one after the other: all of w_in, and then of w_out.
  chunks = [(0, c) for c in range(H // DEPTH)]
  chunks += [(1, c) for c in range(S // DEPTH) if read_out]
  groups = S // walk.parts // CHANNELS

  def body(*refs):
    refs = iter(refs)
    x_ref, a_ref, w_in_ref = (next(refs) for _ in range(3))
    w_refs = [w_in_ref, *(next(refs) for _ in read_out)]
    flag_refs, past_refs, carry_refs = (
      [next(refs) for _ in each] for each in (flags, past, carry)
    )
    out_refs = [next(refs) for _ in range(2 if read_out else 0)]
    last_refs = [next(refs) for _ in carry]
    operand, columns, states, arrived, loaded = refs
    row = lax.axis_index("row")

    def of(group):
      # The channels of each part.
      return [
        pl.ds(group * CHANNELS + part * groups * CHANNELS, CHANNELS)
        for part in range(walk.parts)
      ]

    def begin(k):
      return (tiles - 1 - k if walk.backwards else k) * TILE

    def fetch(k):
      times = pl.ds(begin(k), TILE)
      for c in range(H // DEPTH):
        place = x_ref.at[row, times, pl.ds(c * DEPTH, DEPTH)]
        plgpu.copy_gmem_to_smem(place, operand.at[c], arrived)

    def fetch_columns(k, number):
      """The next columns of a matrix, of this tile or one after it."""
      which, c = chunks[number % len(chunks)]
      place = w_refs[which].at[:, pl.ds(c * DEPTH, DEPTH)]
      slot = lax.rem(k * len(chunks) + number, _STAGES)
      target = columns.at[slot, pl.ds(0, place.shape[0])]

      @pl.when(k + number // len(chunks) < tiles)
      def _():
        plgpu.copy_gmem_to_smem(place, target, loaded.at[slot])

    def product(k, which):
      """The operand's tile times a matrix."""
      own = [i for i, chunk in enumerate(chunks) if chunk[0] == which]
      width = w_refs[which].shape[0]

      def run(sums):
        for number in own:
          slot = lax.rem(k * len(chunks) + number, _STAGES)
          plgpu.barrier_wait(loaded.at[slot])
          matrix = columns.at[slot, pl.ds(0, width)].transpose((1, 0))
          plgpu.wgmma(sums, operand.at[chunks[number][1]], matrix)
          # The product before is done, and its columns may go.
          if number > own[0]:
            plgpu.wgmma_wait(1)
            plgpu.commit_smem()
            fetch_columns(k, number - 1 + _STAGES)
        plgpu.wgmma_wait(0)
        plgpu.commit_smem()
        fetch_columns(k, own[-1] + _STAGES)
        return sums[...]

      return pl.run_scoped(run, plgpu.ACC((TILE, width), jnp.float32))

    a_now = [
      tuple(_vector(a_ref.at[own]) for own in of(group))
      for group in range(groups)
    ]

    def element(t, i, group):
      b = tuple(_vector(states.at[i, own]) for own in of(group))
      h_now = ()
      if past:
        later = 1 if walk.backwards else -1
        # Of the element before, which is the one after for `backwards`.
        edge = 0 if walk.backwards else time - 1
        at = lax.clamp(0, t - later, time - 1)
        h_now = tuple(
          jnp.where(_wide(t == edge) > 0, first, other)
          for first, other in (
            (
              _vector(past_refs[1].at[row, own]),
              _vector(past_refs[0].at[row, at, own]),
            )
            for own in of(group)
          )
        )
      flag = _wide(flag_refs[0][row, t]) if flags else None
      return _Element(a_now[group], b, h_now, flag)

    def scanned(k, carry):
      """The states of a tile, in place of what is added to them."""

      def some(j, carry):
        indices = [j * _GROUP + i for i in range(_GROUP)]
        if walk.backwards:
          indices = [TILE - 1 - i for i in indices]
        carry = list(carry)
        for group in range(groups):
          # Loads come before all stores, which the compiler would not pass.
          elements = [element(begin(k) + i, i, group) for i in indices]
          found = []
          for each in elements:
            carry[group], result = step(each, carry[group])
            found.append(result)
          for i, result in zip(indices, found):
            for own, part in zip(of(group), result):
              states[i, own] = part
              if read_out:
                out_refs[0][row, begin(k) + i, own] = part
        return tuple(carry)

      return lax.fori_loop(0, TILE // _GROUP, some, carry)

    def read_off(k):
      # From rows that threads scan to the layout of operands.
      for c in range(S // DEPTH):
        place = states.at[:, pl.ds(c * DEPTH, DEPTH)]
        operand.at[c][...] = plgpu.load(place, layout=_LAYOUT, optimized=False)
      plgpu.commit_smem()
      y = product(k, 1)
      for start in range(0, y.shape[1], _OUT):
        own = pl.ds(start, min(_OUT, y.shape[1] - start))
        at = row, pl.ds(begin(k), TILE), own
        part = lax.slice(y, (0, start), (TILE, start + own.size))
        for D in w_refs[2:]:
          through = plgpu.load(x_ref.at[at], layout=_LAYOUT, optimized=False)
          D = plgpu.load(D.at[own], layout=_LAYOUT.reduce(0), optimized=False)
          part += lax.broadcast_in_dim(D, part.shape, [1]) * through
        out_refs[1][at] = part

    def tile(k, carry):
      plgpu.barrier_wait(arrived)
      states[:, pl.ds(0, S)] = product(k, 0)
      plgpu.commit_smem()
      carry = scanned(k, carry)
      plgpu.commit_smem()
      if read_out:
        read_off(k)

      @pl.when(k + 1 < tiles)
      def _():
        fetch(k + 1)

      return carry

    fetch(jnp.int32(0))
    for number in range(_STAGES):
      fetch_columns(jnp.int32(0), number)
    # The product has the type of what the loop returns inside `jax.shard_map`.
    carry_now = tuple(
      tuple(
        _vector(ref.at[row, own]) * 1.0
        for ref in carry_refs
        for own in of(group)
      )
      for group in range(groups)
    )
    last = lax.fori_loop(0, tiles, tile, carry_now)
    for group, found in enumerate(last):
      places = [(ref, own) for ref in last_refs for own in of(group)]
      for (ref, own), part in zip(places, found):
        ref[row, own] = part

  arrays = (x, a, w_in, *read_out, *flags, *past, *carry)
  M = read_out[0].shape[0] if read_out else 0
  shapes = [(rows, time, S), (rows, time, M)] if read_out else []
  shapes += [(rows, S)] * len(carry)
  depth = max(H, S if read_out else 0) // DEPTH
  name = "lti_adjoint" if past else "lti_states" if read_out else "lti_summary"
  found = plgpu.kernel(
    body,
    out_type=tuple(jax.ShapeDtypeStruct(each, jnp.float32) for each in shapes),
    scratch_types=(
      _tile(depth, TILE),
      _tile(_STAGES, max(S, M)),
      plgpu.SMEM((TILE, S + _APART), jnp.float32),
      plgpu.Barrier(num_arrivals=H // DEPTH),
      plgpu.Barrier(num_arrivals=1, num_barriers=_STAGES),
    ),
    grid=(rows,),
    grid_names=("row",),
    kernel_name=name,
    # Barriers stand above wherever a thread reads what another one wrote.
    compiler_params=plgpu.CompilerParams(
      unsafe_no_auto_barriers=True,
      lowering_semantics=plgpu.LoweringSemantics.Lane,
    ),
    interpret=support.interpreter(walk.form),
  )(*arrays)
  return tuple(support.vary_as(x, each) for each in found)


def _tile(count, height):
  """Shared memory for operands of products."""
  transforms = plgpu.TilingTransform((8, DEPTH)), plgpu.SwizzleTransform(128)
  return plgpu.SMEM((count, height, DEPTH), jnp.float32, transforms=transforms)


def _vector(ref):
  """A number for each thread."""
  layout = plgpu.Layout.WG_STRIDED((CHANNELS,), vec_size=1)
  return plgpu.load(ref, layout=layout, optimized=False)


def _wide(flag):
  """A scalar for every channel."""
  return jnp.broadcast_to(flag.astype(jnp.float32), (CHANNELS,))
