r"""Networks with the defaults for people's own files, beside what needs none.

    python -m benchmarks.own_files                 # all five
    python -m benchmarks.own_files logins sales --arms=gru --num_seeds=3

Five files are made, each trained on by `jaxseq train TASK --data=FILE` with its
defaults, and a line printed for each arm: its score, and that of the best row
of the table that needs no network. Nothing in the files is of a real person.
"""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import csv
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

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


def _table(path, header, rows):
  with open(path, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows(rows)


def _minutes(begin, minutes):
  """Dates of times in minutes, to the second."""
  seconds = np.rint(np.asarray(minutes) * 60).astype("timedelta64[s]")
  return (np.datetime64(begin, "s") + seconds).astype(str)


def logins(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Logins of accounts: exponential gaps, and kinds without a memory."""
  share, rows = [0.5, 0.25, 0.13, 0.08, 0.04], []
  kinds = ["login", "view", "edit", "export", "logout"]
  for account in range(round(150 * size)):
    gaps = np.maximum(rng.exponential(90, 100), 0.02)
    # All are observed for a day and a half: nothing beats a constant rate.
    at = np.cumsum(gaps)
    times = _minutes("2024-03-01T00:00", at[at < 36 * 60])
    marks = rng.choice(kinds, len(times), p=share)
    rows += [(f"a{account}", t, m) for t, m in zip(times, marks)]
  _table(path, ("account", "when", "event"), rows)


def sales(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Daily sales of eight shops, with a week, a year and a slow level."""
  days = round(1095 * size)
  day = np.arange(days)[:, None]
  names = "Aachen Bonn Celle Duisburg Essen Fulda Goslar Hagen".split()
  shops = len(names)
  level = 100 + rng.uniform(-40, 80, shops)
  week = 1 + 0.35 * rng.normal(size=(7, shops))[np.arange(days) % 7]
  year = 1 + 0.15 * np.sin(2 * np.pi * (day / 365 + rng.uniform(size=shops)))
  slow = np.exp(np.cumsum(rng.normal(0, 0.01, (days, shops)), axis=0))
  noise = np.exp(rng.normal(0, 0.1, (days, shops)))
  values = np.rint(np.maximum(level * week * year * slow * noise, 0))
  dates = np.datetime64("2021-01-01") + np.arange(days)
  rows = ((d, *map(int, v)) for d, v in zip(dates, values))
  _table(path, ("date", *names), rows)


def tickets(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Steps of tickets: the next depends on the last one alone."""
  steps = ["open", "triaged", "assigned", "waiting", "resolved", "closed"]
  chance = rng.dirichlet(np.full(len(steps), 0.3), len(steps))
  rows = []
  for case in range(round(800 * size)):
    step = 0
    for _ in range(rng.integers(4, 12)):
      rows.append((f"c{case}", steps[step]))
      step = rng.choice(len(steps), p=chance[step])
  _table(path, ("case", "activity"), rows)


def orders(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Orders of customers, most of them within a group of products."""
  customers, products = round(2500 * size), round(400 * size)
  groups = max(4, products // 20)
  group, rows = np.arange(products) % groups, []
  popular = rng.pareto(1.2, products) + 0.2
  for customer in range(customers):
    own = rng.choice(groups, 2, replace=False)
    weight = popular * np.where(np.isin(group, own), 1, 0.01)
    count = min(rng.integers(5, 25), products // 3)
    taken = rng.choice(products, count, replace=False, p=weight / weight.sum())
    days = np.sort(rng.integers(0, 365, count))
    rows += [
      (f"u{customer}", f"p{item}", np.datetime64("2024-01-01") + day)
      for item, day in zip(taken, days)
    ]
  _table(path, ("user", "item", "time"), rows)


def sensors(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Vibration of machines in three states, three channels."""
  states, rows = ["ok", "bearing", "imbalance"], []
  for run in range(round(240 * size)):
    state, length = run % 3, rng.integers(40, 80)
    time = np.arange(length)
    frequency = 0.2 + 0.02 * rng.normal()
    phase = rng.uniform(0, 2 * np.pi)
    vibration = np.sin(2 * np.pi * frequency * time + phase)
    vibration *= (1, 1, 1.6)[state] * rng.uniform(0.8, 1.2)
    if state == 1:
      vibration += 1.5 * (rng.uniform(size=length) < 0.08)
    noise = 0.6 * rng.normal(size=(3, length))
    heat = 0.01 * time * (state == 2) + 20
    rows += [
      (run, t, *(round(float(x), 4) for x in values), states[state])
      for t, *values in zip(
        time, vibration + noise[0], heat + noise[1], noise[2]
      )
    ]
  _table(path, ("run", "t", "vibration", "heat", "load", "state"), rows)


def _options(**names):
  return tuple(f"--config.data_options.{k}={x}" for k, x in names.items())


CASES = {
  "logins": Case(
    "events",
    logins,
    _options(stream="account", time="when", mark="event"),
    "nll",
    False,
  ),
  "sales": Case(
    "forecast",
    sales,
    (*_options(time="date"), "--config.horizons=(14,)"),
    "mae",
    False,
  ),
  "tickets": Case(
    "next_element",
    tickets,
    _options(case="case", activity="activity"),
    "brier",
    False,
  ),
  "orders": Case("recommend", orders, (), "ndcg_10", True),
  "sensors": Case(
    "classify",
    sensors,
    _options(id="run", label="state", time="t"),
    "accuracy",
    True,
  ),
}


def train(name: str, directory: pathlib.Path, *flags: str, size=1.0) -> dict:
  """Trains on a file with the defaults; returns the results of the run."""
  case, file = CASES[name], directory / f"{name}.csv"
  case.write(file, np.random.default_rng(0), size)
  workdir = directory / name
  command = ["train", case.task, f"--data={file}", f"--workdir={workdir}"]
  subprocess.run(
    [sys.executable, "-m", "jaxseq", *command, *case.flags, *flags], check=True
  )
  return json.loads((workdir / "results.json").read_text())


def compared(
  name: str, results: dict
) -> Iterator[tuple[str, float, str, float]]:
  """Yields each arm with its score, the best baseline and its score."""
  case, pick = CASES[name], max if CASES[name].higher else min
  others = {
    label: float(np.mean(row[case.metric]))
    for label, row in results["baselines"].items()
    if case.metric in row
  }
  best = pick(others, key=lambda label: others[label])
  for arm, row in results.items():
    if "parameters" in row:
      yield arm, float(np.mean(row[case.metric])), best, others[best]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}")
  parser.add_argument("--arms", default="", help="as of jaxseq train")
  parser.add_argument("--num_seeds", type=int, default=3)
  parser.add_argument("--size", type=float, default=1.0, help="of the files")
  parser.add_argument("--workdir", help="where files and runs stay")
  given = parser.parse_args()
  flags = [f"--config.num_seeds={given.num_seeds}"]
  flags += [f"--arms={given.arms}"] * bool(given.arms)
  place = contextlib.nullcontext(given.workdir)
  if given.workdir is None:
    place = tempfile.TemporaryDirectory()
  rows = []
  with place as directory:
    pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
    for name in given.names or CASES:
      results = train(name, pathlib.Path(directory), *flags, size=given.size)
      for arm, score, label, other in compared(name, results):
        cells = [f"{score:.4f}", label, f"{other:.4f}"]
        rows.append([name, CASES[name].metric, arm, *cells])
  headings = ["file", "metric", "arm", "network", "best row", "its score"]
  tables.show(headings, rows, title="with the defaults of own files")


if __name__ == "__main__":
  main()
