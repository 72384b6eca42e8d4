"""Candidates for each recurrence, timed for the rows of `platform/table.py`."""

from collections.abc import Iterator
import contextlib
import datetime
import math
from typing import Any
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks.accelerators import correctness
from benchmarks.accelerators import measuring
from benchmarks.accelerators import problems
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import table

Options = dict[str, Any]

# At most four for a kernel, of those whose registers do not spill.
_TILES = {
  "gpu": tuple(
    {"tile": tile, "stages": stages} for tile in (32, 64) for stages in (3, 4)
  ),
  "tpu": tuple({"tile": tile} for tile in (128, 256, 512)),
}
_CHUNKS = tuple({"chunk_size": size} for size in (64, 128, 256))


class Asked(NamedTuple):
  """What a recurrence asks `choice.choose`, see there."""

  op: str
  dtype: str
  shape: tuple[int, ...]

  def takes(self, method: str = "auto") -> tuple[str, Options]:
    """What "auto" takes here, or a method that is named, and its options."""
    platform, chip = contexts.machine()
    dtype = jnp.dtype(self.dtype)
    return choice.choose(self.op, platform, chip, dtype, self.shape, method)


def asked(problem: problems.Problem) -> Asked | None:
  """What a problem asks first; None if it chooses nothing."""
  found = []
  choose = choice.choose

  def noted(op, platform, chip, dtype, shape, *rest, **named):
    found.append(Asked(op, jnp.dtype(dtype).name, tuple(shape)))
    return choose(op, platform, chip, dtype, shape, *rest, **named)

  with mock.patch.object(choice, "choose", noted):
    jax.eval_shape(problem.function("forward"), problem.shapes())
  return found[0] if found else None


@contextlib.contextmanager
def taking(what: Asked, method: str, options: Options) -> Iterator[None]:
  """Context in which "auto" takes a method with options for what is asked."""
  _, chip = contexts.machine()
  row = _row(what, chip, method, options, 0.0, 0.0)
  # Programs remember the choices that they were traced with.
  jax.clear_caches()
  with mock.patch.object(table, "ROWS", (row,)):
    yield
  jax.clear_caches()


def candidates(op: str, platform: str) -> list[tuple[str, Options]]:
  """What is tried for a recurrence of `choice.choose`.

  Args:
    op: the recurrence.
    platform: "cpu", "gpu" or "tpu".

  Returns:
    Methods, each with the options that differ from those it has by itself.
  """
  kernel = [("pallas", {})]
  if op == "linear":
    tiles = _TILES.get(platform, ({},))
    return [("associative", {}), *(("pallas", each) for each in tiles)]
  if op == "lti":
    sizes = [("pallas", {"chunk_size": size}) for size in (1024, 4096)]
    return [("associative", {}), *sizes]
  if op == "selective":
    return [("associative", {}), ("sequential", {}), *kernel]
  if op in ("mlstm", "outer", "outer_per_channel"):
    methods = "chunked", "pallas"
    return [(method, each) for method in methods for each in _CHUNKS]
  if op in ("delta", "delta_per_channel"):
    return [*(("chunked", each) for each in _CHUNKS), *kernel]
  if op == "softmax":
    return [("chunked", each) for each in _CHUNKS]
  if op == "softmax_outer":
    return [*(("chunked", each) for each in _CHUNKS), ("decays", {}), *kernel]
  if op == "gated":
    return [("sequential", {}), ("unrolled", {}), *kernel]
  if op == "window":
    return [("chunked", {}), *kernel, ("tokamax", {})]
  return []


def tried(
  problem: problems.Problem, what: Asked, method: str, options: Options
) -> float | str:
  """Milliseconds of the gradient with a candidate, or why there are none."""
  small = problems.small(problem.op, problem.dtype)
  known = correctness.truth(small)
  arguments = problem.arguments()
  try:
    if method == "pallas":
      # Its sizes are no arguments of the public function: as the table says.
      near = asked(small)
      with taking(near, method, near.takes(method)[1] | options):
        check = correctness.check(small, "auto", known)
      with taking(what, method, what.takes(method)[1] | options):
        if what.takes()[0] != method:
          return "no kernel of this recurrence runs here"
        program = measuring.compiled(problem.function("gradient"), arguments)
    else:
      check = correctness.check(small, method, known, **options)
      function = problem.function("gradient", method, **options)
      program = measuring.compiled(function, arguments)
  except (NotImplementedError, TypeError, ValueError) as reason:
    return str(reason).splitlines()[0][:160]
  if not check.right:
    return check.note or f"error {max(check.forward, check.gradient):.1g}"
  return measuring.timed(program.run, [(arguments,)]).ms


def best(
  what: Asked, times: dict[tuple[str, str], tuple[Options, float]], floor: float
) -> table.Row | None:
  """The row of the fastest candidate.

  Args:
    what: that was tuned.
    times: milliseconds of the candidates.
    floor: milliseconds that the gradient takes at least.

  Returns:
    Its row; None if no candidate ran.
  """
  if not times:
    return None
  (method, _), (options, ms) = min(times.items(), key=lambda item: item[1][1])
  _, chip = contexts.machine()
  share = min(1.0, floor / ms) if ms else math.nan
  return _row(what, chip, method, options, round(ms, 4), round(share, 3))


def _row(what, chip, method, options, ms, share):
  today = datetime.date.today().isoformat()
  return table.Row(
    what.op,
    chip,
    what.dtype,
    what.shape,
    method,
    options,
    ms,
    share,
    jax.__version__,
    today,
  )
