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

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.selective import _selective_chunk
from jaxseq.recurrence.selective import _selective_sharded
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _recurrences

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
  x, options = _Inputs(x, delta, A, B, C, D), {"chunk_size": chunk_size}
  options |= {"method": method, "axis": axis, "by_kernel": method == "pallas"}
  return _recurrences.scan(_SELECTIVE, x, init, reset, **options)


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
  x = jax.tree.map(jnp.asarray, _Inputs(x, delta, A, B, C, D))
  call = _recurrences.check(_SELECTIVE, x, state, reset, time=False)
  return _by_group(_selective_chunk.step, call, x, state, reset)


class _Inputs(NamedTuple):
  x: jax.Array
  delta: jax.Array
  A: jax.Array
  B: jax.Array
  C: jax.Array
  D: jax.Array | None


def _run(call, x, init, reset, *, by_kernel, method, chunk_size, **options):
  """Runs by a method; the batch axes of B and C may still be several."""
  del by_kernel
  if method == "pallas":
    _check_kernel(call, x)
    form = support.form("selective", x.x.dtype)
    kernel = registry.find("selective", form.chip)
    function = functools.partial(kernel, form, **options)
  if method == "pallas" and not len(x.x):
    # Without rows a kernel has no input.
    method = "sequential"
  if method != "pallas":
    function = functools.partial(_in_chunks, method, chunk_size)
  return _by_group(function, call, x, init, reset)


def _in_chunks(method, size, weights, inputs, h, reset):
  """Runs chunks of `size`, in the layouts of `_selective_chunk`."""
  function = functools.partial(_selective_chunk.run, method)
  (_, h), y = _chunks.over_chunks(function, size, (weights, h), inputs, reset)
  return h, y


def _check_kernel(call, x):
  """Raises NotImplementedError unless a kernel fits such inputs."""
  names = {x.x.dtype.name, x.delta.dtype.name, call.dtype.name}
  if not names <= {"bfloat16", "float32"}:
    _refuse(f"dtypes {sorted(names)}", "float32 or bfloat16")
  if 0 in _groups(x, call.sizes):
    got = "B or C that is the same at all times"
    _refuse(got, "shape (*batch, time, n)")
  n, platform = call.sizes["n"], contexts.interpreted() or contexts.machine()[0]
  most = _MOST_STATES.get(platform, n)
  if n > most:
    got = f"{n} states on a {platform}"
    _refuse(got, f"at most {most}")


def _refuse(got, expected):
  raise NotImplementedError(support.sentence("selective", got, expected))


def _check(x, sizes):
  """Checks B, C and D."""
  _checks.shape("D", x.D, (sizes["d"],))
  groups = _groups(x, sizes)
  if not set(groups) <= {0, 1, max(1, *groups)}:
    expected = "equally many groups, or one of them a single one"
    got = f"{groups[0]} and {groups[1]}"
    raise validate.error("B and C", got, expected)


def _groups(x, sizes):
  """Numbers of groups of B and C; 0 if it is the same at all times."""
  lead = *sizes["*batch"], *([sizes["time"]] if "time" in sizes else [])
  return [
    _num_groups(name, leaf.shape, lead, sizes["d"], sizes["n"])
    for name, leaf in (("B", x.B), ("C", x.C))
  ]


def _by_group(run, call, x, init, reset):
  """Runs each group of channels separately."""
  dtype, n, d = call.dtype, call.sizes["n"], call.sizes["d"]
  groups_B, groups_C = _groups(x, call.sizes)
  groups, g = {"B": groups_B, "C": groups_C}, max(1, groups_B, groups_C)
  time = [call.sizes["time"]] if "time" in call.sizes else []
  rows = math.prod(call.sizes["*batch"]), *time

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

  D = None if x.D is None else x.D.astype(jnp.finfo(dtype).dtype)
  weights = _selective_chunk.Weights(
    by_channel(x.A)[:, 0],
    None if groups["B"] else by_channel(x.B)[:, 0],
    None if groups["C"] else by_channel(x.C)[:, 0],
    None if D is None else D.reshape(g, -1),
  )
  inputs = _selective_chunk.Inputs(
    split(x.x),
    split(x.delta),
    by_element("B", x.B) if groups["B"] else None,
    by_element("C", x.C) if groups["C"] else None,
  )
  arguments = weights, inputs, by_channel(init)
  reset = None if reset is None else reset.reshape(rows)
  if g == 1:
    # No axis of size 1 in between, for which layouts are chosen badly.
    one = run(*jax.tree.map(lambda leaf: leaf[0], arguments), reset)
    h, y = jax.tree.map(lambda leaf: leaf[None], one)
  else:
    h, y = jax.vmap(run, (0, 0, 0, None))(*arguments, reset)
  h = jnp.moveaxis(h, (0, 2), (1, 3)).reshape(init.shape)
  return jnp.moveaxis(y, 0, -2).reshape(x.x.shape), h


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


_SELECTIVE = _recurrences.Recurrence(
  arguments="x: *batch time d; delta: *batch time d; A: any d n; B: any ...;"
  " C: any ...; init?: any *batch d n",
  outputs="x",
  run=_run,
  methods=METHODS,
  chosen=lambda call, x: ("selective", x.x.dtype, call.shape("time d n")),
  check=_check,
  part=_selective_sharded.part,
)
