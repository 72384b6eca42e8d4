"""Causal softmax attention with a bounded reach, its last keys a state."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _serialization
from jaxseq import validate
from jaxseq.recurrence.attention import _fades
from jaxseq.recurrence.attention import _hip_step
from jaxseq.recurrence.attention import _window_blocks
from jaxseq.recurrence.attention import _window_checks
from jaxseq.recurrence.attention import _window_step
from jaxseq.recurrence.attention import exact_attention
from jaxseq.recurrence.attention import hip
from jaxseq.recurrence.attention._schemes import blocks
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _collectives
from jaxseq.recurrence.shared import _halo
from jaxseq.recurrence.shared import _prefix

SCHEMES = ("halo", *exact_attention.SCHEMES)
METHODS = ("auto", "chunked", "pallas", "cudnn", "tokamax")
# Upper bound of element counts: places among keys stay in 32 bits.
_LONGEST = 2**30


@_serialization.exported("jaxseq.recurrence.window.WindowState")
class WindowState(NamedTuple):
  """The last elements, oldest first; those before the episode are zeros.

  Attributes:
    keys: (*batch, window, groups, D), before `embed`.
    values: (*batch, window, groups, D); None if `expand` computes all from
      keys.
    length: (*batch,) number of elements since the state was fresh, in floating
      point: float32 counts up to 2^24.
  """

  keys: jax.Array
  values: jax.Array | None
  length: jax.Array


@_serialization.exported("jaxseq.recurrence.FadingWindowState")
class FadingWindowState(NamedTuple):
  """A `WindowState` of elements with decays.

  Attributes:
    keys: (*batch, window, groups, D), as in `WindowState`.
    values: (*batch, window, groups, D), or None, as in `WindowState`.
    length: (*batch,), as in `WindowState`.
    fades: (*batch, window, heads), sums of the decays after each element.
  """

  keys: jax.Array
  values: jax.Array | None
  length: jax.Array
  fades: jax.Array


def window_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array | None,
  window: int,
  init: WindowState | FadingWindowState | None = None,
  *,
  reset: jax.Array | None = None,
  decay: jax.Array | None = None,
  embed: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
  expand: Callable[[jax.Array], tuple[jax.Array, jax.Array]] | None = None,
  distances: tuple[jax.Array, jax.Array] | None = None,
  search: hip.Hip | None = None,
  block_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
  scheme: str = "halo",
) -> tuple[jax.Array, WindowState | FadingWindowState]:
  """Lets each element attend to itself and to at most `window` before it.

  o_t = sum_j softmax_j(q_t . k_j / sqrt(D)) v_j over the visible j (Vaswani et
  al., "Attention is all you need", arXiv:1706.03762, eq. 1). The backward pass
  recomputes the weights: memory beyond inputs and outputs is that of one block
  of queries, and the work grows with time * window. Invisible elements are
  removed by selects, undefined numbers too; an element that sees undefined
  numbers gives NaN.

  Args:
    q: (*batch, time, heads, D) queries, of a floating dtype.
    k: (*batch, time, groups, D) keys; `groups` divides `heads`, and heads /
      groups neighboring heads share a key.
    v: like k, values; None with `expand`.
    window: number of elements that an element sees beside itself.
    init: state before the first element; the fresh state if None. With fades,
      if there is a `decay`.
    reset: (*batch, time) bool; if true, elements before that element are no
      longer visible.
    decay: (*batch, time, heads) logarithms of forget gates, finite and at most
      0: decay_{j+1} + ... + decay_t is added to the score of t and j (Lin et
      al., "Forgetting Transformer", arXiv:2503.02130). Only with "chunked" and
      "halo", and without `search`.
    embed: adds positions: from queries or keys (*batch, n, any, D) and their
      (n,) positions, counted from anywhere in the sequence, to an array like
      them. Only differences of positions may matter to products.
    expand: makes keys (*batch, n, groups, D) and values (*batch, n, groups, E)
      from `k`, of any number of groups and width, after `embed`. The state and
      the exchange between devices have `k` itself.
    distances: further queries p (*batch, time, heads, D) and a vector r for
      each distance from 0, (window + 1, heads, D): p_t . r_{t-j} is added to
      q_t . k_j. Only with "chunked" and the scheme "halo".
    search: options of a search for the keys of each query, among the visible
      ones; all of them if None. Only with "chunked" and "halo", and without
      `distances`. A single element reads only the keys that its search visits,
      if these are fewer.
    block_size: queries per block of "chunked"; 256 if None.
    method: "chunked", blocks of queries one after the other; "auto", the same
      until a device has timed the others; or external kernels, for heads of at
      most 256 features: "pallas", on a TPU, JAX's splash attention; "cudnn", on
      a GPU, for 16 bits, without `reset` and `init`; "tokamax", on a GPU, for
      16 bits, from the extra `jaxseq[tokamax]`. Second derivatives are those of
      "chunked".
    axis: name of the mesh axis over which time is split, for use inside
      `jax.shard_map`: arrays with a time axis are this device's chunk, states
      those of the whole sequence, the same on all devices.
    scheme: how devices exchange keys and values, with `axis`: "halo", in which
      each receives the `window` keys and values before its own, in one
      `ppermute` for each chunk that they come from; or, if all elements
      together are at most `window` + 1, a scheme of `softmax_attention`,
      without `expand`, `distances` and `search`.

  Returns:
    (*batch, time, heads, D), or E with `expand`, in the dtype of q, and the
    state after the last element, keys and values in the dtype of k and v (and
    init), `length` and fades at least float32.

  Raises:
    ValueError: if shapes, sizes or the scheme do not fit the above.
    NotImplementedError: if the method is a kernel that does not exist for the
      platform or for these arguments, or is not installed.
  """
  validate.choice("method", method, METHODS)
  if axis is not None and scheme != "halo":
    if method not in ("auto", "chunked"):
      got = f"scheme {scheme!r}"
      sentence = support.sentence("window", got, "scheme 'halo'", method)
      raise NotImplementedError(sentence)
    method = "chunked"
  batch, time = _window_checks.arguments(
    q, k, v, window, init, reset, expand, block_size
  )
  _window_checks.distances(distances, q, window)
  decay = _window_checks.decay(decay, q, window, init)
  if search is not None and (distances is not None or decay is not None):
    other = "distances" if decay is None else "a decay"
    raise validate.error("search", search, f"None with {other}")
  extras = expand, distances, search, decay
  plain = all(option is None for option in extras)
  schemes = SCHEMES if plain else SCHEMES[:1]
  validate.choice("scheme", scheme, schemes)
  whole = time if axis is None else time * lax.axis_size(axis)
  arguments = q, k, v, window, init, reset, embed, expand, distances, search
  problem = _Problem(*arguments, block_size, method, decay)
  if axis is None:
    o, kept = _on_one_device(problem)
  elif scheme == "halo":
    o, kept = _with_halo(problem, axis)
  else:
    o, kept = _by_scheme(problem, axis, scheme)
  dtype = jnp.promote_types(k.dtype, jnp.float32)
  length = jnp.zeros(batch, dtype) if init is None else init.length
  length = length.astype(dtype) + whole
  last = _last_reset(reset, time, axis)
  if last is not None:
    length = jnp.where(last < 0, length, (whole - last).astype(dtype))
  short = window - kept[0].shape[-3]
  if short > 0:
    front = ((0, 0),) * len(batch) + ((short, 0),)

    def pad(x):
      return jnp.pad(x, front + ((0, 0),) * (x.ndim - len(front)))

    kept = jax.tree.map(pad, kept)
  keys, values, *fades = kept
  if fades:
    return o, FadingWindowState(keys, values, length, *fades)
  return o, WindowState(keys, values, length)


class _Problem(NamedTuple):
  """The arguments of `window_attention`."""

  q: jax.Array
  k: jax.Array
  v: jax.Array | None
  window: int
  init: WindowState | FadingWindowState | None
  reset: jax.Array | None
  embed: Callable[[jax.Array, jax.Array], jax.Array] | None
  expand: Callable[[jax.Array], tuple[jax.Array, jax.Array]] | None
  distances: tuple[jax.Array, jax.Array] | None
  search: hip.Hip | None
  block_size: int | None
  method: str
  decay: jax.Array | None

  def steps(self):
    """True for one element and a state, without other options."""
    plain = self.distances is None and self.search is None
    return plain and self.q.shape[-3] == 1 and self.method in METHODS[:2]

  def embedded(self, x, index):
    """Queries or keys with their positions."""
    return x if self.embed is None else self.embed(x, index)

  def begin(self):
    """First place of the cached elements' episode, negative if before them."""
    # The caller's flag may override the state's count: any number will do then.
    length = jnp.clip(jnp.nan_to_num(self.init.length), 0, _LONGEST)
    return self.window - jnp.round(length).astype(jnp.int32)

  def kept(self, start, *arrays):
    """The last `window` of keys, values and more, zeros before `start`."""
    axis = start.ndim
    total = arrays[0].shape[axis]
    kept = jnp.arange(total)[-self.window :] >= start[..., None]

    def last(x):
      flags = kept.reshape(*kept.shape, *[1] * (x.ndim - axis - 1))
      first = x.shape[axis] - kept.shape[-1]
      return jnp.where(flags, lax.slice_in_dim(x, first, None, axis=axis), 0)

    return jax.tree.map(last, arrays)

  def behind_cache(self, k, v):
    """The cached keys and values with the new ones after them."""
    return jax.tree.map(
      lambda cache, x: jnp.concatenate([cache.astype(x.dtype), x], axis=-3),
      (self.init.keys, self.init.values),
      (k, v),
    )


