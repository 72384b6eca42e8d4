"""Linear recurrences with a diagonal transition: h_t = a_t * h_{t-1} + b_t."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.linear import _linear_methods
from jaxseq.recurrence.linear import _linear_sharded
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _recurrences
from jaxseq.recurrence.shared import _resets

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
  options = {"reverse": reverse, "method": method, "axis": axis}
  return _recurrences.scan(_LINEAR, _Inputs(a, b), init, reset, **options)


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
  x = _Inputs(*map(jnp.asarray, (a, b)))
  return _recurrences.step(_LINEAR, x, state, reset)[1]


def accumulator_dtype(*arrays: jax.Array | None) -> jnp.dtype:
  """The dtype to compute in; ValueError unless real or complex."""
  dtype = jnp.result_type(*(x for x in arrays if x is not None), jnp.float32)
  if not jnp.issubdtype(dtype, jnp.inexact):
    raise validate.error("a and b", f"dtype {dtype}", "real or complex")
  return dtype


class _Inputs(NamedTuple):
  a: jax.Array
  b: jax.Array


def _check(x, sizes):
  """Checks that decays broadcast to inputs."""
  del sizes
  try:
    fits = jnp.broadcast_shapes(x.a.shape, x.b.shape) == x.b.shape
  except ValueError:
    fits = False
  if not fits:
    expected = f"one that broadcasts to that of b, {x.b.shape}"
    raise validate.error("a", f"shape {x.a.shape}", expected)


def _run(call, x, init, reset, *, reverse, method, **options):
  """Runs one batch axis of b; `a` still has all."""
  # Axes of `a` that only broadcast stay of size 1, so that a time-invariant
  # decay is neither repeated nor differentiated per step.
  batch, a = call.sizes["*batch"], x.a
  a = jnp.reshape(a, (1,) * (len(batch) + 2 - a.ndim) + a.shape)
  if any(size != 1 for size in a.shape[:-2]):
    a = jnp.broadcast_to(a, batch + a.shape[-2:])
  a = a.reshape((math.prod(a.shape[:-2]), *a.shape[-2:]))
  arguments = a.astype(call.dtype), x.b.astype(call.dtype), init, reset
  if method == "pallas":
    form = support.form("linear", call.dtype)
    kernel = registry.find("linear", form.chip)
    return kernel(form, *arguments, reverse=bool(reverse), **options)
  return _linear_methods.scan(*arguments, bool(reverse), method)


def _element(x, state, reset):
  """One element, which is a state."""
  a = x.a
  if reset is not None:
    # The decay too: zero times an undefined one is not zero.
    a, state = (_resets.forget(reset, z) for z in (a, state))
  h = a * state + x.b
  return h, h


_LINEAR = _recurrences.Recurrence(
  arguments="a: any ...; b: any *batch time n; init?: any *batch n",
  run=_run,
  methods=KERNEL_METHODS,
  chosen=lambda call, x: ("linear", call.dtype, call.shape("time n")),
  element=_element,
  check=_check,
  part=_linear_sharded.part,
)
