"""The recurrences as they are usually written in JAX, to be measured against.

Functions with the names and arguments of `jaxseq.recurrence`: one
`jax.lax.associative_scan` over the states of all elements, matrix states too;
`lax.scan` with its own gradient for gated networks; for attention the scores of
all pairs. S4 and S4D run whole sequences as in their papers: a convolution by
FFT with a kernel from a matrix that is held in memory, Vandermonde's (H, N,
time) or Cauchy's (H, N, frequencies); with resets or a state S4D is an
`associative_scan`, and S4, whose transitions are dense, goes step by step.
Inside `recurrences()` the mixers compute with them:

  with naive.recurrences():
    y, state = mixer.apply(config, params, x)
"""

import contextlib
import functools
import inspect
from unittest import mock

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from jaxseq.mixers.state_space import _dplr
from jaxseq.recurrence import reference
from jaxseq.recurrence.attention import _window_blocks


def _combine(left, right):
  a_left, b_left = left
  a_right, b_right = right
  return a_right * a_left, a_right * b_left + b_right


def _scan(a, b, init, reset, axis):
  """The states h_t = a_t h_{t-1} + b_t of all elements, and the last one."""
  a = jnp.broadcast_to(a, b.shape)
  if reset is not None:
    flags = reset.reshape(reset.shape + (1,) * (a.ndim - reset.ndim))
    a = jnp.where(flags, 0, a)
  if init is not None:
    first = lax.index_in_dim(a, 0, axis, keepdims=False) * init
    at_0 = (slice(None),) * axis + (0,)
    b = b.at[at_0].add(first)
  _, h = lax.associative_scan(_combine, (a, b), axis=axis)
  return h, lax.index_in_dim(h, h.shape[axis] - 1, axis, keepdims=False)


def linear_scan(a, b, init=None, *, reset=None, reverse=False, method="auto"):
  """`recurrence.linear_scan`, forward in time."""
  del method
  if reverse:
    raise ValueError("reverse: got True, expected False.")
  a = jnp.broadcast_to(a, b.shape)
  return _scan(a, b, init, reset, b.ndim - 2)


def lti_scan(
  Lambda_bar, B_bar, C, u, init=None, *, D=None, reset=None, **options
):
  """`recurrence.lti_scan` with complex projections, forward in time."""
  if options.get("reverse"):
    raise ValueError("reverse: got True, expected False.")
  b = u @ B_bar.T
  h, final = _scan(
    jnp.broadcast_to(Lambda_bar, b.shape), b, init, reset, b.ndim - 2
  )
  y = (h @ C.T).real
  if D is not None:
    y = y + D * u
  return y.astype(u.dtype), final


def siso_scan(A, B, C, u, init=None, *, reset=None, chunk_size=None):
  """`recurrence.siso_scan`; step by step where the transitions are matrices."""
  del chunk_size
  if jnp.ndim(A) == 2:
    h, final = _scan(A, u[..., None] * B, init, reset, u.ndim - 2)
    return jnp.sum(h * C, axis=-1).real.astype(u.dtype), final

  return reference.siso_scan(A, B, C, u, init, reset=reset)


def siso_kernel(A, B, C, length):
  """`recurrence.siso_kernel` for diagonal systems, by Vandermonde's matrix."""
  if jnp.ndim(A) != 2:
    raise ValueError(f"A must have shape (H, N); got {jnp.shape(A)}.")
  logarithm = jnp.log(A.astype(jnp.result_type(A, jnp.complex64)))
  powers = jnp.exp(logarithm[..., None] * jnp.arange(length))
  return jnp.einsum("hn,hnl->hl", B * C, powers).real


def fft_convolution(u, kernel, backward=None):
  """`recurrence.fft_convolution` in one direction."""
  if backward is not None:
    raise ValueError("backward: got an array, expected None.")
  time = u.shape[-2]
  spectrum = jnp.fft.rfft(kernel, 2 * time).T
  spectrum = spectrum * jnp.fft.rfft(u, 2 * time, axis=-2)
  return jnp.fft.irfft(spectrum, 2 * time, axis=-2)[..., :time, :]