def _on_one_device(problem):
  """Attends on one device; returns o, and the last keys, values and fades."""
  (q, k, v), decay, fading = problem[:3], problem.decay, None
  if problem.init is None:
    if decay is not None:
      fading = _fades.Fading(decay, None)
    begin = jnp.zeros(q.shape[:-3], jnp.int32)
    return _attend(problem, q, k, v, begin, fading)
  if problem.steps():
    return _step(problem)
  k, v = problem.behind_cache(k, v)
  if decay is not None:
    fading = _fades.cached(decay, problem.init.fades)
  return _attend(problem, q, k, v, problem.begin(), fading)


def _with_halo(problem, axis):
  """Attends over split time: a window of keys and values from the left."""
  q, k, v, count, state, reset = problem[:6]
  *batch, time, groups, width = k.shape
  devices, device = lax.axis_size(axis), lax.axis_index(axis)
  if state is None:
    count = min(count, (devices - 1) * time)
    begin, init = jnp.zeros(batch, jnp.int32), None
  else:
    begin = problem.begin() - count
    init = _flat(state.keys, state.values).astype(k.dtype)
  near = _halo.previous(_flat(k, v), count, axis, init)
  parts = 1 if v is None else 2
  near = near.reshape(*near.shape[:-1], parts, groups, width)
  k = jnp.concatenate([near[..., 0, :, :], k], axis=-3)
  if v is not None:
    v = jnp.concatenate([near[..., 1, :, :], v], axis=-3)
  # From positions in the whole sequence to places among the keys here.
  begin = begin + count - device * time
  if reset is not None and count:
    flags = _halo.previous_flags(reset, count, axis)
    last = jnp.max(jnp.where(flags, jnp.arange(count), -1), axis=-1)
    begin = jnp.where(last < 0, begin, last)
  fading = None
  if problem.decay is not None:
    fades = None if state is None else state.fades
    fading = _fades.with_halo(problem.decay, fades, count, axis)
  arrays = _prefix.vary(axis, q, k, v, begin, fading)
  o, kept = _attend(problem, *arrays)
  return o, _prefix.replicate_last(kept, axis)


