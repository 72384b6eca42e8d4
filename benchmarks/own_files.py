r"""Networks with the defaults for people's own files, beside what needs none.

    python -m benchmarks.own_files                 # all seven
    python -m benchmarks.own_files logins sales --arms=gru --num_seeds=3
    python -m benchmarks.own_files --write=files   # the files of the docs
    python -m benchmarks.own_files --peers=DIR/bin/python   # other libraries

Seven files are made, each trained on by `jaxseq train TASK --data=FILE` with
its defaults, and a line printed for each arm: its score, and that of the best
row of the table that needs no network. No file has data of real persons.
With `--peers` each is made of several seeds, and other libraries are beside it:
see `own_file_peers`.
"""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks import own_file_makers as makers
from jaxseq.training import tables


@dataclasses.dataclass(frozen=True)
class Case:
  """A file of one's own, and the task that it is for.

  Attributes:
    task: of `jaxseq train`.
    write: (path, generator, size) -> nothing; `size` is 1 for the whole file,
      and less for a smaller one.
    flags: what the columns are called, and the like.
    metric: which column of the table is compared.
    higher: whether higher is better.
  """

  task: str
  write: Callable[[pathlib.Path, np.random.Generator, float], None]
  flags: tuple[str, ...]
  metric: str
  higher: bool


def _options(**names):
  return tuple(f"--config.data_options.{k}={x}" for k, x in names.items())


CASES = {
  "logins": Case(
    "events",
    makers.logins,
    # Nats depend on the unit, and usual gaps are about an hour.
    _options(stream="account", time="when", mark="event", unit="minute"),
    "nll",
    False,
  ),
  "sales": Case(
    "forecast",
    makers.sales,
    (*_options(time="date"), "--config.horizons=(14,)"),
    "mae",
    False,
  ),
  "tickets": Case(
    "next_element",
    makers.tickets,
    _options(case="case", activity="activity", time="time"),
    "brier",
    False,
  ),
  "orders": Case("recommend", makers.orders, (), "ndcg_10", True),
  "sensors": Case(
    "classify",
    makers.sensors,
    _options(id="run", label="state", time="t"),
    "accuracy",
    True,
  ),
  "follows": Case("temporal_graph", makers.follows, (), "mrr", True),
  "engines": Case(
    "classify",
    makers.engines,
    _options(id="engine", label="hours_left", time="hour"),
    "mse",
    False,
  ),
}


def write(name: str, directory: pathlib.Path, size=1.0, seed=0) -> pathlib.Path:
  """Writes the file of a case; returns its path."""
  file = directory / f"{name}.csv"
  CASES[name].write(file, np.random.default_rng(seed), size)
  return file


def command(name: str, directory: pathlib.Path, *flags: str) -> list[str]:
  """Returns the command that trains on the file with the defaults."""
  case, file = CASES[name], directory / f"{name}.csv"
  words = ["train", case.task, f"--data={file}"]
  words += [f"--workdir={directory / name}", *case.flags, *flags]
  return [sys.executable, "-m", "jaxseq", *words]


def train(name: str, directory: pathlib.Path, *flags: str, size=1.0) -> dict:
  """Trains on a file with the defaults; returns the results of the run."""
  write(name, directory, size)
  subprocess.run(command(name, directory, *flags), check=True)
  return _results(name, directory)


def _results(name, directory):
  return json.loads((directory / name / "results.json").read_text())


def compared(
  name: str, results: dict
) -> Iterator[tuple[str, float, str, float]]:
  """Yields each arm with its score, the best baseline and its score."""
  case, pick = CASES[name], max if CASES[name].higher else min
  others = {
    label: float(np.mean(row[case.metric]))
    for label, row in results.get("baselines", {}).items()
    if case.metric in row
  }
  # Some tables have no such row.
  others = others or {"-": float("nan")}
  best = pick(others, key=lambda label: others[label])
  for arm, row in results.items():
    if "parameters" in row:
      yield arm, float(np.mean(row[case.metric])), best, others[best]


def beside_peers(
  name: str, directory: pathlib.Path, given: argparse.Namespace
) -> Iterator[list[str]]:
  """Yields rows of a file: each model's score, and its seconds of CPU.

  Scores are means and standard deviations over files of several seeds.
  """
  # Imports jax, which the other part leaves to its programs.
  from benchmarks import own_file_peers as peers

  found: dict[str, list[tuple[float, float]]] = {}
  for seed in range(given.num_seeds):
    place = directory / f"seed{seed}"
    place.mkdir(parents=True, exist_ok=True)
    file = write(name, place, given.size, seed)
    flags = [f"--arms={given.arms or 'gru'}", "--config.num_seeds=1"]
    seconds = peers.timed(command(name, place, *flags))
    results = _results(name, place)
    for arm, score, label, other in compared(name, results):
      found.setdefault(f"jaxseq {arm}", []).append((score, seconds))
      found.setdefault(f"best row: {label}", []).append((other, np.nan))
    for model, row in peers.run(name, file, given.peers, place).items():
      found.setdefault(model, []).append(row)
  for model, pairs in found.items():
    scores, seconds = np.transpose(pairs)
    cell = tables.mean_std(scores, 4)
    time = "-" if np.isnan(seconds).any() else f"{seconds.mean():.1f}"
    yield [name, CASES[name].metric, model, cell, time]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}")
  parser.add_argument("--arms", default="", help="as of jaxseq train")
  parser.add_argument("--num_seeds", type=int, default=3)
  parser.add_argument("--size", type=float, default=1.0, help="of the files")
  parser.add_argument("--workdir", help="where files and runs stay")
  parser.add_argument("--peers", help="a Python that has other libraries")
  parser.add_argument("--write", help="directory for all files; trains nothing")
  given = parser.parse_args()
  if given.write:
    makers.write_all(pathlib.Path(given.write), given.size)
    return
  place = contextlib.nullcontext(given.workdir)
  if given.workdir is None:
    place = tempfile.TemporaryDirectory()
  with place as directory:
    pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
    _show(given, pathlib.Path(directory))


def _show(given, directory):
  """Prints the rows of the files that are asked for."""
  names = given.names or CASES
  if given.peers:
    from benchmarks import own_file_peers as peers

    names = given.names or peers.PEERS
    rows = [x for name in names for x in beside_peers(name, directory, given)]
    headings = ["file", "metric", "model", "score", "seconds of CPU"]
    tables.show(headings, rows, title="beside other libraries, on one core")
    return
  flags = [f"--config.num_seeds={given.num_seeds}"]
  flags += [f"--arms={given.arms}"] * bool(given.arms)
  rows = []
  for name in names:
    results = train(name, directory, *flags, size=given.size)
    for arm, score, label, other in compared(name, results):
      cells = [f"{score:.4f}", label, f"{other:.4f}"]
      rows.append([name, CASES[name].metric, arm, *cells])
  headings = ["file", "metric", "arm", "network", "best row", "its score"]
  tables.show(headings, rows, title="with the defaults of own files")


if __name__ == "__main__":
  main()
