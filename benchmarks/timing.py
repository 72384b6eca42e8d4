"""How the benchmarks measure: compiled once, best of several runs."""

import argparse
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp


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


# Columns of `pair`: title, field of a measurement, factor.
_COSTS = (
  ("wall ms", "wall", 1e3),
  ("CPU ms", "cpu", 1e3),
  ("temporary MB", "temporary", 1e-6),
)


def pair_head() -> str:
  """The head of the columns of `pair`."""
  titles = (f"{title:>15} {'ratio':>6} " for title, *_ in _COSTS)
  return "".join(titles) + f"{'compile s':>11}"


def pair(old: Measurement, new: Measurement) -> str:
  """What one function, which may not have run, and another one cost."""
  text = ""
  for _, field, scale in _COSTS:
    a, b = getattr(old, field), getattr(new, field)
    if a is None:
      text += f"{f'- {scale * b:.1f}':>15} {'-':>6} "
    else:
      text += f"{f'{scale * a:.1f} {scale * b:.1f}':>15} {a / b:6.1f} "
  return text + f"{f'{old.compile:.1f} {new.compile:.1f}':>11}"


# Of a scan, as `linear_scan` has them.
METHODS = ("sequential", "associative", "chunked")


def shapes_of_flags(doc: str, shapes: tuple, quick: int) -> tuple:
  """Parses --quick, prints the machine, and returns the shapes to time."""
  parser = argparse.ArgumentParser(description=doc.splitlines()[0])
  parser.add_argument(
    "--quick", action="store_true", help=f"the first {quick} shapes only"
  )
  shapes = shapes[:quick] if parser.parse_args().quick else shapes
  print(machine())
  return shapes


def print_methods_head(columns: str, methods=METHODS) -> None:
  """Prints the head of what `print_methods` prints."""
  print(
    columns + "".join(f"{name + ' ms':>16}" for name in methods) + "   auto"
  )


def print_methods(
  columns: str, make, arguments, chosen: str, methods=METHODS
) -> None:
  """Times `make(method)` for each method and prints a line."""
  results = interleaved([(make(method), arguments) for method in methods])
  walls = "".join(f"{1e3 * result.wall:16.2f}" for result in results)
  print(f"{columns}{walls}   {chosen}", flush=True)


def value_and_gradients(scan, count: int):
  """A loss of a scan's outputs and last state, by its first arguments."""

  def loss(*arguments):
    y, state = scan(*arguments)
    return jnp.sum(y**2) + jnp.sum(state)

  return jax.value_and_grad(loss, argnums=range(count))


def parse_with_threads(parser, torch):
  """Parses flags, one of them torch's number of threads, and sets that."""
  parser.add_argument(
    "--threads", type=int, help="of torch; its choice if none"
  )
  flags = parser.parse_args()
  if flags.threads:
    torch.set_num_threads(flags.threads)
  return flags


def machine() -> str:
  """One line that says where the numbers come from."""
  device = jax.devices()[0]
  return f"jax {jax.__version__} on {device.platform} ({device.device_kind})"
