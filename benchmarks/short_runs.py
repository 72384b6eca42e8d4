"""CPU seconds of short runs, in a first and a second process, on one core.

  git worktree add ../before COMMIT
  NPROC=1 taskset -c 0 python -m benchmarks.short_runs --before ../before

A run begins without compiled programs on disk; the second process finds those
of the first. Cases: `fit`, a `Forecaster` with its defaults of 300 rows, and
its forecast; `forecast`, `jaxseq train forecast` of 400 rows, 100 updates in
place of 1,500; `predict`, `jaxseq predict forecast` by that; `quickstart`, 20
of the 100 updates of `make quickstart`, to its table and films. Both checkouts
take turns. Their numbers (forecasts, losses, returns) have to be equal.
"""

import argparse
import collections
import hashlib
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_CASES = ("fit", "forecast", "predict", "quickstart")
# Names in rows that tell of time.
_OF_TIME = ("steps_per", "seconds", "time")


class _Meter:
  """CPU seconds of imports and of compiling, of the process that has it."""

  def __init__(self):
    self.imports, self.compiling = 0.0, 0.0
    self.counts = collections.Counter()
    self._importing, self._began = False, 0.0
    self._wrap(__import__("builtins"), "__import__")
    self._wrap(importlib, "import_module")

  def _wrap(self, place, name):
    function = getattr(place, name)

    def timed(*arguments, **options):
      if self._importing:
        return function(*arguments, **options)
      self._importing, began = True, time.process_time()
      try:
        return function(*arguments, **options)
      finally:
        self._importing = False
        self.imports += time.process_time() - began

    setattr(place, name, timed)

  def listen(self):
    """Counts programs, and times them from the search on disk to the end."""
    import jax

    def event(name, **_):
      name = name.rpartition("/")[2]
      self.counts[name] += 1
      if name == "compile_requests_use_cache":
        self._began = time.process_time()

    def duration(name, seconds, **_):
      del seconds
      if name.endswith("backend_compile_duration"):
        self.compiling += time.process_time() - self._began

    jax.monitoring.register_event_listener(event)
    jax.monitoring.register_event_duration_secs_listener(duration)


def _series(rows):
  """A day's season and noise."""
  import numpy as np

  noise = np.random.default_rng(0).normal(0, 0.5, rows)
  return 10 + 3 * np.sin(2 * np.pi * np.arange(rows) / 24) + noise


def _fit():
  from jaxseq.estimators import Forecaster

  forecaster = Forecaster(random_state=0).fit(_series(300))
  print(forecaster.predict().tolist(), forecaster.history_["loss"])


def record(case: str, folder: str, report: str) -> None:
  """Runs a case in this process, and writes what it took."""
  meter = _Meter()
  meter.listen()
  run, data = f"{folder}/{case.partition('-')[0]}", f"{folder}/series.csv"
  train = ["train", "forecast", f"--data={data}", f"--workdir={run}"]
  predict = ["predict", "forecast", f"--data={data}", f"--workdir={run}"]
  try:
    if case == "fit":
      _fit()
    elif case == "quickstart":
      from experiments import icrl
      from jaxseq.training import app

      config = str(_configs() / "icrl" / "quickstart.py")
      steps = "--config.agent.total_steps=81920"
      call = ["icrl", f"--config={config}", f"--workdir={run}", steps]
      app.run_main(icrl.main, call)
    else:
      from jaxseq.programs import command

      run = f"{folder}/forecast"
      train[-1] = predict[-1] = f"--workdir={run}"
      more = ["--arm=gru-24", f"--output={folder}/{case}.csv"]
      updates = "--config.num_updates=100"
      words = [*train, updates] if case == "forecast" else [*predict, *more]
      command.main(["jaxseq", *words])
  except SystemExit as end:
    if end.code:
      raise
  found = meter.counts["cache_hits"]
  numbers = {
    "importing": meter.imports,
    "compiling": meter.compiling,
    "in all": time.process_time(),
    "compiled": meter.counts["compile_requests_use_cache"] - found,
    "read": found,
  }
  pathlib.Path(report).write_text(json.dumps(numbers))


def _configs():
  """The configs of the checkout that is imported."""
  import configs

  return pathlib.Path(configs.__path__[0])


def _measure(root, case, folder, programs):
  """Numbers of a process of a checkout, and a digest of what it computed."""
  own = {
    "PYTHONPATH": str(root),
    "JAX_PLATFORMS": "cpu",
    "JAXSEQ_COMPILATION_CACHE": str(programs),
  }
  kept = {k: v for k, v in os.environ.items() if k[:15] != "JAX_COMPILATION"}
  report = folder / "report.json"
  arguments = [case, str(folder), str(report)]
  record = f"import runpy; run = runpy.run_path({str(__file__)!r})['record']"
  done = subprocess.run(
    [sys.executable, "-c", f"{record}; run(*{arguments!r})"],
    cwd=root,
    env={**kept, **own},
    capture_output=True,
    text=True,
  )
  if done.returncode:
    raise SystemExit(f"{root}, {case}: {done.stderr[-2000:]}")
  said = done.stdout if case == "fit" else ""
  for path in sorted(folder.glob(f"{case}/**/*.jsonl")):
    for line in path.read_text().splitlines():
      row = json.loads(line)
      said += str({k: row[k] for k in row if not _tells_time(k)})
  if case == "predict":
    said = (folder / "predict.csv").read_text()
  digest = hashlib.sha256(said.encode()).hexdigest()[:8] if said else "none"
  return json.loads(report.read_text()) | {"digest": digest}


def _tells_time(name):
  return any(word in name for word in _OF_TIME)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--before", type=pathlib.Path, help="another checkout")
  parser.add_argument("--cases", nargs="+", choices=_CASES, default=_CASES)
  flags = parser.parse_args()
  roots = {"here": _ROOT}
  if flags.before:
    roots = {"before": flags.before.resolve()} | roots
  shown = ("importing", "compiling", "in all", "compiled", "read", "digest")
  print(*(f"{x:>10}" for x in ("case", "process", "checkout", *shown)))
  with tempfile.TemporaryDirectory() as name:
    top = pathlib.Path(name)
    for case in flags.cases:
      for turn in ("first", "second"):
        for which, root in roots.items():
          folder = top / which / turn
          folder.mkdir(parents=True, exist_ok=True)
          values = "\n".join(f"{x:.4f}" for x in _series(400))
          (folder / "series.csv").write_text(f"value\n{values}\n")
          # Predictions are made by other processes than training is.
          programs = top / which / f"programs-{case}"
          found = _measure(root, case, folder, programs)
          cells = [found[x] for x in shown]
          texts = [f"{x:.1f}" if isinstance(x, float) else x for x in cells]
          line = case, turn, which, *texts
          print(*(f"{x:>10}" for x in line), flush=True)


if __name__ == "__main__":
  main()
