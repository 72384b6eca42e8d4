"""The choice of how a recurrence is computed, by platform: the one decision.

On CPUs one step at a time was the fastest at nearly every shape measured, but
for matrix states, where matrix products are. On accelerators a loop over time
is bound by latency, so that the logarithmic depth of the tree is taken there,
or large products; that half rests on the depth of the programs and on their
bytes, counted, and not on timings. Kernels are taken where `table` says so.
"""

from collections.abc import Callable
import functools
import math
from typing import Any

from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.platform import table
from jaxseq.types import PyTree

Options = dict[str, Any]

_SYMBOLIC_ROWS = 8


def choose(
  op: str,
  platform: str,
  chip: str | None,
  dtype: jnp.dtype,
  shape: tuple[int, ...],
  method: str = "auto",
  mode: str = "auto",
) -> tuple[str, Options]:
  """Decides what `method="auto"` means, and the sizes that go with a method.

  A pure function of its arguments.

  Args:
    op: one of the recurrences below.
    platform: "cpu", "gpu", "tpu", ... as `jax.default_backend()` gives it.
    chip: as `contexts.machine` gives it; None for no kernels.
    dtype: of the inputs.
    shape: of the problem, with all batch axes as rows, which may be symbolic:
      "linear" (rows, time, n), "lti" (rows, time, inputs, states),
      "selective" (rows, time, d, n), "outer", "outer_per_channel" and "mlstm"
      (rows, time, heads, dk, dv), "softmax" and "softmax_outer" (rows, time,
      dk, dv), "gated" (rows, time, heads, features), "window" (rows, time,
      heads, features, window), "delta" and "delta_per_channel" (rows, time, dk,
      dv), "dplr" (channels, states, frequencies).
    method: "auto", or a name, which stays: then its sizes are decided.
    mode: as `contexts.use` takes it.

  Returns:
    The method and its options, by name.
  """
  if not isinstance(shape[0], int):
    # Symbolic, as in `jax.export`: known only when the program runs.
    shape = (_SYMBOLIC_ROWS, *shape[1:])
  row = None
  if method == "auto" and mode == "on" and chip is not None:
    if support.why_not(op, platform, chip, dtype) is None:
      method = "pallas"
    else:
      method = _OF_OTHERS.get((op, platform), method)
  if method == "auto" and mode != "off":
    row = table.find(op, chip, jnp.dtype(dtype).name, shape)
  if row is None or (
    row.method == "pallas" and support.why_not(op, platform, chip, dtype)
  ):
    return _OPS[op](platform, method, shape)
  # What the row leaves out is as without it; its length may be another.
  _, options = _OPS[op](platform, row.method, shape)
  options |= row.options
  if "chunk_size" in row.options:
    options["chunk_size"] = min(row.options["chunk_size"], shape[1])
  return row.method, options


