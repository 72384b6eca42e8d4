"""Attention to a window by others' kernels, of finite numbers.

The gradient is the library's; that of the gradient is of `_window_blocks`.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import support

# Widths of a head for which all libraries have kernels are at most this.
_WIDEST = 256


class Library(NamedTuple):
  """Whose kernel runs: static."""

  name: str  # "splash" (JAX's attention for TPUs), "tokamax" or "cudnn"
  interpret: bool  # whether it is to run on a CPU
  # `_window_blocks.averages`, of which the second derivative is
  plain: Callable[..., jax.Array]


def library(
  method: str,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  whole: bool,
  plain: Callable[..., jax.Array],
) -> Library:
  """The library that a method names here."""
  dtype, width = jnp.result_type(q, k, v), q.shape[-1]
  if method == "pallas":
    choice = Library("splash", support.form("window", dtype).interpret, plain)
    if dtype == jnp.float16:
      raise _none(method, f"dtype {dtype}", "bfloat16 or float32")
  else:
    choice = Library(method, contexts.interpreted() == "gpu", plain)
    platform = contexts.machine()[0]
    if platform != "gpu" and not choice.interpret:
      raise _none(method, f"platform {platform}", "a GPU")
    if dtype not in (jnp.bfloat16, jnp.float16):
      raise _none(method, f"dtype {dtype}", "bfloat16 or float16")
  if method == "cudnn" and not whole:
    raise _none(method, "resets or a state", "reset=None and init=None")
  if width > _WIDEST:
    raise _none(method, f"heads of width {width}", f"at most {_WIDEST}")
  if jax.typeof(q).manual_axis_type.varying:
    # Their kernels do not say over which devices their results vary.
    expected = "one that checks no types of them (check_vma=False)"
    raise _none(method, "a shard_map that checks varying axes", expected)
  return choice


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def attend(
  library: Library,
  window: int,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  start: jax.Array,
) -> jax.Array:
  """Averages like q of the values that each query sees."""
  # Of q [R, T, heads, D] and k, v [R, earlier + T, groups, D]; start [R, T] is
  # the first key of each query's episode.
  return _run(library, window, False, q, k, v, start)


def _forward(library, window, q, k, v, start):
  run = functools.partial(_run, library, window, True, start=start)
  # What the library keeps for its gradient is not differentiated itself.
  o, pull = jax.vjp(run, *map(lax.stop_gradient, (q, k, v)))
  o = _tied(library, window, q, k, v, start, o, pull)
  return o, (q, k, v, start, pull)


def _backward(library, window, residuals, g):
  return *_gradient(library, window, *residuals, g), None


attend.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _tied(library, window, q, k, v, start, o, pull):
  """`o`, which is `attend` of the others, with its gradient."""
  del library, window, q, k, v, start, pull
  return o


def _tied_forward(library, window, q, k, v, start, o, pull):
  del library, window
  return o, (q, k, v, start, pull)


def _tied_backward(library, window, residuals, g):
  return *_gradient(library, window, *residuals, g), None, None, None


_tied.defvjp(_tied_forward, _tied_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gradient(library, window, q, k, v, start, pull, g):
  """Cotangents of q, k and v from those of the result."""
  del library, window, q, k, v, start
  return pull(g)


def _gradient_forward(library, window, q, k, v, start, pull, g):
  cotangents = _gradient(library, window, q, k, v, start, pull, g)
  return cotangents, (q, k, v, start, g)


def _gradient_backward(library, window, residuals, cotangents):
  q, k, v, start, g = residuals
  plain = functools.partial(_plain_gradient, library, window, start)
  _, again = jax.vjp(plain, q, k, v, g)
  d_q, d_k, d_v, d_g = again(cotangents)
  # What the library kept is a function of the others.
  return d_q, d_k, d_v, None, None, d_g


_gradient.defvjp(_gradient_forward, _gradient_backward)


def _plain_gradient(library, window, start, q, k, v, g):
  """Cotangents of q, k and v without a library."""
  earlier = k.shape[1] - q.shape[1]
  seen = jnp.maximum(start, earlier + jnp.arange(q.shape[1]) - window)
  _, pull = jax.vjp(
    lambda q, k, v: library.plain(q, k, v, seen, window), q, k, v
  )
  return pull(g)


def _run(library, window, differentiated, q, k, v, start):
  """Result of the module that calls the library, which is loaded here."""
  if library.name == "splash":
    from jaxseq.recurrence.attention import _window_tpu as module
  elif library.name == "tokamax":
    from jaxseq.recurrence.attention import _window_tokamax as module
  else:
    from jaxseq.recurrence.attention import _window_cudnn as module
  options = library.interpret, differentiated, window
  return module.attend(*options, q, k, v, start)


def _none(method, got, expected):
  sentence = support.sentence("window", got, expected, method)
  return NotImplementedError(sentence)
