"""The rows of the benchmark: checks, times of ours and of peers, programs."""

from collections.abc import Callable
import concurrent.futures
import functools
import time
from typing import Any

import jax

from benchmarks.accelerators import correctness
from benchmarks.accelerators import measuring
from benchmarks.accelerators import peers
from benchmarks.accelerators import problems
from benchmarks.accelerators import programs
from benchmarks.accelerators import report
from benchmarks.accelerators import tuning
from jaxseq.recurrence.platform import table

# Compiled side by side: tracing waits for Python, compiling does not.
_TOGETHER = 8
# Methods that are timed first, beside "auto".
_KERNELS = ("pallas", "tokamax")
# A row is not begun with fewer seconds left, or a program.
_ROW_SECONDS, _PROGRAM_SECONDS = 15, 45
# Seconds for the peers of one row: Triton tries its variants at the first call.
_PEER_SECONDS = 60


class Rows:
  """Measures into a report until the time is up.

  Args:
    found: where rows go.
    chip: limits of the device.
    seconds: until the time is up.
    checked_on: problem to check an op and dtype on.
    others: peers; None for none.
  """

  def __init__(
    self,
    found: report.Report,
    chip: problems.Chip,
    seconds: float,
    checked_on: Callable[[str, str], problems.Problem],
    others: peers.Peers | None = None,
  ):
    self._report, self._chip, self._others = found, chip, others
    self._end = time.monotonic() + seconds
    self._checked_on = checked_on
    self._checks: dict[tuple, correctness.Check] = {}
    self._truths: dict[tuple, correctness.Truth] = {}
    # The arguments of one problem, the newest: they take gigabytes.
    self._latest: tuple[problems.Problem | None, list] = None, []
    self.tuned: list[table.Row] = []

  def left(self) -> float:
    """Seconds until the time is up."""
    return self._end - time.monotonic()

  def first(self, problem: problems.Problem) -> None:
    """Times what "auto" takes, the kernel, and the peers of a problem."""
    if not self._begins(problem.name, _ROW_SECONDS):
      return
    kernels = [name for name in problem.methods if name in _KERNELS]
    methods = ["auto", *kernels]
    self._ours(problem, methods)
    if self._others is not None:
      seconds = min(_PEER_SECONDS, self.left())
      for row in self._others.timed(problem, seconds):
        for kind in [row["kind"]] if "kind" in row else problems.KINDS:
          named = {"what": "time", "name": problem.name, "kind": kind}
          self._report.add(named | row)

  def rest(self, problem: problems.Problem) -> None:
    """Times the other methods of a problem."""
    asked = tuning.asked(problem)
    taken = "auto" if asked is None else asked.takes()[0]
    done = (taken, "auto", *_KERNELS)
    methods = [name for name in problem.methods if name not in done]
    if methods and self._begins(f"{problem.name}, other methods", _ROW_SECONDS):
      self._ours(problem, methods)

  def program(self, name: str, make: Callable[[], programs.Program]) -> None:
    """Times a whole program, a few calls of it."""
    if not self._begins(name, _PROGRAM_SECONDS):
      return
    try:
      made, compiled, found = _run(make)
    except Exception as reason:  # As for the rows.
      self._note(f"{name}: {_first_line(reason)}")
      return
    self._report.add(
      {
        "what": "program",
        "program": made.name,
        "ms": found.ms,
        "spread": found.spread,
        "rate": made.count / (found.ms / 1e3),
        "unit": made.unit,
        "compile": compiled,
      }
    )

  def tune(self, problem: problems.Problem) -> None:
    """Times the candidates of a problem, and adds the fastest one's row."""
    what = tuning.asked(problem)
    if what is None:
      return
    times = {}
    platform = jax.default_backend()
    for method, options in tuning.candidates(what.op, platform):
      name = f"{problem.name} {method} {options}"
      if not self._begins(name, _ROW_SECONDS):
        break
      ms = tuning.tried(problem, what, method, options)
      if isinstance(ms, str):
        self._note(f"{name}: {ms}")
        continue
      times[method, str(options)] = what.takes(method)[1] | options, ms
      self._note(f"{name}: {ms:.3g} ms")
    floor = 1e3 * problem.floor("gradient", self._chip)
    row = tuning.best(what, times, floor)
    if row is not None:
      self.tuned.append(row)
      self._report.add({"what": "tuned", "row": f"{row!r},"})

  def _ours(self, problem, methods):
    """Checks and compiles side by side, then times one after the other."""
    asked = tuning.asked(problem)
    taken = "-" if asked is None else _words(*asked.takes())
    with concurrent.futures.ThreadPoolExecutor(_TOGETHER) as pool:
      known = pool.submit(self._truth, problem)
      checks = {m: pool.submit(self._check, problem, m, known) for m in methods}
      compiling = {
        (kind, m): pool.submit(
          measuring.compiled, problem.function(kind, m), problem.shapes()
        )
        for kind in problems.KINDS
        for m in methods
      }
    for method in methods:
      self._checked(problem, method, checks[method])
    for (kind, method), future in compiling.items():
      row: dict[str, Any] = {
        "what": "time",
        "name": problem.name,
        "shape": problem.shape,
        "kind": kind,
        "method": method,
        "floor": 1e3 * problem.floor(kind, self._chip),
        "auto": taken,
      }
      check = self._checks[problem.op, problem.dtype, method]
      if check.right:
        row |= self._timed(future, problem, kind)
      else:
        row["note"] = check.note or "wrong"
      self._report.add(row)

  def _timed(self, future, problem, kind):
    """Times a program that was compiled; a note if that fails."""
    try:
      program = future.result()
      timing = measuring.timed(program.run, self._sets(problem))
    except Exception as reason:  # The rows after it are worth having.
      return {"note": _first_line(reason)}
    return {
      "ms": timing.ms,
      "spread": timing.spread,
      "gb_s": problem.least_bytes(kind) / (timing.ms / 1e3) / 1e9,
      "temporary": program.temporary,
      "compile": program.seconds,
    }

  def _sets(self, problem):
    """Arguments that take turns, so that no cache holds them."""
    if self._latest[0] != problem:
      count = measuring.copies(problem.least_bytes("forward"))
      sets = [(problem.arguments(seed),) for seed in range(count)]
      self._latest = problem, sets
    return self._latest[1]

  def _truth(self, problem):
    key = problem.op, problem.dtype
    if key not in self._truths:
      small = self._checked_on(*key)
      self._truths[key] = correctness.truth(small)
    return self._truths[key]

  def _check(self, problem, method, known):
    """The check of a method, made once for an op and a dtype."""
    key = problem.op, problem.dtype, method
    if key in self._checks:
      return self._checks[key]
    small = self._checked_on(problem.op, problem.dtype)
    try:
      return correctness.check(small, method, known.result())
    except Exception as reason:  # A kernel may fail in any way.
      return correctness.Check(method, None, None, 0.0, _first_line(reason))

  def _checked(self, problem, method, future):
    """Keeps a check, and reports it when it is made."""
    key = problem.op, problem.dtype, method
    if key not in self._checks:
      found = self._checks[key] = future.result()
      named = {"what": "check", "op": problem.op, "dtype": problem.dtype}
      self._report.add(named | found._asdict() | {"right": found.right})

  def _begins(self, name, seconds):
    """Whether there is time; says so if not."""
    enough = self.left() >= seconds
    if not enough:
      self._note(f"{name}: skipped, {max(0, self.left()):.0f} s left")
    return enough

  def _note(self, text):
    self._report.add({"what": "note", "note": text})


