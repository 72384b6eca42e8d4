"""How the benchmarks measure: compiled once, best of several runs."""

import time
from typing import NamedTuple

import jax


class Measurement(NamedTuple):
  """What one compiled function costs.

  Attributes:
    wall: seconds by the clock, best of the runs; None if it was not run.
    cpu: CPU seconds of the process in the run that used the fewest; None if it
      was not run.
    compile: seconds to compile.
    temporary: bytes of XLA temporaries; None where the backend does not tell.
  """

  wall: float | None
  cpu: float | None
  compile: float
  temporary: int | None


def measure(function, arguments, repeats: int = 5) -> Measurement:
  """Compiles `function` for `arguments` and times it."""
  return interleaved([(function, arguments)], repeats)[0]


def interleaved(
  pairs,
  repeats: int = 5,
  memory_limit: float = float("inf"),
  time_limit: float = float("inf"),
) -> list[Measurement]:
  """Times several (function, arguments), taking turns.

  On a machine that others use too, a ratio of two timings means something only
  if both saw the same load. Each timed run follows an untimed one of the same
  program: what runs right after another pays for the gigabytes of temporaries
  that the other gives back. What would need more bytes of temporaries than
  `memory_limit` is compiled and not run; what takes more than `time_limit`
  seconds is run once.
  """
  compiled, compile_times, memory = [], [], []
  for function, arguments in pairs:
    start = time.perf_counter()
    compiled.append(jax.jit(function).lower(*arguments).compile())
    compile_times.append(time.perf_counter() - start)
    analysis = compiled[-1].memory_analysis()
    memory.append(None if analysis is None else analysis.temp_size_in_bytes)
  run = [i for i, size in enumerate(memory) if (size or 0) <= memory_limit]

  def timed(i):
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(compiled[i](*pairs[i][1]))
    return time.perf_counter() - wall, time.process_time() - cpu

  first = {i: timed(i) for i in run}
  again = [i for i in run if first[i][0] <= time_limit]
  best = [
    (float("inf"), float("inf")) if i in again else first.get(i)
    for i in range(len(pairs))
  ]
  for _ in range(repeats):
    for i in again:
      timed(i)
      best[i] = tuple(map(min, best[i], timed(i)))
  return [
    Measurement(
      *(best[i] if i in run else (None, None)), compile_times[i], memory[i]
    )
    for i in range(len(pairs))
  ]


def machine() -> str:
  """One line that says where the numbers come from."""
  device = jax.devices()[0]
  return f"jax {jax.__version__} on {device.platform} ({device.device_kind})"