def cauchy_kernel(system, C, length):
  """S4's kernel for low rank 1 (arXiv:2111.00396, algorithm 1).

  With the arguments of `jaxseq.mixers._dplr.kernel`. All is multiplied by 1 +
  omega, which is 0 at the highest frequency.
  """
  Lambda, P, B, dt = system
  if len(P) != 1:
    raise ValueError(f"P must have low rank 1; got {len(P)}.")
  omega = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)
  if length % 2 == 0:
    omega[-1] = -1
  omega = jnp.asarray(omega, Lambda.dtype)
  Lambda, P, B, C = (
    jnp.concatenate([x, x.conj()], -1) for x in (Lambda, P[0], B, C)
  )
  g = 2 / dt[:, None] * (1 - omega)
  cauchy = 1 / (g[:, None] - (1 + omega) * Lambda[..., None])

  def product(x, y):
    return jnp.einsum("...hn,hnf->...hf", x * y, cauchy)

  low_rank = product(C, P) * product(P.conj(), B)
  low_rank = low_rank / (1 + (1 + omega) * product(P.conj(), P))
  spectrum = 2 * (product(C, B) - (1 + omega) * low_rank)
  return jnp.fft.irfft(spectrum, length)


def selective_scan(
  x, delta, A, B, C, init=None, *, D=None, reset=None, **options
):
  """`recurrence.selective_scan` for B and C that all channels share."""
  del options
  a = jnp.exp(delta[..., None] * A)
  b = (delta * x)[..., None] * B[..., None, :]
  h, final = _scan(a, b, init, reset, x.ndim - 2)
  y = jnp.sum(h * C[..., None, :], axis=-1)
  if D is not None:
    y = y + D * x
  return y.astype(x.dtype), final


def outer_scan_heads(
  q, k, v, decay=None, init=None, *, reset=None, inclusive=True, **options
):
  """`recurrence.outer_scan_heads` over all matrix states."""
  del options
  per_group = v.shape[-2] // k.shape[-2]
  q, k = (jnp.repeat(x, per_group, axis=-2) for x in (q, k))
  b = k[..., None] * v[..., None, :]
  a = jnp.ones_like(b) if decay is None else jnp.exp(decay)[..., None]
  S, final = _scan(a, b, init, reset, v.ndim - 3)
  if not inclusive:
    # What is read is the state before the element, zeros after a reset.
    first = jnp.zeros_like(S[..., :1, :, :, :])
    if init is not None:
      first = first + init[..., None, :, :, :]
    S = jnp.concatenate([first, S[..., :-1, :, :, :]], axis=-4)
    if reset is not None:
      S = jnp.where(reset[..., None, None, None], 0, S)
  return jnp.einsum("...k,...kv->...v", q, S).astype(v.dtype), final


def mlstm_scan_heads(
  q, k, v, log_input, log_forget, init=None, *, eps=1e-6, reset=None, **options
):
  """`recurrence.mlstm_scan_heads` one element after the other."""
  del options

  def heads_first(x):
    return jnp.moveaxis(x, v.ndim - 2, v.ndim - 3)

  if reset is not None:
    heads = (*v.shape[:-3], v.shape[-2], v.shape[-3])
    reset = jnp.broadcast_to(reset[..., None, :], heads)
  elements = map(heads_first, (q, k, v, log_input, log_forget))
  h, final = reference.mlstm_scan(*elements, init, eps=eps, reset=reset)
  return jnp.moveaxis(h, v.ndim - 3, v.ndim - 2), final


def delta_scan(q, k, v, read, decay=None, init=None, *, reset=None, **options):
  """`recurrence.delta_scan` by a tree of dense matrices, as memax has it."""
  del options
  factor = jnp.ones_like(k) if decay is None else jnp.exp(decay)
  factor = jnp.broadcast_to(factor, k.shape)
  eye = jnp.eye(k.shape[-1], dtype=k.dtype)
  A = factor[..., None] * eye - k[..., None] * (read * factor)[..., None, :]
  b = k[..., None] * v[..., None, :]
  if reset is not None:
    A = jnp.where(reset[..., None, None], 0, A)
  if init is not None:
    b = b.at[..., 0, :, :].add(A[..., 0, :, :] @ init)

  def combine(left, right):
    (A_left, b_left), (A_right, b_right) = left, right
    return A_right @ A_left, A_right @ b_left + b_right

  _, S = lax.associative_scan(combine, (A, b), axis=v.ndim - 2)
  return jnp.einsum("...k,...kv->...v", q, S).astype(v.dtype), S[..., -1, :, :]


