"""The selective scan: diagonal state space models that depend on inputs.

    h_t = exp(delta_t A) * h_{t-1} + delta_t B_t x_t     (reset: h_{t-1} is 0)
    y_t = C_t h_t + D x_t

Gu and Dao, "Mamba: Linear-time sequence modeling with selective state spaces",
arXiv:2312.00752, section 3. Each of the d channels has n states, so that all
states of a sequence would be n times as large as its inputs. Here time is cut
into chunks: decays and inputs of the states are computed when they are used,
outputs are computed inside the chunk, and the backward pass keeps the state at
each chunk boundary and recomputes the rest.
"""

import contextlib
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.selective import _selective_chunk
from jaxseq.recurrence.selective import _selective_sharded
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _chunks

METHODS = ("auto", "sequential", "associative", "chunked", "pallas")
# Maximum number of states of a channel in a kernel, by platform: limited by the
# registers of a thread, and by a tile in VMEM.
_MOST_STATES = {"gpu": 16, "tpu": 128}


def selective_scan(
  x: jax.Array,
  delta: jax.Array,
  A: jax.Array,
  B: jax.Array,
  C: jax.Array,
  init: jax.Array | None = None,
  *,
  D: jax.Array | None = None,
  reset: jax.Array | None = None,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Runs y_t = C_t h_t + D x_t, h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t.

  Memory beyond inputs and outputs grows with time / chunk_size, in the gradient
  too. A, B, C and init may be complex; y is the real part then. A system with
  only one of each conjugate pair has its output for 2 C.

  Args:
    x: (*batch, time, d) real inputs.
    delta: (*batch, time, d) step sizes, real and not negative.
    A: (d, n) continuous decays, with negative real part.
    B: input weights in one of three forms: (*batch, time, n), shared by all
      channels; (*batch, time, g, n), each shared by one of g groups of d / g
      neighboring channels; (1, ..., 1, d, n), the same at all times, with a 1
      for each axis of batch and time.
    C: output weights, in the same forms as B.
    init: (*batch, d, n) state before the first element; zeros if None.
    D: (d,) feed-through; absent if None.
    reset: (*batch, time) bool; if true, the state is reset to zeros (not
      to `init`) before that element is consumed.
    chunk_size: elements per chunk; by length if None.
    method: how the states inside a chunk are computed: "sequential",
      "associative", "chunked" or "auto", as in `linear_scan`; or "pallas", a
      kernel for a TPU or a GPU of the kind H100, which has chunks of its own.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.

  Returns:
    Outputs (*batch, time, d) in the dtype of x, and the state (*batch, d, n)
    after the last element. Computed in float32 or wider.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: if the method is "pallas", and there is no kernel for
      the platform, or for these A, B, C and dtypes.
  """
  validate.choice("method", method, METHODS)
  if axis is not None:
    run = functools.partial(
      selective_scan, chunk_size=chunk_size, method=method
    )
    where = {"reset": reset, "axis": axis, "by_kernel": method == "pallas"}
    return _selective_sharded.selective_scan(
      run, x, delta, A, B, C, init, D=D, **where
    )
  x, delta, A, B, C = map(jnp.asarray, (x, delta, A, B, C))
  *batch, time, d = validate.shape("x", x, ("*batch", "time", "d"))
  if chunk_size is not None:
    chunk_size = min(validate.positive("chunk_size", chunk_size), time)
  arrays, batch_size = (x, delta, A, B, C, init, D, reset), math.prod(batch)
  layout = _layout(*arrays, batch=tuple(batch), time=(time,))
  missing = _missing_kernel(layout, x, delta)
  if method == "pallas" and missing:
    raise missing

  def run(*arrays, method, chunk_size, **options):
    if method == "pallas" and batch_size:
      form = support.form("selective", x.dtype)
      kernel = registry.find("selective", form.chip)
      function = functools.partial(kernel, form, **options)
    else:
      # Without rows a kernel has no input.
      plain = "sequential" if method == "pallas" else method
      function = functools.partial(_run, plain, chunk_size)
    return _by_group(function, layout, *arrays)

  with contexts.off() if missing else contextlib.nullcontext():
    return choice.by_platform(
      "selective",
      x.dtype,
      (batch_size, time, d, layout.n),
      run,
      *arrays,
      method=method,
      chunk_size=chunk_size,
    )


def selective_step(
  x: jax.Array,
  delta: jax.Array,
  A: jax.Array,
  B: jax.Array,
  C: jax.Array,
  state: jax.Array,
  *,
  D: jax.Array | None = None,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Consumes one element; `selective_scan` without the time axis.

  Args:
    x: (*batch, d) real input.
    delta: (*batch, d) step sizes.
    A: (d, n) continuous decays.
    B: (*batch, n), (*batch, g, n), or (1, ..., 1, d, n), as in
      `selective_scan`.
    C: in the same forms as B.
    state: (*batch, d, n) state before the element.
    D: (d,) feed-through; absent if None.
    reset: (*batch,) bool; if true, the state is reset to zeros first.

  Returns:
    Output (*batch, d) in the dtype of x, and the state (*batch, d, n) after the
    element, float32 or wider.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  x, delta, A, B, C = map(jnp.asarray, (x, delta, A, B, C))
  batch = validate.shape("x", x, ("*batch", "d"))[:-1]
  arrays = (x, delta, A, B, C, state, D, reset)
  layout = _layout(*arrays, batch=batch, time=())
  return _by_group(_selective_chunk.step, layout, *arrays)


def _run(method, size, weights, inputs, h, reset):
  """Runs chunks of `size`, in the layouts of `_selective_chunk`."""
  function = functools.partial(_selective_chunk.run, method)
  (_, h), y = _chunks.over_chunks(function, size, (weights, h), inputs, reset)
  return h, y


def _missing_kernel(layout, x, delta):
  """Returns the error that no kernel fits such inputs; None if one does."""
  names = {x.dtype.name, delta.dtype.name, layout.dtype.name}
  if not names <= {"bfloat16", "float32"}:
    return _no_kernel(f"dtypes {sorted(names)}", "float32 or bfloat16")
  if 0 in (layout.groups_B, layout.groups_C):
    return _no_kernel(
      "B or C that is the same at all times", "shape (*batch, time, n)"
    )
  platform = contexts.interpreted() or contexts.machine()[0]
  most = _MOST_STATES.get(platform, layout.n)
  if layout.n > most:
    return _no_kernel(f"{layout.n} states on a {platform}", f"at most {most}")
  return None


def _no_kernel(got, expected):
  return NotImplementedError(support.sentence("selective", got, expected))


class _Layout(NamedTuple):
  """Sizes, and dtypes of the computation."""

  batch: tuple[int, ...]
  time: tuple[int, ...]  # (time,), or () for one element.
  n: int
  groups_B: int  # 0 if it is the same at all times.
  groups_C: int
  real: jnp.dtype
  dtype: jnp.dtype


def _layout(x, delta, A, B, C, init, D, reset, *, batch, time):
  """Checks all arguments, and returns their layout."""
  lead, d = (*batch, *time), x.shape[-1]
  _check(x, delta, A, D, init, reset, batch, time)
  n = A.shape[1]
  groups = [
    _num_groups(name, leaf.shape, lead, d, n)
    for name, leaf in (("B", B), ("C", C))
  ]
  if not set(groups) <= {0, 1, max(1, *groups)}:
    expected = "equally many groups, or one of them a single one"
    got = f"{groups[0]} and {groups[1]}"
    raise validate.error("B and C", got, expected)
  arrays = (A, B, C) + (() if init is None else (init,))
  real = jnp.result_type(*map(jnp.real, arrays), x, delta, jnp.float32)
  return _Layout(batch, time, n, *groups, real, jnp.result_type(real, *arrays))


def _by_group(run, layout, x, delta, A, B, C, init, D, reset):
  """Runs each group of channels separately."""
  batch, time, n, groups_B, groups_C, real, dtype = layout
  groups, g = {"B": groups_B, "C": groups_C}, max(1, groups_B, groups_C)
  rows, d = (math.prod(batch), *time), x.shape[-1]

  def by_channel(array):
    """Array [g, R, n, d / g] of [R, d, n]."""
    array = array.astype(dtype).reshape(-1, g, d // g, n)
    return jnp.moveaxis(array, (1, 3), (0, 2))

  def by_element(name, array):
    """Array [g, R, T, n] of (*batch, time, [g,] n)."""
    array = array.reshape(*rows, groups[name], n)
    if groups[name] < g:
      # Cotangents of all groups are added, so they need the wide dtype.
      array = array.astype(dtype)
    return jnp.broadcast_to(jnp.moveaxis(array, -2, 0), (g, *rows, n))

  def split(array):
    """Array [g, R, T, d / g] of (*batch, time, d)."""
    return jnp.moveaxis(array.reshape(*rows, g, d // g), -2, 0)

  weights = _selective_chunk.Weights(
    by_channel(A)[:, 0],
    None if groups["B"] else by_channel(B)[:, 0],
    None if groups["C"] else by_channel(C)[:, 0],
    None if D is None else jnp.asarray(D, real).reshape(g, -1),
  )
  inputs = _selective_chunk.Inputs(
    split(x),
    split(delta),
    by_element("B", B) if groups["B"] else None,
    by_element("C", C) if groups["C"] else None,
  )
  if init is None:
    init = jnp.zeros_like(x, shape=(*batch, d, n))
  arguments = weights, inputs, by_channel(init)
  reset = None if reset is None else reset.reshape(rows)
  if g == 1:
    # No axis of size 1 in between, for which layouts are chosen badly.
    one = run(*jax.tree.map(lambda leaf: leaf[0], arguments), reset)
    h, y = jax.tree.map(lambda leaf: leaf[None], one)
  else:
    h, y = jax.vmap(run, (0, 0, 0, None))(*arguments, reset)
  h = jnp.moveaxis(h, (0, 2), (1, 3)).reshape(*batch, d, n)
  return jnp.moveaxis(y, 0, -2).reshape(x.shape), h


def _check(x, delta, A, D, init, reset, batch, time):
  """Checks all arguments except B and C."""
  d = x.shape[-1]
  _checks.floating(x=x, delta=delta)
  validate.shape("delta", delta, x.shape)
  validate.shape("A", A, (d, "n"))
  _checks.shape("D", D, (d,))
  _checks.shape("init" if time else "state", init, (*batch, *A.shape))
  _checks.reset(reset, (*batch, *time))


def _num_groups(name, shape, lead, d, n):
  """Number of groups of B or C; 0 if it is the same at all times."""
  constant = (1,) * len(lead) + (d, n)
  if shape == (*lead, n):
    return 1
  if shape == constant:
    return 0
  *front, g, last = shape if len(shape) > 1 else (0, 0)
  if (*front, last) == (*lead, n) and g and d % g == 0:
    return g
  grouped = f"{(*lead, 'g', n)} with g a divisor of d = {d}"
  expected = f"{(*lead, n)}, {grouped}, or {constant}"
  raise validate.error(name, f"shape {shape}", expected)
