"""The recurrences as plain steps: the definitions of the package's fast forms.

Each function has the name and the main arguments of one in `jaxseq.recurrence`,
whose signature and docstring describe them and the results. The definitions
here are a few lines, one element after the other, or all pairs of elements for
attention: for readers, and as the reference of tests and benchmarks. Dtypes
follow from the inputs.
"""

import math

import jax
import jax.numpy as jnp

from jaxseq.recurrence.averages._softmax_state import SoftmaxState
from jaxseq.recurrence.mlstm._mlstm_chunk import MLSTMState
from jaxseq.recurrence.shared import stepwise

over_time = stepwise.over_time


def _begin(init, shape, *inputs):
  """The state before the first element, zeros if None."""
  init = jnp.zeros(shape, jnp.result_type(*inputs)) if init is None else init
  return jnp.asarray(init, jnp.result_type(init, *inputs))


def _read(decay, reset):
  """Replaces decays at resets by 0, as they are not used."""
  if decay is None or reset is None:
    return decay
  axes = tuple(range(reset.ndim, decay.ndim))
  return jnp.where(jnp.expand_dims(reset, axes), 0, decay)


def linear_scan(a, b, init=None, *, reset=None, reverse=False):
  """Returns states h_t = a_t h_{t-1} + b_t, (*batch, time, n), and the last."""

  def step(h, a, b):
    h = a * h + b
    return h, h

  init = _begin(init, (*b.shape[:-2], b.shape[-1]), a, b)
  elements = _read(jnp.broadcast_to(a, b.shape), reset), b
  axis = b.ndim - 2
  return over_time(step, init, elements, reset, axis=axis, reverse=reverse)


def lti_scan(
  Lambda_bar, B_bar, C, u, init=None, *, D=None, reset=None, reverse=False
):
  """Outputs Re(C h_t) + D u_t over h_t = Lambda_bar h_{t-1} + B_bar u_t."""
  inputs = jnp.einsum("ph,...h->...p", B_bar, u)
  h, final = linear_scan(Lambda_bar, inputs, init, reset=reset, reverse=reverse)
  y = jnp.real(jnp.einsum("mp,...p->...m", C, h))
  return (y if D is None else y + D * u), final


def siso_scan(A, B, C, u, init=None, *, reset=None):
  """Outputs Re(C x_t) over x_t = A x_{t-1} + B u_t; A (H, N) or (H, N, N)."""

  def step(x, u):
    if A.ndim == 3:
      x = jnp.einsum("hij,...hj->...hi", A, x) + B * u[..., None]
    else:
      x = A * x + B * u[..., None]
    return x, jnp.real(jnp.sum(C * x, axis=-1))

  init = _begin(init, (*u.shape[:-2], *B.shape), A, B, u)
  return over_time(step, init, (u,), reset, axis=u.ndim - 2)


