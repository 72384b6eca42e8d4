"""Causal softmax attention with a bounded reach, its last keys a state."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _serialization
from jaxseq import _validate
from jaxseq.recurrence.attention import _hip_step
from jaxseq.recurrence.attention import _window_blocks
from jaxseq.recurrence.attention import _window_step
from jaxseq.recurrence.attention import exact_attention
from jaxseq.recurrence.attention import hip
from jaxseq.recurrence.attention._schemes import blocks
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _collectives
from jaxseq.recurrence.shared import _halo
from jaxseq.recurrence.shared import _prefix

SCHEMES = ("halo", *exact_attention.SCHEMES)
METHODS = ("auto", "chunked", "pallas", "cudnn", "tokamax")
# No count of elements is above it: places among keys stay in 32 bits.
_LONGEST = 2**30


@_serialization.exported("jaxseq.recurrence.window.WindowState")
class WindowState(NamedTuple):
  """The last elements, oldest first; those before the episode are zeros.

  Attributes:
    keys: (*batch, window, groups, D), before `embed`.
    values: (*batch, window, groups, D); None where `expand` makes all of keys.
    length: (*batch,) number of elements since the state was fresh, in floating
      point: more than 2^24 in float32 are not counted.
  """

  keys: jax.Array
  values: jax.Array | None
  length: jax.Array


def window_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array | None,
  window: int,
  init: WindowState | None = None,
  *,
  reset: jax.Array | None = None,
  embed: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
  expand: Callable[[jax.Array], tuple[jax.Array, jax.Array]] | None = None,
  distances: tuple[jax.Array, jax.Array] | None = None,
  search: hip.Hip | None = None,
  block_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
  scheme: str = "halo",
) -> tuple[jax.Array, WindowState]:
  """Lets each element attend to itself and to at most `window` before it.

  o_t = sum_j softmax_j(q_t . k_j / sqrt(D)) v_j over the visible j (Vaswani et
  al., "Attention is all you need", arXiv:1706.03762, eq. 1). The backward pass
  computes the weights again: memory beyond inputs and outputs is that of one
  block of queries, and the work grows with time * window. What is not visible
  is cut off by selects, undefined numbers too; an element that sees undefined
  numbers gives NaN.

  Args:
    q: (*batch, time, heads, D) queries, of a floating dtype.
    k: (*batch, time, groups, D) keys; `groups` divides `heads`, and heads /
      groups neighboring heads share a key.
    v: like k, values; None with `expand`.
    window: number of elements that an element sees beside itself.
    init: state before the first element; that of a fresh sequence if None.
    reset: (*batch, time) bool; where true nothing before that element is seen
      from there on.
    embed: adds positions: from queries or keys (*batch, n, any, D) and their
      (n,) positions, counted from anywhere in the sequence, to an array like
      them. Only differences of positions may matter to products.
    expand: makes keys (*batch, n, groups, D) and values (*batch, n, groups, E)
      of what came as `k`, of any number of groups and width, after `embed`.
      What is kept and what devices exchange is `k` as it came.
    distances: further queries p (*batch, time, heads, D) and a vector r for
      each distance from 0, (window + 1, heads, D): p_t . r_{t-j} is added to
      q_t . k_j. For "chunked" and the scheme "halo" alone. None for none.
    search: options of a search for the keys that each query sees, of those that
      it could; all of them if None. For "chunked" and "halo" alone, and without
      `distances`. Of one element, only keys that the search comes to are read,
      where these are fewer.
    block_size: queries per block of "chunked"; 256 if None.
    method: "chunked", blocks of queries one after the other, or "auto", which
      is that until a device has timed the others; or others' kernels, for heads
      of at most 256 features: "pallas", on a TPU, JAX's splash attention;
      "cudnn", on a GPU, which takes 16 bits and neither `reset` nor `init`;
      "tokamax", on a GPU, which takes 16 bits and is the extra
      `jaxseq[tokamax]`. The gradient of their gradient is that of "chunked".
    axis: name of the mesh axis over which time is split, for use inside
      `jax.shard_map`: arrays with a time axis are this device's chunk, states
      those of the whole sequence, the same on all devices.
    scheme: how devices exchange what they need, with `axis`: "halo", where each
      receives the `window` keys and values before its own, in one `ppermute`
      for each chunk that they come from; or, if all elements together are at
      most `window` + 1, one of those of `softmax_attention`, without `expand`,
      `distances` and `search`.

  Returns:
    (*batch, time, heads, D), or E with `expand`, in the dtype of q, and the
    state after the last element, keys and values in the dtype of k and v (and
    init), `length` at least float32.

  Raises:
    ValueError: if shapes, sizes or the scheme do not fit the above.
    NotImplementedError: if the method is a kernel, and there is none for the
      platform, or for arguments like these, or not installed.
  """
  _validate.choice("method", method, METHODS)
  if axis is not None and scheme != "halo":
    if method not in ("auto", "chunked"):
      got = f"scheme {scheme!r}"
      sentence = support.sentence("window", got, "scheme 'halo'", method)
      raise NotImplementedError(sentence)
    method = "chunked"
  batch, time = _check(q, k, v, window, init, reset, expand, block_size)
  _check_distances(distances, q, window)
  if search is not None and distances is not None:
    raise _validate.error("search", search, "None with distances")
  plain = expand is None and distances is None and search is None
  schemes = SCHEMES if plain else SCHEMES[:1]
  _validate.choice("scheme", scheme, schemes)
  whole = time if axis is None else time * lax.axis_size(axis)
  arguments = q, k, v, window, init, reset, embed, expand, distances, search
  problem = _Problem(*arguments, block_size, method)
  if axis is None:
    o, keys, values = _on_one_device(problem)
  elif scheme == "halo":
    o, keys, values = _with_halo(problem, axis)
  else:
    o, keys, values = _by_scheme(problem, axis, scheme)
  dtype = jnp.promote_types(k.dtype, jnp.float32)
  length = jnp.zeros(batch, dtype) if init is None else init.length
  length = length.astype(dtype) + whole
  last = _last_reset(reset, time, axis)
  if last is not None:
    length = jnp.where(last < 0, length, (whole - last).astype(dtype))
  short = window - keys.shape[-3]
  if short > 0:
    widths = ((0, 0),) * len(batch) + ((short, 0), (0, 0), (0, 0))
    pad = functools.partial(jnp.pad, pad_width=widths)
    keys, values = jax.tree.map(pad, (keys, values))
  return o, WindowState(keys, values, length)


class _Problem(NamedTuple):
  """The arguments of `window_attention`."""

  q: jax.Array
  k: jax.Array
  v: jax.Array | None
  window: int
  init: WindowState | None
  reset: jax.Array | None
  embed: Callable[[jax.Array, jax.Array], jax.Array] | None
  expand: Callable[[jax.Array], tuple[jax.Array, jax.Array]] | None
  distances: tuple[jax.Array, jax.Array] | None
  search: hip.Hip | None
  block_size: int | None
  method: str

  def steps(self):
    """True for one plain element behind a cache."""
    plain = self.distances is None and self.search is None
    return plain and self.q.shape[-3] == 1 and self.method in METHODS[:2]

  def embedded(self, x, index):
    """Queries or keys with their positions."""
    return x if self.embed is None else self.embed(x, index)

  def begin(self):
    """First place of the cached elements' episode, negative if before them."""
    # The caller's flag may void what a state says: any number will do then.
    length = jnp.clip(jnp.nan_to_num(self.init.length), 0, _LONGEST)
    return self.window - jnp.round(length).astype(jnp.int32)

  def kept(self, k, v, start):
    """The last `window` keys and values, zeros before `start`."""
    kept = jnp.arange(k.shape[-3])[-self.window :] >= start[..., None]
    return jax.tree.map(
      lambda x: jnp.where(
        kept[..., None, None], x[..., -self.window :, :, :], 0
      ),
      (k, v),
    )

  def behind_cache(self, k, v):
    """The cached keys and values and those given, one behind the other."""
    return jax.tree.map(
      lambda cache, x: jnp.concatenate([cache.astype(x.dtype), x], axis=-3),
      (self.init.keys, self.init.values),
      (k, v),
    )


