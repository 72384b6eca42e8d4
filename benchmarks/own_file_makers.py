"""Files as people have them: made here, with nothing of a real person.

A maker is (path, generator, size) -> nothing; `size` is 1 for the whole file,
and less for a smaller one. `FILES` has their names.
"""

from collections.abc import Callable
import csv
import pathlib

import numpy as np


def _table(path, header, rows):
  with open(path, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows(rows)


def _minutes(begin, minutes):
  """Dates of times in minutes, to the second."""
  seconds = np.rint(np.asarray(minutes) * 60).astype("timedelta64[s]")
  return (np.datetime64(begin, "s") + seconds).astype(str)


def _days(count):
  return np.arange(count).astype("timedelta64[D]")


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
  dates = np.datetime64("2021-01-01") + _days(days)
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
    step, begin = (
      0,
      np.datetime64("2024-01-01T08:00") + np.timedelta64(90 * case, "m"),
    )
    for _ in range(rng.integers(4, 12)):
      rows.append((f"c{case}", steps[step], f"{begin}"))
      begin += np.timedelta64(5, "h")
      step = rng.choice(len(steps), p=chance[step])
  _table(path, ("case", "activity", "time"), rows)


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
    days = np.sort(rng.integers(0, 365, count)).astype("timedelta64[D]")
    rows += [
      (
        f"u{customer}",
        f"p{item}",
        np.datetime64("2024-01-01") + np.timedelta64(day, "D"),
      )
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


def shops(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Daily sales of shops, with prices and holidays; two weeks are to come."""
  days, ahead = round(730 * size), 14
  dates = np.datetime64("2022-01-01") + _days(days + ahead)
  week = np.array([1.3, 0.4, 0.9, 0.9, 1.0, 1.1, 1.5])
  rows = []
  for name, region in (
    ("Aachen", "west"),
    ("Bonn", "west"),
    ("Celle", "north"),
    ("Jena", "east"),
    ("Kiel", "north"),
    ("Weimar", "east"),
  ):
    level = rng.uniform(60, 160)
    price = rng.choice([1.9, 2.2, 2.5], days + ahead, p=[0.2, 0.3, 0.5])
    for day, date in enumerate(dates):
      holiday = ("", "fair")[day % 31 == 11]
      mean = level * week[day % 7] * (2.5 / price[day]) ** 2
      mean *= 1.8 if holiday else 1
      sold = round(mean * np.exp(0.1 * rng.normal())) if day < days else ""
      rows.append((date, name, region, price[day], holiday, sold))
  header = ("date", "shop", "region", "price", "holiday", "sales")
  _table(path, header, sorted(rows, key=lambda row: row[0]))


def engines(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Vibration and heat of engines, and the hours that each had left."""
  rows = []
  for engine in range(round(200 * size)):
    life, length = rng.uniform(20, 200), rng.integers(30, 50)
    worn = 1 / (life + np.arange(length)[::-1])
    vibration = 1 + 60 * worn + 0.1 * rng.normal(size=length)
    heat = 70 + 300 * worn + rng.normal(size=length)
    rows += [
      (engine, t, round(float(v), 3), round(float(h), 2), round(life, 1))
      for t, (v, h) in enumerate(zip(vibration, heat))
    ]
  _table(path, ("engine", "hour", "vibration", "heat", "hours_left"), rows)


def follows(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Who writes to whom: mostly to the few that one has written to before."""
  people = 60
  circle = [rng.choice(people, 4, replace=False) for _ in range(people)]
  at, rows = np.datetime64("2024-01-01T09:00"), []
  for _ in range(round(4000 * size)):
    source = rng.integers(people)
    destination = rng.choice(circle[source])
    if rng.uniform() < 0.1:
      destination = rng.integers(people)
    at = at + np.timedelta64(int(rng.integers(1, 30)), "m")
    rows.append((f"p{source}", f"p{destination}", at))
  _table(path, ("source", "destination", "time"), rows)


_SUBJECTS = {
  "pump": "pump valve pressure leak flow bar inlet".split(),
  "staff": "shift night team leave training roster".split(),
  "stock": "pallet order shelf delivery invoice stock".split(),
  "power": "voltage cable fuse meter breaker phase".split(),
}


def reports(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Reports, one a file: a section a subject, an empty line before the next."""
  path.mkdir(exist_ok=True)
  every = [word for words in _SUBJECTS.values() for word in words]
  for report in range(round(120 * size)):
    sections = []
    for subject in rng.permutation(list(_SUBJECTS)):
      lines = []
      for _ in range(rng.integers(2, 6)):
        own = rng.choice(_SUBJECTS[subject], 3)
        words = [*own, *rng.choice(every, 2), "was", "checked"]
        lines.append(" ".join(words))
      sections.append("\n".join(lines))
    (path / f"{report:03}.txt").write_text("\n\n".join(sections) + "\n")


def notes(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """A log of a pump room in sentences of one form."""
  lines = []
  for minute in range(round(3000 * size)):
    hour, rest = divmod(7 * minute % 1440, 60)
    pump, bar = rng.integers(1, 6), rng.integers(15, 35) / 10
    done = "opened the valve" if bar > 3 else "noted nothing"
    lines.append(f"{hour:02}:{rest:02} pump {pump} at {bar} bar: {done}.")
  path.write_text("\n".join(lines) + "\n")


def hairpins(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """RNA that folds back on itself: an end is the other one's complement."""
  other, records = dict(zip("ACGU", "UGCA")), []
  for number in range(round(400 * size)):
    stem = rng.choice(list("ACGU"), 10)
    loop = rng.choice(list("ACGU"), 4)
    back = [other[base] for base in stem[::-1]]
    records.append(f">rna{number}\n{''.join((*stem, *loop, *back))}\n")
  path.write_text("".join(records))


def shapes(
  path: pathlib.Path, rng: np.random.Generator, size: float = 1
) -> None:
  """Discs and bars in pictures of 8 x 8, a folder for each kind."""
  from PIL import Image

  row, column = np.mgrid[:8, :8]
  for number in range(round(120 * size)):
    y, x = rng.integers(2, 6, 2)
    kind = ("disc", "bar")[number % 2]
    inside = abs(row - y) < 2
    if kind == "disc":
      inside = (row - y) ** 2 + (column - x) ** 2 < 5
    place = path / kind / f"{number:03}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(inside, 240, 16).astype(np.uint8)).save(place)


FILES: dict[str, Callable[[pathlib.Path, np.random.Generator, float], None]] = {
  "logins.csv": logins,
  "sales.csv": sales,
  "tickets.csv": tickets,
  "orders.csv": orders,
  "sensors.csv": sensors,
  "shops.csv": shops,
  "engines.csv": engines,
  "follows.csv": follows,
  "notes.txt": notes,
  "hairpins.fasta": hairpins,
  "reports": reports,
  "shapes": shapes,
}


def write_all(directory: pathlib.Path, size: float = 1, seed: int = 0) -> None:
  """Writes every file of `FILES` into a directory."""
  directory.mkdir(parents=True, exist_ok=True)
  for name, make in FILES.items():
    make(directory / name, np.random.default_rng(seed), size)