def by_platform(
  op: str,
  dtype: jnp.dtype,
  shape: tuple[int, ...],
  run: Callable[..., PyTree],
  *arguments: PyTree,
  method: str = "auto",
  **named: Any,
) -> PyTree:
  """Runs a recurrence as chosen for the platform the program is lowered for.

  Where there is only a CPU, this is `run` as chosen for it. On a machine with
  an accelerator it is `run` as chosen for that, also in a program on the CPU of
  that machine, unless it is traced in `contexts.choosing_for("cpu")`. Several
  ways are traced where a kernel is chosen, which is lowered for its own chip
  only, and in `contexts.with_cpu`; lowering keeps one of them.

      def run(q, k, v, *, method, chunk_size):
        ...

      o, final = choice.by_platform(
        "outer", dtype, shape, run, q, k, v,
        method=method, chunk_size=chunk_size,
      )

  Args:
    op: as in `choose`.
    dtype: as in `choose`.
    shape: as in `choose`.
    run: a function of the arguments, `method` and the options of `choose` by
      name; differentiable as often as needed. It reads nothing off the platform
      itself: what depends on it comes by name, into its gradient, too.
    *arguments: pytrees of arrays; all arrays that the result depends on.
    method: "auto", or what the caller named.
    **named: options that the caller gave, instead of those chosen; None where
      it gave none.

  Returns:
    What `run` returns.
  """
  kwargs = {name: x for name, x in named.items() if x is not None}

  def chosen(platform, chip):
    mode = contexts.mode()
    choice, options = choose(op, platform, chip, dtype, shape, method, mode)
    return options | kwargs | {"method": choice}

  def traced(platform, chip, *arguments):
    options, without = chosen(platform, chip), chosen(platform, None)
    try:
      return run(*arguments, **options)
    except NotImplementedError:
      # A row of the table holds for sizes near its own, a kernel for those that
      # fit the chip.
      if options == without:
        raise
      return run(*arguments, **without)

  def branch(platform, chip):
    def way(*arguments):
      with contexts.branch(platform, chip):
        return traced(platform, chip, *arguments)

    return way

  if method == "pallas":
    return run(*arguments, **chosen(support.form(op, dtype).chip, None))
  platform, chip = contexts.machine()
  local, plain, on_cpu = (
    chosen(*each)
    for each in ((platform, chip), (platform, None), ("cpu", None))
  )
  if contexts.is_branch() or platform == "cpu" or local == on_cpu:
    return traced(platform, chip, *arguments)
  branches = {}
  if contexts.holds_cpu():
    branches["cpu"] = branch("cpu", None)
  if local != plain:
    # A kernel is lowered for its own chip only.
    branches[_LOWERED.get(platform, platform)] = branch(platform, chip)
  if not branches:
    return branch(platform, None)(*arguments)
  return lax.platform_dependent(
    *arguments, default=branch(platform, None), **branches
  )


def _linear(platform, method, shape):
  """One step at a time, or a tree."""
  if method == "auto":
    steps = platform == "cpu" or shape[1] == 1
    method = "sequential" if steps else "associative"
  if method != "pallas":
    return method, {}
  rows, time, n = shape
  if platform == "tpu":
    return method, {"tile": 256 if time > 128 else 128}
  # A block of threads takes 32 elements of 128 channels at a time.
  segments = _segments(rows, time, n)
  return method, {"tile": 32, "stages": 3, "segments": segments}