def softmax_outer_scan(
  q, logits, k, v, init=None, *, reset=None, sink=None, **options
):
  """`recurrence.softmax_outer_scan` over all running averages."""
  del options
  axis = v.ndim - 2
  k = jnp.ones_like(logits) if k is None else k
  leaf = recurrence.SoftmaxState(
    logits, jnp.ones_like(logits), k[..., None] * v[..., None, :]
  )
  fresh = recurrence.softmax_outer_initial(
    v.shape[:-2], logits.shape[-1], v.shape[-1], sink=sink
  )
  first = fresh if init is None else init
  flag = jnp.zeros(v.shape[:-1], bool) if reset is None else reset

  def start(state, at):
    """Puts a state before the elements where `at` is true."""
    state = jax.tree.map(
      lambda x: jnp.broadcast_to(
        jnp.expand_dims(x, axis),
        x.shape[:axis] + flag.shape[axis:] + x.shape[axis:],
      ),
      state,
    )
    return _select(at, recurrence.softmax_combine(state, leaf), leaf)

  if sink is not None:
    leaf = start(fresh, flag)
  at_0 = jnp.zeros_like(flag).at[..., 0].set(True)
  leaf = start(first, at_0 & ~flag)

  def combine(left, right):
    (state_left, flag_left), (state_right, flag_right) = left, right
    both = recurrence.softmax_combine(state_left, state_right)
    return (
      _select(flag_right, state_right, both),
      flag_left | flag_right,
    )

  (states, _) = lax.associative_scan(combine, (leaf, flag), axis=axis)
  average = states.w / jnp.where(states.u > 0, states.u, 1)[..., None]
  o = jnp.einsum("...k,...kv->...v", q, average)
  final = jax.tree.map(
    lambda x: lax.index_in_dim(x, flag.shape[axis] - 1, axis, keepdims=False),
    states,
  )
  return o.astype(v.dtype), final


def _select(flag, new, old):
  return jax.tree.map(
    lambda x, y: jnp.where(
      flag.reshape(flag.shape + (1,) * (x.ndim - flag.ndim)), x, y
    ),
    new,
    old,
  )


def softmax_scan(
  scores, values, init=None, *, reset=None, mask=None, **options
):
  """`recurrence.softmax_scan` without masks."""
  del options
  if mask is not None:
    raise ValueError("mask: got an array, expected None.")
  if init is not None:
    init = recurrence.SoftmaxState(
      init.m[..., None], init.u[..., None], init.w[..., None, :]
    )
  logits = scores[..., None]
  outputs, final = softmax_outer_scan(
    jnp.ones_like(logits), logits, None, values, init, reset=reset
  )
  return outputs, recurrence.SoftmaxState(
    final.m[..., 0], final.u[..., 0], final.w[..., 0, :]
  )


def attend_in_window(q, k, v, start, window, *options, fading=None):
  """What is in `recurrence.window_attention`, with the scores of all pairs."""
  del options
  decay = None
  if fading is not None:
    decay, lost = fading
    if lost is not None:
      # What a cached element lost more than the one behind it.
      decay = decay - jnp.diff(lost, axis=-2, prepend=lost[..., :1, :])
  return reference.window_attention(q, k, v, start, window, decay)


@contextlib.contextmanager
def recurrences():
  """Lets the mixers that are traced inside compute with this module."""
  replaced = {name: _on_one_device(of) for name, of in _usual_forms().items()}
  with (
    mock.patch.multiple(recurrence, **replaced),
    mock.patch.object(_window_blocks, "attend", attend_in_window),
    mock.patch.object(_dplr, "kernel", cauchy_kernel),
  ):
    yield


def delta_scan_heads(
  q, k, v, read, decay=None, init=None, *, reset=None, **options
):
  """`recurrence.delta_scan_heads` by `delta_scan`."""
  x = (q, k, v, read) if decay is None else (q, k, v, read, decay)
  x = [jnp.moveaxis(y, -2, -3) for y in x] + [None] * (decay is None)
  if reset is not None:
    reset = jnp.broadcast_to(reset[..., None, :], x[0].shape[:-1])
  o, final = delta_scan(*x, init, reset=reset, **options)
  return jnp.moveaxis(o, -3, -2), final


def _usual_forms():
  """The scans of `recurrence`: those of this module, else of `reference`."""
  forms = {
    name: functools.partial(_plain, function)
    for name, function in vars(reference).items()
    if name.endswith(("_scan", "_scan_heads"))
  }
  forms |= {n: f for n, f in globals().items() if inspect.isfunction(f)}
  return {n: f for n, f in forms.items() if hasattr(recurrence, n)}


def _plain(function, *args, method="auto", chunk_size=None, **options):
  """A form of `reference`, which has no methods and no chunks."""
  del method, chunk_size
  return function(*args, **options)


def _on_one_device(function):
  """The function with the arguments that split time over devices, unused."""

  def run(*args, axis=None, scheme="auto", **options):
    del scheme
    if axis is not None:
      raise ValueError(f"axis: got {axis!r}, expected None.")
    return function(*args, **options)

  return run