def _on_one_device(problem):
  """All of time; like the other two o, and at most `window` keys and values."""
  q, k, v = problem[:3]
  if problem.init is None:
    return _attend(problem, q, k, v, jnp.zeros(q.shape[:-3], jnp.int32))
  if problem.steps():
    return _step(problem)
  k, v = problem.behind_cache(k, v)
  return _attend(problem, q, k, v, problem.begin())


def _with_halo(problem, axis):
  """Time is split: as many keys and values as a window come from the left."""
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
  # From positions in the whole sequence to those among the keys here.
  begin = begin + count - device * time
  if reset is not None and count:
    flags = _halo.previous_flags(reset, count, axis)
    last = jnp.max(jnp.where(flags, jnp.arange(count), -1), axis=-1)
    begin = jnp.where(last < 0, begin, last)
  q, k, v, begin = _prefix.vary(axis, q, k, v, begin)
  o, keys, values = _attend(problem, q, k, v, begin)
  return o, *_prefix.replicate_last((keys, values), axis)


def _by_scheme(problem, axis, scheme):
  """Time is split, and the window covers the whole sequence."""
  q, k, v, window, state, reset = problem[:6]
  time, batch_axes = q.shape[-3], q.ndim - 3
  whole = lax.axis_size(axis) * time
  if whole > window + 1:
    raise _validate.error(
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
  return o.swapaxes(-2, -3), *problem.kept(k, v, start)


def _attend(problem, q, k, v, begin):
  """Queries are the last elements of k and v; an episode began at `begin`."""
  time, total = q.shape[-3], k.shape[-3]
  anchor = _starts(begin, problem.reset, total - time, time)
  start = jnp.maximum(anchor, 0)
  # Of numpy, the positions of one step are a constant, and the compiler takes
  # the sines of a constant once and for all.
  index = np.arange(total) if time == 1 else jnp.arange(total)
  q = problem.embedded(q, index[total - time :])
  if problem.expand is None and _hip_step.pays(problem.search, time, total):
    options = problem.window, problem.embed
    o = _hip_step.attend(problem.search, q, k, v, anchor, *options)
    return o, *problem.kept(k, v, start[..., -1])
  placed, window = problem.embedded(k, index), problem.window
  seen = placed, v
  if problem.expand is not None:
    seen = problem.expand(placed)
    _check_expanded(q, *seen, total)
  whole = problem.init is None and problem.reset is None and total == time
  options = problem.block_size, problem.method, whole, problem.distances
  select = None if problem.search is None else (problem.search, anchor)
  o = _window_blocks.attend(q, *seen, start, window, *options, select)
  return o, *problem.kept(k, v, start[..., -1])


def _step(problem):
  """One element: the cache moves on by one."""
  window, reset = problem.window, problem.reset
  start = jnp.maximum(_starts(problem.begin(), reset, window, 1), 0)

  def moved(cache, x):
    cache = cache.astype(x.dtype)
    rest = jnp.concatenate([cache[..., 1:, :, :], x], axis=-3)
    return cache[..., :1, :, :], rest

  def seen(k, v, index):
    placed = problem.embedded(k, index)
    if problem.expand is None:
      return placed, v
    both = problem.expand(placed)
    _check_expanded(problem.q, *both, len(index))
    return both

  front_key, keys = moved(problem.init.keys, problem.k)
  front_value = values = None
  if problem.v is not None:
    front_value, values = moved(problem.init.values, problem.v)
  # What is kept is made once: products read it as it lies.
  arrays = problem.kept(keys, values, start[..., 0] - 1)
  arrays = lax.optimization_barrier(arrays)
  index = np.arange(window + 1)
  o = _window_step.attend(
    problem.embedded(problem.q, index[window:]),
    seen(front_key, front_value, index[:1]),
    seen(*arrays, index[1:]),
    start,
  )
  return o, *arrays


def _last_reset(reset, time, axis):
  """Place of the whole sequence's last reset, (*batch,); -1 for none."""
  if reset is None:
    return None
  place = jnp.arange(time)
  if axis is not None:
    place = place + lax.axis_index(axis) * time
  last = jnp.max(jnp.where(reset, place, -1), axis=-1)
  return last if axis is None else lax.pmax(last, axis)


def _flat(k, v):
  """(*batch, time, features), to travel at once."""
  both = jnp.stack([x for x in (k, v) if x is not None], axis=-3)
  return both.reshape(*both.shape[:-3], -1)


def _starts(begin, reset, earlier, time):
  """Place among all where each element's episode begins, (*batch, time)."""
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
  # What the cache holds, and which queries still see it, is segment 0.
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
    # `window` elements before the one at `place` is the cached one of that
    # index, and those behind it are nearer.
    blocks.Sight(-place, -index, seeing, held),
  )