def _by_scheme(problem, axis, scheme):
  """Attends over split time if the window covers the whole sequence."""
  q, k, v, window, state, reset = problem[:6]
  time, batch_axes = q.shape[-3], q.ndim - 3
  whole = lax.axis_size(axis) * time
  if whole > window + 1:
    raise validate.error(
      "window",
      window,
      f"at least {whole - 1} for scheme {scheme!r}, which covers the whole "
      "sequence; scheme 'halo' takes any window",
    )
  place = lax.axis_index(axis) * time + jnp.arange(time)
  cached = 0 if state is None else window
  by_head = [problem.embedded(x, cached + place) for x in (q, k)]
  by_head = [x.swapaxes(-2, -3) for x in (*by_head, v)]
  average = None
  begin = jnp.zeros(q.shape[:batch_axes], jnp.int32)
  if state is not None:
    begin = problem.begin()
    average = _cached_average(problem, by_head[0], begin, place, axis)
  o = exact_attention.softmax_attention(
    *by_head, axis=axis, scheme=scheme, reset=reset, init=average
  )
  k, v = _collectives.joined(axis, (k, v), batch_axes)
  if state is not None:
    k, v = problem.behind_cache(k, v)
  last = _last_reset(reset, time, axis)
  start = begin if last is None else jnp.where(last < 0, begin, cached + last)
  return o.swapaxes(-2, -3), problem.kept(start, k, v)


