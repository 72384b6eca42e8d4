r"""Ours and the peers on whatever device is there, within minutes.

  python -m benchmarks.accelerators --minutes=9 --out=DIR [--only=OP] [--tune]

First what the machine is and what it does at best. Then, most valuable first
and until the time is up, the recurrences at sizes of large models, of agents
and of long sequences, forward and with gradients: every method is compared with
plain steps in float64, and one that is wrong is not timed; what "auto" takes,
our kernel and the peers (`benchmarks/peers_gpu/README.md`) are timed side by
side, each with the milliseconds that the device needs at least, the share of
that limit, temporaries and seconds to compile. Then whole programs: PPO, SPR,
DTS and a language model; at last the remaining methods.

With --tune, candidates of method and sizes are timed instead, and the fastest
ones written into `jaxseq/recurrence/platform/table.py`, by which "auto" takes
kernels, or into --table. --only takes names of recurrences and of programs, as
in --only=selective,ppo. `make bench-accelerator` does all of it in an
environment that it makes.

Every row is written to DIR/rows.jsonl at once; the tables come last and go to
DIR/table.md. Compiling is done side by side: its seconds are those of a busy
machine. On a CPU everything is tiny, and says nothing but that it works.
"""

import os
import pathlib
import threading
import time

from absl import app
from absl import flags
import jax

from benchmarks.accelerators import machine
from benchmarks.accelerators import peers
from benchmarks.accelerators import problems
from benchmarks.accelerators import recurrences
from benchmarks.accelerators import report
from benchmarks.accelerators import rows
from benchmarks.accelerators import table_file

_MINUTES = flags.DEFINE_float("minutes", 9.0, "When no row is begun any more.")
_OUT = flags.DEFINE_string("out", None, "Directory for rows and tables.")
_ONLY = flags.DEFINE_list("only", None, "Recurrences and programs; all if none")
_TUNE = flags.DEFINE_bool("tune", False, "Time candidates instead.")
_TABLE = flags.DEFINE_string(
  "table", None, "File for --tune; the running jaxseq's, on accelerators."
)
_PEERS = flags.DEFINE_bool(
  "peers", None, "Time others beside ours; on GPUs if not given."
)


# Seconds that the last row may take longer.
_GRACE = 40


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  end = time.monotonic() + 60 * _MINUTES.value
  # The peers' processes want memory, too.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  platform = jax.default_backend()
  tiny = platform == "cpu"
  whole = rows.programs_of(tiny)
  names = [*recurrences.OPS, *whole]
  only = _ONLY.value or names
  unknown = [name for name in only if name not in names]
  if unknown:
    raise app.UsageError(f"--only: got {unknown}, expected some of {names}.")
  directory = pathlib.Path(_OUT.value)
  found = report.Report(directory)
  best = machine.measured(tiny)
  found.add({"what": "machine"} | machine.described() | best)
  chip = problems.chip_of(jax.devices()[0].device_kind, 1e9 * best["copy_gb_s"])
  wants_peers = platform == "gpu" if _PEERS.value is None else _PEERS.value
  others = peers.Peers(directory, platform) if wants_peers else None
  checked_on = problems.tiny if tiny else problems.small
  left = end - time.monotonic()
  measured = rows.Rows(found, chip, left, checked_on, others)
  if tiny:
    chosen = [problems.tiny(op) for op in recurrences.OPS if op in only]
  else:
    chosen = [problem for problem in problems.ROWS if problem.op in only]
  # A kernel can take minutes to compile: the table is to be seen all the same.
  timer = threading.Timer(left + _GRACE, _stop, (found, others))
  timer.daemon = True
  timer.start()
  try:
    if _TUNE.value:
      for problem in chosen:
        measured.tune(problem)
        _write(measured.tuned, tiny)
    else:
      for problem in chosen:
        measured.first(problem)
      for name, make in whole.items():
        if name in only:
          measured.program(name, make)
      for problem in chosen:
        measured.rest(problem)
  finally:
    timer.cancel()
    if others is not None:
      others.close()
    print("\n" + found.finish())


def _write(tuned, tiny):
  """Rows go into the table as soon as there are some."""
  if _TABLE.value or not tiny:
    path = pathlib.Path(_TABLE.value or table_file.default())
    table_file.write(tuned, path)


def _stop(found, others):
  """Ends the process in the middle of a row, with the table."""
  found.add({"what": "note", "note": "stopped: the last row took too long"})
  print("\n" + found.finish(), flush=True)
  if others is not None:
    others.close()
  os._exit(1)


if __name__ == "__main__":
  flags.mark_flag_as_required("out")
  app.run(main)
