"""Times on a device, and what the device can do at best."""

import statistics
import time
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SAMPLES = 20
# Sums of squares of arguments fit no cache: what is given in turn is at least
# this large, twice the second-level cache of an H100.
_LARGER_THAN_CACHES = 100 * 2**20


class Timing(NamedTuple):
  """Milliseconds of one call.

  Attributes:
    ms: median.
    spread: from the tenth to the ninetieth percentile, as a share of it.
  """

  ms: float
  spread: float


class Compiled(NamedTuple):
  """A compiled program.

  Attributes:
    run: the program.
    seconds: that tracing, lowering and compiling took.
    temporary: bytes beside arguments and results; None if unknown.
  """

  run: Any
  seconds: float
  temporary: int | None


def compiled(function, *arguments) -> Compiled:
  """Compiles a function for arguments, arrays or shapes."""
  start = time.perf_counter()
  run = jax.jit(function).lower(*arguments).compile()
  seconds = time.perf_counter() - start
  analysis = run.memory_analysis()
  temporary = None if analysis is None else analysis.temp_size_in_bytes
  return Compiled(run, seconds, temporary)


def copies(size: int) -> int:
  """How many sets of arguments of some bytes no cache holds, at most three."""
  return min(3, 1 + _LARGER_THAN_CACHES // max(size, 1))


def timed(
  run,
  sets: list[tuple],
  least_seconds: float = 0.01,
  wait=jax.block_until_ready,
) -> Timing:
  """Times a program, called many times before the device is waited for.

  Args:
    run: the program.
    sets: tuples of arguments, taken in turn.
    least_seconds: of one sample; fast programs are called more often in it.
    wait: until outputs are there.
  """

  def sample(calls):
    start = time.perf_counter()
    for i in range(calls):
      outputs = run(*sets[i % len(sets)])
    wait(outputs)
    return (time.perf_counter() - start) / calls

  sample(len(sets))
  first = sample(1)
  calls = int(min(200, max(1, np.ceil(least_seconds / max(first, 1e-6)))))
  # What takes long is not repeated for minutes.
  count = SAMPLES if first < 0.2 else 5
  return summary([sample(calls) for _ in range(count)])


def summary(seconds: list[float]) -> Timing:
  """The median and the spread of samples."""
  median = statistics.median(seconds)
  low, high = np.quantile(seconds, [0.1, 0.9])
  return Timing(1e3 * median, float((high - low) / median))


def copied(size: int) -> float:
  """Bytes per second of copies of `size` bytes, read and written."""
  arrays = [(jnp.arange(size // 4, dtype=jnp.float32) + i,) for i in range(2)]
  found = timed(compiled(lambda x: x + 1, *arrays[0]).run, arrays)
  return 2 * size / (found.ms / 1e3)


def multiplied(width: int, dtype: str) -> float:
  """Operations per second of a product of random matrices."""
  keys = jax.random.split(jax.random.key(0), 4)
  shape = width, width
  matrices = [jax.random.normal(key, shape).astype(dtype) for key in keys]
  sets = [tuple(matrices[:2]), tuple(matrices[2:])]
  found = timed(compiled(jnp.matmul, *sets[0]).run, sets)
  return 2 * width**3 / (found.ms / 1e3)


def loop_step(kernels: int, steps: int) -> float:
  """Microseconds of a step of a loop with so many small kernels in it."""

  def body(x, _):
    for _ in range(kernels):
      # What lies between two of these is not fused with its neighbors.
      x = jax.lax.optimization_barrier(x * 0.999 + 0.001)
    return x, None

  def loop(x):
    return jax.lax.scan(body, x, length=steps)[0]

  x = jnp.linspace(0.0, 1.0, 1024)
  found = timed(compiled(loop, x).run, [(x,)])
  return 1e3 * found.ms / steps