def _attend(problem, q, k, v, begin, fading):
  """Attends from the last elements; the first episode starts at `begin`."""
  time, total = q.shape[-3], k.shape[-3]
  anchor = _starts(begin, problem.reset, total - time, time)
  start = jnp.maximum(anchor, 0)
  # In numpy, the positions of one step are a constant, and the compiler
  # computes the sines of a constant only once.
  index = np.arange(total) if time == 1 else jnp.arange(total)
  q = problem.embedded(q, index[total - time :])
  if problem.expand is None and _hip_step.pays(problem.search, time, total):
    options = problem.window, problem.embed
    o = _hip_step.attend(problem.search, q, k, v, anchor, *options)
    return o, problem.kept(start[..., -1], k, v)
  placed, window = problem.embedded(k, index), problem.window
  seen = placed, v
  if problem.expand is not None:
    seen = problem.expand(placed)
    _window_checks.expanded(q, *seen, total)
  whole = problem.init is None and problem.reset is None and total == time
  options = problem.block_size, problem.method, whole, problem.distances
  select = None if problem.search is None else (problem.search, anchor)
  more = *options, select
  o = _window_blocks.attend(q, *seen, start, window, *more, fading=fading)
  if fading is None:
    return o, problem.kept(start[..., -1], k, v)
  return o, problem.kept(start[..., -1], k, v, _fades.kept(fading, window))


def _step(problem):
  """Attends with one element, which is appended to the cache."""
  window, reset = problem.window, problem.reset
  start = jnp.maximum(_starts(problem.begin(), reset, window, 1), 0)

  def moved(cache, x):
    cache, axis = cache.astype(x.dtype), start.ndim - 1
    first, rest = jnp.split(cache, [1], axis=axis)
    return first, jnp.concatenate([rest, x], axis=axis)

  def seen(k, v, index):
    placed = problem.embedded(k, index)
    if problem.expand is None:
      return placed, v
    expanded = problem.expand(placed)
    _window_checks.expanded(problem.q, *expanded, len(index))
    return expanded

  front_key, keys = moved(problem.init.keys, problem.k)
  front_value = values = None
  if problem.v is not None:
    front_value, values = moved(problem.init.values, problem.v)
  fronts, arrays = (front_key, front_value), (keys, values)
  if problem.decay is not None:
    faded = problem.init.fades + problem.decay
    front_fade, fades = moved(faded, jnp.zeros_like(faded[..., :1, :]))
    fronts, arrays = (*fronts, front_fade), (*arrays, fades)
  # The state's arrays are computed once: products read their layout.
  arrays = problem.kept(start[..., 0] - 1, *arrays)
  arrays = lax.optimization_barrier(arrays)
  index = np.arange(window + 1)
  o = _window_step.attend(
    problem.embedded(problem.q, index[window:]),
    seen(*fronts[:2], index[:1]),
    seen(*arrays[:2], index[1:]),
    start,
    None if problem.decay is None else (fronts[2], arrays[2]),
  )
  return o, arrays


def _last_reset(reset, time, axis):
  """Place of the whole sequence's last reset, (*batch,), or -1."""
  if reset is None:
    return None
  place = jnp.arange(time)
  if axis is not None:
    place = place + lax.axis_index(axis) * time
  last = jnp.max(jnp.where(reset, place, -1), axis=-1)
  return last if axis is None else lax.pmax(last, axis)


def _flat(k, v):
  """Packs keys and values as (*batch, time, features), to send at once."""
  stacked = jnp.stack([x for x in (k, v) if x is not None], axis=-3)
  return stacked.reshape(*stacked.shape[:-3], -1)


def _starts(begin, reset, earlier, time):
  """Place of the first element of each element's episode, (*batch, time)."""
  if reset is None:
    return jnp.broadcast_to(begin[..., None], (*begin.shape, time))
  last = jnp.where(reset, jnp.arange(time), -1)
  last = lax.cummax(last, axis=last.ndim - 1)
  return jnp.where(last < 0, begin[..., None], earlier + last)


def _cached_average(problem, q, begin, place, axis):
  """Average over the cached keys that this device's queries see."""
  state, reset = problem.init, problem.reset
  index = jnp.arange(problem.window)
  keys = problem.embedded(state.keys.astype(q.dtype), index)
  # Cached elements, and the queries that still see them, are segment 0.
  held = jnp.where(index >= begin[..., None], 0, 1)
  seeing = jnp.zeros((*begin.shape, len(place)), held.dtype)
  if reset is not None:
    resets = lax.all_gather(jnp.any(reset, axis=-1), axis)
    earlier = jnp.arange(len(resets)) < lax.axis_index(axis)
    before = jnp.any(jnp.moveaxis(resets, 0, -1) & earlier, axis=-1)
    first = lax.cummax(reset.astype(jnp.int32), axis=reset.ndim - 1) == 0
    seeing = jnp.where(first & ~before[..., None], 0, 2)
  attend = jax.checkpoint(blocks.attend)
  return attend(
    jnp.where(jnp.isfinite(q), q, 0),
    keys.swapaxes(-2, -3),
    state.values.astype(q.dtype).swapaxes(-2, -3),
    # The cached entry of index i is `window` elements before the query at place
    # i; later entries are nearer.
    blocks.Sight(-place, -index, seeing, held),
  )