def _run(make):
  """A program, seconds until its first call is done, and times of others."""
  start = time.perf_counter()
  made = make()
  step, state = made.step(), made.init()
  state, _ = jax.block_until_ready(step(state))
  compiled = time.perf_counter() - start
  seconds: list[float] = []
  while len(seconds) < 5 and (sum(seconds) < 20 or len(seconds) < 2):
    start = time.perf_counter()
    state, _ = jax.block_until_ready(step(state))
    seconds.append(time.perf_counter() - start)
  return made, compiled, measuring.summary(seconds)


def programs_of(tiny: bool) -> dict[str, Callable[[], programs.Program]]:
  """The programs, by the names of --only and in order of value."""
  of = programs
  if tiny:
    return {
      "ppo": functools.partial(of.of_ppo, "s5", tiny=True),
      "spr": functools.partial(of.of_spr, tiny=True),
      "dts": functools.partial(of.of_dts, 2, 2, tiny=True),
      "lm": functools.partial(of.of_language_model, tiny=True),
    }
  return {
    "ppo": functools.partial(of.of_ppo, "s5"),
    "spr": of.of_spr,
    "dts": of.of_dts,
    "ppo8": functools.partial(of.of_ppo, "s5", 8),
    # An epoch of thirty: it starts a kernel for every step.
    "ppo_gru": functools.partial(of.of_ppo, "gru", num_epochs=1),
    "lm": of.of_language_model,
  }


def _words(method, options):
  """A method with its options."""
  return " ".join([method, *(f"{k}={v}" for k, v in options.items())])


def _first_line(reason):
  lines = str(reason).splitlines() or [""]
  return f"{type(reason).__name__}: {lines[0][:160]}"
