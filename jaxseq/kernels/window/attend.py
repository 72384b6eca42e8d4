"""Windowed attention by other libraries' kernels, for finite numbers.

The library computes the gradient; `_window_blocks` the second derivative.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.kernels import _kept_vjp
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import support

# Maximum width of a head for which all libraries have kernels.
_WIDEST = 256


class _Library(NamedTuple):
  """Static choice of a library's kernel."""

  name: str  # "splash" (JAX's attention for TPUs), "tokamax" or "cudnn"
  interpret: bool  # whether to interpret it on a CPU
  # `_window_blocks.averages`, for the second derivative
  plain: Callable[..., jax.Array]


def _library(method, q, k, v, whole, plain):
  """Returns the library of a method."""
  dtype, width = jnp.result_type(q, k, v), q.shape[-1]
  if method == "pallas":
    choice = _Library("splash", support.form("window", dtype).interpret, plain)
    if dtype == jnp.float16:
      raise _none(method, f"dtype {dtype}", "bfloat16 or float32")
  else:
    choice = _Library(method, contexts.interpreted() == "gpu", plain)
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
    # Their kernels do not declare over which devices their results vary.
    expected = "one that checks no types of them (check_vma=False)"
    raise _none(method, "a shard_map that checks varying axes", expected)
  return choice


class _Arrays(NamedTuple):
  """Arrays of finite numbers."""

  q: jax.Array  # [R, T, heads, D]
  k: jax.Array  # [R, earlier + T, groups, D]
  v: jax.Array  # [R, earlier + T, groups, D]
  start: jax.Array  # [R, T], the first key of each query's episode


def attend(
  method: str,
  window: int,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  start: jax.Array,
  *,
  whole: bool,
  plain: Callable[..., jax.Array],
) -> jax.Array:
  """Averages the values that each query sees, by a library's kernel.

  Args:
    method: "pallas" (JAX's splash attention), "tokamax" or "cudnn".
    window: number of earlier elements that a query sees.
    q: (rows, time, heads, d) queries, finite, all three of one dtype.
    k: (rows, earlier + time, groups, d) keys.
    v: (rows, earlier + time, groups, d) values.
    start: (rows, time) int, the first key of each query's episode.
    whole: whether all elements are one episode, from its start.
    plain: `_window_blocks.averages`, for the second derivative.

  Returns:
    Averages like q.

  Raises:
    NotImplementedError: if the library does not support these, or is missing.
  """
  library = _library(method, q, k, v, whole, plain)
  return _attend((library, window), _Arrays(q, k, v, start))


def _forward(options, x, keeps):
  """Returns the averages, and the library's own gradient if requested."""
  run = functools.partial(_run, *options, keeps, start=x.start)
  if not keeps:
    return run(*x[:3]), None
  # The library's residuals are not differentiated themselves.
  return jax.vjp(run, *map(lax.stop_gradient, x[:3]))


def _plain(options, x):
  """Computes the averages without a library."""
  (library, window), (q, k, v, start) = options, x
  earlier = k.shape[1] - q.shape[1]
  seen = jnp.maximum(start, earlier + jnp.arange(q.shape[1]) - window)
  return library.plain(q, k, v, seen, window)


_attend = _kept_vjp.differentiable(
  _forward,
  lambda options, x, pull, g: _Arrays(*pull(g), None),
  _plain,
  flags="start",
  compiled=False,
)


def _run(library, window, differentiated, q, k, v, start):
  """Runs the library, which is loaded here."""
  if library.name == "cudnn":  # One episode: `start` is 0.
    return jax.nn.dot_product_attention(
      *(q, k, v),
      is_causal=True,
      local_window_size=(window, 0),
      implementation="xla" if library.interpret else "cudnn",
    )
  if library.name == "splash":
    from jaxseq.kernels.window import _tpu as module
  else:
    from jaxseq.kernels.window import _gpu_tokamax as module
  options = library.interpret, differentiated, window
  return module.attend(*options, q, k, v, start)


def _none(method, got, expected):
  sentence = support.sentence("window", got, expected, method)
  return NotImplementedError(sentence)
