"""How the benchmarks measure: compiled once, best of several runs."""

import time
from typing import NamedTuple

import jax


class Measurement(NamedTuple):
  """What one compiled function costs.

  Attributes:
    wall: seconds by the clock, best of the runs.
    cpu: CPU seconds of the process in the run that used the fewest.
    compile: seconds to compile.
    temporary: bytes of XLA temporaries; None where the backend does not tell.
  """

  wall: float
  cpu: float
  compile: float
  temporary: int | None


def measure(function, arguments, repeats: int = 5) -> Measurement:
  """Compiles `function` for `arguments` and times it."""
  return interleaved([(function, arguments)], repeats)[0]


def interleaved(pairs, repeats: int = 5) -> list[Measurement]:
  """Times several (function, arguments), taking turns.

  On a machine that others use too, a ratio of two timings means something only
  if both saw the same load.
  """
  compiled, compile_times = [], []
  for function, arguments in pairs:
    start = time.perf_counter()
    compiled.append(jax.jit(function).lower(*arguments).compile())
    compile_times.append(time.perf_counter() - start)
    jax.block_until_ready(compiled[-1](*arguments))
  best = [(float("inf"), float("inf"))] * len(pairs)
  for _ in range(repeats):
    for i, (_, arguments) in enumerate(pairs):
      wall, cpu = time.perf_counter(), time.process_time()
      jax.block_until_ready(compiled[i](*arguments))
      wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
      best[i] = (min(best[i][0], wall), min(best[i][1], cpu))
  results = []
  for program, (wall, cpu), seconds in zip(compiled, best, compile_times):
    analysis = program.memory_analysis()
    temporary = None if analysis is None else analysis.temp_size_in_bytes
    results.append(Measurement(wall, cpu, seconds, temporary))
  return results


def machine() -> str:
  """One line that says where the numbers come from."""
  device = jax.devices()[0]
  return f"jax {jax.__version__} on {device.platform} ({device.device_kind})"
