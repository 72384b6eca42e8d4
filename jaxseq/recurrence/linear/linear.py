"""Linear recurrences with a diagonal transition: h_t = a_t * h_{t-1} + b_t."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.linear import _linear_methods
from jaxseq.recurrence.linear import _linear_sharded
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _varying

METHODS = ("auto", "sequential", "associative", "chunked")
# Names of the recurrences that have kernels.
KERNEL_METHODS = (*METHODS, "pallas")


def linear_scan(
  a: jax.Array,
  b: jax.Array,
  init: jax.Array | None = None,
  *,
  reset: jax.Array | None = None,
  reverse: bool = False,
  method: str = "auto",
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Computes h_t = a_t * h_{t-1} + b_t for every t.

  The gradient with respect to `a`, `b` and `init`, from cotangents of both
  results, is the same recurrence in reverse (Martin and Cundy, "Parallelizing
  linear recurrent neural nets over sequence length", arXiv:1709.04057, section
  2.3). It is finite if `a` is 0 or 1, and can be differentiated again (reverse
  mode).

  Args:
    a: decays, real or complex, of any shape that broadcasts to that of `b`; a
      time-invariant `a` may have shape (n,).
    b: (*batch, time, n) inputs, real or complex.
    init: (*batch, n) state before the first element; zeros if None.
    reset: (*batch, time) bool; if true, the state is reset to zeros (not
      to `init`) before that element is consumed.
    reverse: run from the last element to the first: h_t = a_t * h_{t+1} + b_t.
      A reset at t then forgets the elements after t.
    method: "sequential" (one step at a time), "associative" (a tree over time),
      "chunked" (blocks in parallel, then the carries between them), "pallas"
      (kernels, on TPUs and Hopper GPUs, in at most float32) or "auto" (by
      platform and length). All agree to rounding.
    axis: name of the mesh axis over which time is split, for use inside
      `jax.shard_map`: arrays with a time axis are this device's chunk, states
      those of the whole sequence, the same on all devices.

  Returns:
    The states (*batch, time, n) and the state (*batch, n) after the element
    that was consumed last. Their dtype is the common one of `a`, `b` and
    `init`, and at least float32.

  Raises:
    ValueError: if shapes, dtypes or the method do not fit the above.
    NotImplementedError: if the method is "pallas", and no kernel runs here.
  """
  if axis is not None:
    run = functools.partial(linear_scan, reverse=reverse, method=method)
    where = {"reset": reset, "axis": axis, "reverse": reverse}
    dtype = accumulator_dtype(a, b, init)
    return _linear_sharded.linear_scan(run, a, b, init, dtype=dtype, **where)
  a, b = jnp.asarray(a), jnp.asarray(b)
  *batch, time, n = validate.shape("b", b, ("*batch", "time", "n"))
  batch = tuple(batch)
  _check_broadcast("a", a.shape, b.shape)
  dtype = accumulator_dtype(a, b, init)
  _checks.shape("init", init, batch + (n,))
  if init is None:
    init = jnp.zeros_like(b, dtype, shape=batch + (n,))
  _checks.reset(reset, batch + (time,))
  validate.choice("method", method, KERNEL_METHODS)

  # One batch axis inside. Axes of `a` that only broadcast stay of size 1, so
  # that a time-invariant decay is neither repeated nor differentiated per step.
  rows = math.prod(batch)
  a = jnp.reshape(a, (1,) * (b.ndim - a.ndim) + a.shape)
  if all(size == 1 for size in a.shape[:-2]):
    a = a.reshape((1,) + a.shape[-2:])
  else:
    a = jnp.broadcast_to(a, batch + a.shape[-2:])
    a = a.reshape((rows,) + a.shape[-2:])
  a, flat = a.astype(dtype), b.reshape(rows, time, n).astype(dtype)
  init = init.reshape(rows, n).astype(dtype)
  reset = None if reset is None else reset.reshape(rows, time)
  # Inside `jax.shard_map` the carry of a loop varies over devices as its
  # addends.
  init = _varying.vary_as(flat, _varying.vary_as(a, init))

  def run(*arguments, method, **options):
    if method == "pallas":
      form = support.form("linear", dtype)
      kernel = registry.find("linear", form.chip)
      return kernel(form, *arguments, reverse=bool(reverse), **options)
    return _linear_methods.scan(*arguments, bool(reverse), method)

  h, final = choice.by_platform(
    "linear",
    dtype,
    (rows, time, n),
    run,
    *(a, flat, init, reset),
    method=method,
  )
  return h.reshape(b.shape), final.reshape(batch + (n,))


def linear_step(
  a: jax.Array,
  b: jax.Array,
  state: jax.Array,
  *,
  reset: jax.Array | None = None,
) -> jax.Array:
  """Consumes one element: returns a * state + b.

  Args:
    a: decay, broadcastable to `b`.
    b: (*batch, n) input.
    state: (*batch, n) state before the element.
    reset: (*batch,) bool; if true, the state is reset to zeros first.

  Returns:
    The state (*batch, n) after the element, at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  a, b = jnp.asarray(a), jnp.asarray(b)
  validate.shape("b", b, ("*batch", "n"))
  _check_broadcast("a", a.shape, b.shape)
  validate.shape("state", state, b.shape)
  _checks.reset(reset, b.shape[:-1])
  dtype = accumulator_dtype(a, b, state)
  a, state = a.astype(dtype), jnp.asarray(state, dtype)
  if reset is not None:
    # The decay too: zero times an undefined one is not zero.
    a, state = (_resets.forget(reset, x) for x in (a, state))
  return a * state + b.astype(dtype)


def _check_broadcast(name, shape, target):
  try:
    fits = jnp.broadcast_shapes(shape, target) == tuple(target)
  except ValueError:
    fits = False
  if not fits:
    expected = f"one that broadcasts to that of b, {tuple(target)}"
    raise validate.error(name, f"shape {shape}", expected)


def accumulator_dtype(*arrays: jax.Array | None) -> jnp.dtype:
  """The dtype to compute in; ValueError unless real or complex."""
  dtype = jnp.result_type(*(x for x in arrays if x is not None), jnp.float32)
  if not jnp.issubdtype(dtype, jnp.inexact):
    raise validate.error("a and b", f"dtype {dtype}", "real or complex")
  return dtype