def selective_scan(x, delta, A, B, C, init=None, *, D=None, reset=None):
  """Outputs C_t h_t + D x_t; h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t."""
  *batch, d = x.shape

  def per_channel(weight):
    """(*batch, time, d, n), from any of the forms of B and C."""
    if weight.ndim == x.ndim:
      weight = weight[..., None, :]
    weight = jnp.repeat(weight, d // weight.shape[-2], axis=-2)
    return jnp.broadcast_to(weight, (*batch, *weight.shape[-2:]))

  def step(h, x, delta, B, C):
    h = jnp.exp(delta[..., None] * A) * h + (delta * x)[..., None] * B
    return h, jnp.real(jnp.sum(C * h, axis=-1))

  init = _begin(init, (*batch[:-1], *A.shape), A, B, x, delta)
  elements = x, delta, per_channel(B), per_channel(C)
  y, h = over_time(step, init, elements, reset, axis=x.ndim - 2)
  return (y if D is None else y + D * x), h


def outer_scan(q, k, v, decay=None, init=None, *, reset=None, inclusive=True):
  """Outputs q_t S_t over S_t = exp(decay_t)[:, None] S_{t-1} + k_t v_t^T."""
  q, k, v, decay = (
    None if x is None else jnp.expand_dims(x, -2) for x in (q, k, v, decay)
  )
  init = None if init is None else jnp.expand_dims(init, -3)
  options = {"reset": reset, "inclusive": inclusive}
  o, S = outer_scan_heads(q, k, v, decay, init, **options)
  return o[..., 0, :], S[..., 0, :, :]


def outer_scan_heads(
  q, k, v, decay=None, init=None, *, reset=None, inclusive=True
):
  """Runs `outer_scan` with heads after time, which may share q and k."""
  q, k = (jnp.repeat(x, v.shape[-2] // k.shape[-2], axis=-2) for x in (q, k))

  def step(S, q, k, v, decay):
    before = S
    if decay is not None:
      S = jnp.exp(decay)[..., None] * S
    S = S + k[..., None] * v[..., None, :]
    seen = S if inclusive else before
    return S, jnp.einsum("...k,...kv->...v", q, seen)

  init = _begin(init, (*v.shape[:-3], *k.shape[-2:], v.shape[-1]), k, v)
  elements = q, k, v, _read(decay, reset)
  return over_time(step, init, elements, reset, axis=v.ndim - 3)


def delta_scan(q, k, v, read, decay=None, init=None, *, reset=None):
  """Outputs q_t S_t over S_t = D + k_t (v_t - read_t D)^T, D = exp(decay) S."""
  decay = jnp.zeros_like(k[..., :1]) if decay is None else decay
  decay = _read(decay, reset)
  a = jnp.exp(decay) * read
  return dplr_scan(q, k, v, a, -k, decay, init, reset=reset)


def dplr_scan(q, k, v, a, b, decay=None, init=None, *, reset=None):
  """Outputs q_t S_t; S_t = (exp(decay_t) + b_t a_t^T) S_{t-1} + k_t v_t^T."""

  def step(S, q, k, v, a, b, decay):
    read = jnp.einsum("...k,...kv->...v", a, S)
    if decay is not None:
      S = jnp.exp(decay)[..., None] * S
    S = S + b[..., None] * read[..., None, :] + k[..., None] * v[..., None, :]
    return S, jnp.einsum("...k,...kv->...v", q, S)

  init = _begin(init, (*v.shape[:-2], k.shape[-1], v.shape[-1]), k, v)
  elements = q, k, v, a, b, _read(decay, reset)
  return over_time(step, init, elements, reset, axis=v.ndim - 2)


def mlstm_scan(
  q, k, v, log_input, log_forget, init=None, *, eps=1e-6, reset=None
):
  """Outputs C^T q / (max(|n^T q|, e^-m) + eps), all relative to a maximum m."""
  *batch, _, dv = v.shape
  shapes = (*batch, k.shape[-1], dv), (*batch, k.shape[-1]), tuple(batch)
  fresh = MLSTMState(*(jnp.zeros(shape, v.dtype) for shape in shapes))

  def step(state, q, k, v, i, f):
    m = jnp.maximum(f + state.m, i)
    remainder, new = jnp.exp(f + state.m - m), jnp.exp(i - m)
    C = remainder[..., None, None] * state.C
    C = C + new[..., None, None] * k[..., None] * v[..., None, :]
    n = remainder[..., None] * state.n + new[..., None] * k
    divisor = jnp.maximum(jnp.abs(jnp.sum(q * n, -1)), jnp.exp(-m)) + eps
    h = jnp.einsum("...k,...kv->...v", q, C) / divisor[..., None]
    return MLSTMState(C, n, m), h

  state = fresh if init is None else MLSTMState(*init)
  elements = q, k, v, log_input, log_forget
  return over_time(step, state, elements, reset, axis=v.ndim - 2, fresh=fresh)


def _average(shape, v, sink=None):
  """Averages without values, of the shape of `v`, or with a sink."""
  m, u = (-1e30, 0.0) if sink is None else (sink, 1.0)
  return SoftmaxState(
    jnp.full(shape, m, v.dtype),
    jnp.full(shape, u, v.dtype),
    jnp.zeros((*shape, v.shape[-1]), v.dtype),
  )


def softmax_outer_scan(q, logits, k, v, init=None, *, reset=None, sink=None):
  """Outputs sum_d q_t[d] w_t[d] / u_t[d], with sums relative to a maximum m."""
  k = jnp.ones_like(logits) if k is None else k
  fresh = _average((*v.shape[:-2], logits.shape[-1]), v, sink)

  def step(state, q, logits, k, v):
    m = jnp.maximum(state.m, logits)
    old, new = jnp.exp(state.m - m), jnp.exp(logits - m)
    u = old * state.u + new
    w = old[..., None] * state.w + (new * k)[..., None] * v[..., None, :]
    read = q / jnp.where(u > 0, u, 1)
    return SoftmaxState(m, u, w), jnp.einsum("...d,...de->...e", read, w)

  state = fresh if init is None else SoftmaxState(*init)
  elements = q, logits, k, v
  return over_time(step, state, elements, reset, axis=v.ndim - 2, fresh=fresh)


def softmax_scan(scores, values, init=None, *, reset=None, mask=None):
  """Averages w_t / u_t of values, with sums relative to a maximum m."""
  nothing = _average(scores.shape[:-1], values)

  def step(state, score, value, seen):
    # Masked elements have no weight, even the first of all.
    score = jnp.where(seen, score, -1e30)
    m = jnp.maximum(state.m, score)
    old, new = jnp.exp(state.m - m), jnp.where(seen, jnp.exp(score - m), 0)
    u = old * state.u + new
    w = old[..., None] * state.w + new[..., None] * value
    return SoftmaxState(m, u, w), w / jnp.where(u > 0, u, 1)[..., None]

  state = nothing if init is None else SoftmaxState(*init)
  seen = jnp.ones(scores.shape, bool) if mask is None else mask
  elements = scores, values, jnp.asarray(seen)
  axis = scores.ndim - 1
  return over_time(step, state, elements, reset, axis=axis, fresh=nothing)


def wkv_scan(k, v, decay, bonus, init=None, *, reset=None):
  """Averages of v under weights exp(k) that decay, read before the update."""
  fresh = _average(k[..., 0, :].shape, v[..., :1])

  def step(state, k, v):
    present = bonus + k
    m = jnp.maximum(state.m, present)
    old, new = jnp.exp(state.m - m), jnp.exp(present - m)
    o = (old * state.w[..., 0] + new * v) / (old * state.u + new)
    m = jnp.maximum(state.m + decay, k)
    old, new = jnp.exp(state.m + decay - m), jnp.exp(k - m)
    w = old * state.w[..., 0] + new * v
    return SoftmaxState(m, old * state.u + new, w[..., None]), o

  state = fresh if init is None else SoftmaxState(*init)
  return over_time(step, state, (k, v), reset, axis=k.ndim - 2, fresh=fresh)


def gated_scan(cell, params, state, x, *, reset=None):
  """Hidden states (time, heads, batch, features) of a gated network."""
  heads, features, gates, _ = params.kernel.shape

  def to_heads(x):
    return jnp.moveaxis(x.reshape(*x.shape[:-1], heads, features), -2, 0)

  def step(state, x):
    state = tuple(jnp.moveaxis(leaf, 0, 1) for leaf in state)
    inputs = jnp.einsum("bi,igo->gbo", x, params.input_kernel)
    inputs = [to_heads(y + b) for y, b in zip(inputs, params.input_bias)]
    recurrent = list(jnp.einsum("hbi,higo->ghbo", state[0], params.kernel))
    if params.bias is not None:
      bias = params.bias.reshape(gates, heads, 1, features)
      recurrent = [y + b for y, b in zip(recurrent, bias)]
    state, _ = cell.forward(tuple(inputs), tuple(recurrent), state)
    return tuple(jnp.moveaxis(leaf, 0, 1) for leaf in state), state[0]

  # Rows first, as in flags.
  state = tuple(jnp.moveaxis(leaf, 0, 1) for leaf in state)
  hidden, state = over_time(step, state, (x,), reset, axis=0)
  return hidden, tuple(jnp.moveaxis(leaf, 0, 1) for leaf in state)


def causal_conv(x, weight, bias, window, reset=None):
  """Sums of the last inputs of each channel under weights; the last window."""

  def step(window, x):
    window = jnp.concatenate([window, x[..., None, :]], axis=-2)
    y = jnp.sum(weight * window, axis=-2)
    return window[..., 1:, :], y if bias is None else y + bias

  return over_time(step, window, (x,), reset, axis=x.ndim - 2)


def routed_conv(x, weight, window, routed, reset=None):
  """`causal_conv` of the elements that are routed, 0 for the others."""

  def step(window, x, routed):
    seen = jnp.concatenate([window, x[..., None, :]], axis=-2)
    y = jnp.where(routed[..., None], jnp.sum(weight * seen, axis=-2), 0)
    return jnp.where(routed[..., None, None], seen[..., 1:, :], window), y

  return over_time(step, window, (x, routed), reset, axis=x.ndim - 2)


def window_attention(q, k, v, start, window, decay=None):
  """Attention to at most `window` earlier elements, none before start[t].

  For q (*batch, time, heads, d) on k and v (*batch, earlier + time, groups, d),
  with `start` (*batch, time), indices of keys, and optional decays of all keys
  (*batch, earlier + time, heads); no state. All scores are in memory.
  """
  time, keys = q.shape[-3], k.shape[-3]
  k, v = (jnp.repeat(x, q.shape[-2] // k.shape[-2], axis=-2) for x in (k, v))
  place = keys - time + jnp.arange(time)[:, None]
  index = jnp.arange(keys)
  visible = (index <= place) & (index >= place - window)
  visible = visible & (index >= start[..., None])
  scores = jnp.einsum("...thd,...shd->...hts", q, k) / math.sqrt(q.shape[-1])
  if decay is not None:
    later = jnp.tri(keys, k=-1, dtype=bool)  # decay[u] is at u, s.
    fades = jnp.where(later, jnp.swapaxes(decay, -1, -2)[..., None], 0)
    scores = scores + jnp.cumsum(fades, axis=-2)[..., keys - time :, :]
  scores = jnp.where(visible[..., None, :, :], scores, -jnp.inf)
  return jnp.einsum("...hts,...shd->...thd", jax.nn.softmax(scores), v)


def softmax_attention(q, k, v, *, causal=True, reset=None):
  """Attention of (*batch, heads, time, d) with all scores in memory."""
  k, v = (jnp.repeat(x, q.shape[-3] // k.shape[-3], axis=-3) for x in (k, v))
  time = q.shape[-2]
  visible = jnp.tri(time, dtype=bool) if causal else jnp.ones((time,) * 2, bool)
  if reset is not None:
    segment = jnp.cumsum(reset, axis=-1)
    same = segment[..., :, None] == segment[..., None, :]
    visible = visible & same[..., None, :, :]
  scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
  return jax.nn.softmax(jnp.where(visible, scores, -jnp.inf)) @ v


def native_sparse_attention(q, k, v, gates, sizes, *, reset=None):
  """Sums of attention to block means, selected blocks and a window; no state.

  All pairs of elements are in memory: a block is at the place of its last
  element, and `sizes` are those of `recurrence.NativeSparse`.
  """
  time, size = q.shape[-3], sizes.block_size
  shared = q.shape[-2] // k.shape[-2]
  index = jnp.arange(time)
  reset = jnp.zeros(q.shape[:-3], bool) if reset is None else reset
  first = jax.lax.cummax(jnp.where(reset, index, 0), axis=reset.ndim - 1)
  place = index - first
  block = place // size
  t, s = block[..., :, None], block[..., None, :]
  causal = (first[..., None] == first[..., None, :]) & jnp.tri(time, dtype=bool)
  causal &= t - s < sizes.kept

  def attend(scores, seen, v):
    scores = jnp.where(seen, scores / math.sqrt(q.shape[-1]), -jnp.inf)
    shares = jnp.where(seen, jax.nn.softmax(scores), 0)
    return jnp.einsum("...hts,...shd->...thd", shares, v), shares

  def means(x):
    back = index[:, None] - jnp.arange(size)
    return jnp.mean(jnp.take(x, jnp.maximum(back, 0), axis=-3), axis=-3)

  def per_head(x):
    return jnp.repeat(x, shared, axis=-2)

  product = jnp.einsum("...thd,...shd->...hts", q, per_head(means(k)))
  complete = causal & (place % size == size - 1)[..., None, :]
  compressed, shares = attend(
    product, complete[..., None, :, :], per_head(means(v))
  )
  # (..., groups, time, time), of blocks by their last elements.
  weights = shares.reshape(*shares.shape[:-3], -1, shared, time, time).mean(-3)
  forced = (s == jnp.maximum(t - sizes.kept + 1, 0)) | (s == t - 1)
  weights = jnp.where(forced[..., None, :, :], 2, weights)
  weights = jnp.where((complete & (s != t))[..., None, :, :], weights, -1)
  order = jnp.argsort(-weights, axis=-1)  # Stable: earlier blocks first.
  rank = jnp.argsort(order, axis=-1)
  chosen = (rank < sizes.block_count - 1) & (weights >= 0)
  end = jnp.minimum(first + (block + 1) * size - 1, time - 1)
  end = jnp.broadcast_to(end[..., None, None, :], chosen.shape)
  chosen = jnp.take_along_axis(chosen, end, axis=-1) | (s == t)[..., None, :, :]
  chosen &= causal[..., None, :, :]
  product = jnp.einsum("...thd,...shd->...hts", q, per_head(k))
  selected, _ = attend(product, jnp.repeat(chosen, shared, -3), per_head(v))
  near = causal & (index > index[:, None] - sizes.window)
  window, _ = attend(product, near[..., None, :, :], per_head(v))
  terms = jnp.stack([compressed, selected, window], axis=-1)
  return jnp.sum(terms * gates[..., None, :], axis=-1)