def _check_distances(distances, q, window):
  """Checks further queries and the vectors that they meet."""
  if distances is not None:
    _validate.shape("distances[0]", distances[0], jnp.shape(q))
    shape = window + 1, *jnp.shape(q)[-2:]
    _validate.shape("distances[1]", distances[1], shape)


def _check(q, k, v, window, init, reset, expand, block_size):
  """Checks the arguments; returns batch shape and time."""
  *batch, time, heads, width = _validate.shape(
    "q", q, ("*batch", "time", "heads", "D")
  )
  if expand is None:
    shape = _validate.shape("k", k, (*batch, time, "groups", width))
    _check_groups("k", shape, heads)
    _validate.shape("v", v, shape)
  else:
    shape = _validate.shape("k", k, (*batch, time, "groups", "width"))
    if v is not None:
      raise _validate.error("v", f"shape {jnp.shape(v)}", "None with expand")
  _validate.positive("window", window)
  if block_size is not None:
    _validate.positive("block_size", block_size)
  if init is not None:
    cache = (*batch, window, *shape[-2:])
    _validate.shape("init.keys", init.keys, cache)
    if expand is None:
      _validate.shape("init.values", init.values, cache)
    _validate.shape("init.length", init.length, tuple(batch))
  _checks.reset(reset, (*batch, time))
  return tuple(batch), time


def _check_groups(name, shape, heads):
  """Checks that heads are shared evenly by keys of that shape."""
  if heads % shape[-2]:
    expected = f"groups a divisor of {heads}"
    raise _validate.error(name, f"shape {shape}", expected)


def _check_expanded(q, k, v, count):
  """Checks what `expand` returned for `count` keys."""
  *batch, _, heads, width = q.shape
  shape = _validate.shape("keys", k, (*batch, count, "groups", width))
  _check_groups("keys", shape, heads)
  _validate.shape("values", v, (*shape[:-1], "E"))