def _segments(rows, time, n):
  """Segments of time side by side on a GPU, where a block has 128 channels."""
  blocks, segments = max(rows, 1) * -(-n // 128), 1
  if blocks < 33:
    while segments * blocks < 100 and time >= 256 * segments:
      segments *= 2
  return segments


def _lti(platform, method, shape):
  """Method of a linear recurrence, in chunks: their states take the memory."""
  rows, time, _, n = max(shape[0], 1), *shape[1:]
  if method == "pallas":
    # The states of a chunk, of which there are copies, take 256 MB if complex.
    size = min(time, max(1024, 2**25 // (rows * n)))
    method, options = _linear(platform, method, (rows, size, n))
    return method, options | {"chunk_size": size}
  if platform == "cpu":
    # Matrix products want 2048 rows, but 1024 do where there would be fewer
    # than eight chunks.
    size = max(1024 // rows, min(2048 // rows, time // 8))
    size = max(32, min(256, size))
  else:
    # Long enough to keep the device busy, and never all states of many rows.
    size = max(128, min(1024, 2**14 // rows))
  size = min(time, size)
  method, _ = _linear(platform, method, (rows, size, n))
  return method, {"chunk_size": size}


def _selective(platform, method, shape):
  """Method of a linear recurrence; steps on TPUs, whose loops stay on chip."""
  rows, time, d, n = shape
  # Boundaries and states of a chunk take the least memory at sqrt(time). A size
  # that divides the length saves the code for a remainder.
  longest = max(32, min(256, math.isqrt(time)))
  # The gradient's decays and states of a chunk, in half of a TPU's VMEM: that
  # moves a fifth of the bytes.
  fitting = 2**26 // (2 * 4 * max(rows, 1) * d * n)
  if platform == "tpu" and fitting >= 8:
    longest = min(longest, fitting)
  divisors = (d for d in range(longest, longest // 2, -1) if time % d == 0)
  size = next(divisors, min(longest, time))
  if method == "auto" and platform == "tpu":
    method = "sequential"
  if method == "pallas" and platform == "gpu":
    segments = {"segments": _segments(rows, time, d)}
    return method, {"chunk_size": size} | segments
  method, _ = _linear(platform, method, (rows, size, d))
  return method, {"chunk_size": size}


def _outer(platform, method, shape, per_channel=False):
  """Matrix products, but where a small state has a decay per channel."""
  _, time, _, dk, dv = shape
  if method == "auto":
    small = platform == "cpu" and per_channel and dk * dv <= 256
    method = "sequential" if time == 1 or small else "chunked"
  # Work in a chunk grows with its length, that between chunks with the state;
  # the states kept for the gradient should not outgrow the inputs.
  size = 32 if platform == "cpu" else 128
  if platform == "gpu" and not per_channel and time >= 4096:
    # Half of the kernels, and fewer bytes, by counts of a compiled Mamba-2.
    size = 256
  while size < 256 and size * size < dk * dv:
    size *= 2
  return method, {"chunk_size": min(time, size)}


def _delta(platform, method, shape):
  """Matrix products, whose chunks are those of other matrix states."""
  rows, time, dk, dv = shape
  if method == "pallas":
    # What the inverse of a chunk takes grows with its length.
    return method, {"chunk_size": min(time, 64)}
  return _outer(platform, method, (rows, time, 1, dk, dv))


def _softmax(platform, method, shape):
  """Method of a linear recurrence, in chunks of sums held together."""
  rows, time, _, dv = shape
  numbers, least = {"cpu": (2**19, 64), "tpu": (2**22, 512)}.get(
    platform, (2**23, 1024)
  )
  size = min(time, max(least, numbers // max(rows * dv, 1)))
  method, _ = _linear(platform, method, (rows, size, dv))
  return method, {"chunk_size": size}


def _softmax_outer(platform, method, shape):
  """On GPUs decays; elsewhere one exponential per element and channel."""
  time = shape[1]
  if method == "auto" and time == 1:
    method = "sequential"
  elif method == "auto":
    method = "decays" if platform == "gpu" else "chunked"
  if method in ("decays", "pallas"):
    return method, {}
  return method, {"chunk_size": min(time, 64 if platform == "cpu" else 128)}


def _gated(platform, method, shape):
  """One step at a time, in chunks; with few kernels on GPUs."""
  rows, time, heads, features = shape
  # Measured on a CPU core, widths 64 and 256, batches 8 to 64: up to four times
  # more is no faster and takes more memory.
  size = max(16, 2**15 // max(1, rows * heads * features))
  if method == "auto":
    method = "unrolled" if platform == "gpu" else "sequential"
  if method == "pallas" and platform == "gpu":
    # Whole, unless a gate of all steps takes more than 64 MB.
    size = max(128, 2**25 // max(1, rows * heads * features))
  elif method != "sequential":
    # What a chunk costs beside its steps: launches, and loads of the weights.
    size = max(64, size)
  if method == "unrolled":
    # More steps while a chunk's gates take no more than some MB.
    size = max(size, min(256, 2**19 // max(1, rows * heads * features)))
  return method, {"chunk_size": min(time, size)}


def _window(platform, method, shape):
  """Blocks of queries."""
  return "chunked" if method == "auto" else method, {}


def _dplr(platform, method, shape):
  """The Cauchy matrix of S4, in blocks of frequencies."""
  width, states, frequencies = shape
  limit = 2**18 if platform == "cpu" else 2**24
  size = max(1, min(frequencies, limit // (width * states)))
  return "chunked" if method == "auto" else method, {"chunk_size": size}


_OPS = {
  "delta": _delta,
  "delta_per_channel": _delta,
  "dplr": _dplr,
  "linear": _linear,
  "lti": _lti,
  "selective": _selective,
  "outer": _outer,
  "mlstm": _outer,
  "outer_per_channel": functools.partial(_outer, per_channel=True),
  "softmax": _softmax,
  "gated": _gated,
  "softmax_outer": _softmax_outer,
  "window": _window,
}
# Kernels of other libraries, which have methods of their own.
_OF_OTHERS = {("window", "gpu"): "cudnn"}
# What lowering calls a platform, where `jax.default_backend()` says otherwise.
_LOWERED = {"gpu": "cuda"}
