"""Healthy but odd data of every estimator, and what becomes of each.

Numbers are whole, so that they may come as integers, too; the second channel
never changes.
"""

from collections.abc import Callable
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxseq import estimators

SMALL = {
  "mixer": "gru",
  "d_model": 4,
  "num_layers": 1,
  "num_updates": 2,
  "batch_size": 4,
  "random_state": 0,
}
RNG = np.random.default_rng(0)
SIZES = (1e-6, 1e12)
START = 1.7e9
DAYS = pd.date_range("2024-01-01", periods=30)
VALUES = np.stack(
  [RNG.integers(-9, 10, (12, 10)), np.full((12, 10), 3)], axis=-1
)
LABELS = np.arange(12) % 2
EVENTS = [np.cumsum(RNG.integers(1, 9, 6)) for _ in range(5)]
MARKS = [np.arange(6) % 2, *(RNG.integers(0, 2, 6) for _ in range(4))]


class Odd(NamedTuple):
  """Data that are odd, and what becomes of them.

  Attributes:
    given: the odd data.
    refused: words of the error, with its remedy; None if there is none.
    asked: whether a fit to the ordinary data comes before; else they are
      learnt from, too.
    options: further ones of the estimator.
    restore: maps the estimator's answers to those for the ordinary data.
    part: of the ordinary answers; None if answers only have to be finite.
  """

  given: tuple[Any, ...]
  refused: str | None = None
  asked: bool = False
  options: Mapping[str, Any] = MappingProxyType({})
  restore: Callable[[Any], Any] = lambda found: found
  part: slice | None = slice(None)


class Kind(NamedTuple):
  """An estimator.

  Attributes:
    make: the class.
    options: of it.
    ordinary: its data.
    says: all that it says of data, from the estimator and these.
    cases: odd data by name.
  """

  make: Callable[..., Any]
  options: Mapping[str, Any]
  ordinary: tuple[Any, ...]
  says: Callable[..., np.ndarray]
  cases: Mapping[str, Odd]


def _seconds(days):
  return (days - pd.Timestamp(0)).total_seconds().to_numpy()


def panel(times=DAYS[:10], values=VALUES, rows=slice(None)):
  """Series as a frame with an index of instance and time."""
  names = [f"s{number:02}" for number in range(len(values))]
  index = pd.MultiIndex.from_product([names, times])
  frame = pd.DataFrame(values.reshape(-1, 2), index, ["x", "still"])
  places = np.arange(len(frame)).reshape(len(values), -1)
  return frame.iloc[places[:, rows].ravel()].astype(float)


def _series(cls, says, y, **options):
  """An estimator of series, with targets or not."""
  ordinary = panel(), *y
  one = tuple(targets[:1] for targets in y)
  alone, lonely = (
    panel(values=VALUES[:1]),
    {
      "SequenceClassifier": "got one class.*Add examples",
      "DisentangledEncoder": "got 1 sample.*Add series",
    }.get(cls.__name__),
  )
  holes = panel(DAYS[:5].append(DAYS[6:11]))
  encodes = cls is estimators.DisentangledEncoder
  cases = {
    "newest first": Odd((panel(rows=slice(None, None, -1)), *y)),
    "shuffled": Odd((panel(rows=RNG.permutation(10)), *y)),
    "a time twice": Odd(
      (panel(DAYS[[0, 0, *range(2, 10)]]), *y), " twice, .*Keep one row"
    ),
    "holes": Odd((holes, *y), "unequal steps.*Resample" if encodes else None),
    "holes later": Odd((holes, *y), "got a step in time of.*Resample", True),
    "seconds": Odd((panel(_seconds(DAYS[:10])), *y)),
    "milliseconds": Odd((panel(1e3 * _seconds(DAYS[:10])), *y)),
    "seconds after dates": Odd(
      (panel(_seconds(DAYS[:10])), *y), "expected dates.*Convert", True
    ),
    "integers": Odd((panel().astype(int), *y)),
    "an empty series": Odd(
      ([*VALUES[:11], VALUES[0][:0]], *y), "got 'no elements'.*Leave out"
    ),
    "alone": Odd((alone, *one), None, True, part=slice(1)),
    "one row": Odd((alone, *one), lonely, part=None),
    **{f"of {size:g}": Odd((size * panel(), *y)) for size in SIZES},
  }
  cases["holes"] = cases["holes"]._replace(part=None)
  if y and cls is estimators.SequenceRegressor:
    cases["integers to tell"] = Odd((panel(), y[0].astype(int)))
    cases |= {
      f"targets of {size:g}": Odd(
        (panel(), size * y[0]), restore=lambda said, size=size: said / size
      )
      for size in SIZES
    }
  elif y:
    cases["integers to tell"] = Odd((panel(), y[0].astype(float)))
    cases["one label"] = Odd((panel(), 0 * y[0]), "got one class.*Add examples")
  return Kind(cls, {**SMALL, **options}, ordinary, says, cases)


def _forecaster():
  values = VALUES[:3].reshape(-1, 2).astype(float)

  def frame(times=DAYS, values=values):
    return pd.DataFrame(values, times, ["x", "still"])

  def numbers(size):
    return pd.Index(size * _seconds(DAYS), name="time")

  whole, moved = frame(), DAYS[:5].append(DAYS[5:] + pd.Timedelta("1D"))
  cases = {
    "newest first": Odd((whole[::-1],)),
    "shuffled": Odd((whole.sample(frac=1, random_state=0),)),
    "a time twice": Odd(
      (frame(DAYS[[0, 0, *range(2, 30)]]),), " twice, .*Keep one row"
    ),
    "holes": Odd((frame(moved),), "172800 seconds after.*Add the missing rows"),
    "seconds": Odd((frame(numbers(1)),)),
    "milliseconds": Odd((frame(numbers(1e3)),)),
    "milliseconds after dates": Odd(
      (frame(numbers(1e3)),), "got a step in time of.*Resample", True
    ),
    "integers": Odd((whole.astype(int),)),
    "an array": Odd((values,)),
    "no rows": Odd((whole[:0],), "got 'no rows'.*Pass a series"),
    "one row": Odd((whole[:1],), "got 1 times.*Lower input_length"),
    "one row later": Odd((whole[:1],), "got 1.*Pass a longer", True),
    "several series": Odd(
      (pd.concat({"a": whole, "b": whole}),), "one series. Take one"
    ),
    "a column of dates": Odd((whole.reset_index(),), "Make it the index"),
    "alone": Odd((whole[-4:],), None, True),
    **{
      f"of {size:g}": Odd(
        (size * whole,), restore=lambda said, size=size: said / size
      )
      for size in SIZES
    },
  }
  return Kind(
    estimators.Forecaster,
    {**SMALL, "input_length": 4, "horizon": 2},
    (whole,),
    lambda model, y: model.predict(y),
    cases,
  )


def _next_item(gap=None, **options):
  user, time = np.arange(24) % 6, np.arange(24.0)
  rows = pd.DataFrame({"user": user, "item": 3 * np.arange(24) % 7})
  rows["time"] = time
  options = {**SMALL, "length": 4, "gap": gap, **options}

  def says(model, rows):
    found = model.predict(rows)
    keys = found["id"].astype(float), found["item"].astype(float)
    return found["score"][np.lexsort(keys[::-1])]

  def at(times, **more):
    return Odd((rows.assign(time=times),), options=more)

  unit = {} if gap is None else {"gap": 1e3}
  # The order of users, which is that of examples, stays.
  back = rows.iloc[np.lexsort((-time, user))]
  cases = {
    "newest first": Odd((back,)),
    "shuffled": Odd((rows.sample(frac=1, random_state=0),), asked=True),
    "seconds": at(time + START),
    "milliseconds": at(1e3 * (time + START), **unit),
    "dates": at(pd.to_datetime(time + START, unit="s")),
    "floats": Odd((rows.astype(float),)),
    "one row": Odd((rows[:1],), "no user with two.*Add rows"),
    "one row later": Odd((rows[:1],), None, True, part=None),
    "a new item": Odd((rows.assign(item=9),), "of the training. Leave", True),
    "alone": Odd((rows[user == 0],), None, True, part=slice(3)),
    **{
      f"of {size:g}": at(size * time, **({} if gap is None else {"gap": size}))
      for size in SIZES
    },
  }
  if gap is None:
    cases["a time twice"] = at(0 * time)
  else:
    dates = pd.to_datetime(time, unit="s")
    cases["dates after numbers"] = Odd(
      (rows.assign(time=dates),), "expected a number.*as in training", True
    )
  return Kind(estimators.NextItem, options, (rows,), says, cases)


def _events(cls, says, **options):
  """An estimator of events; rates are in units of its decay, if it has one."""
  hawkes = "b" in options

  def at(change, marks=MARKS):
    return [change(row) for row in EVENTS], marks

  def scaled(size, given, **more):
    if hawkes:
      return Odd(given, options={"b": options["b"] / size, **more})
    return Odd(given, options=more, restore=lambda said: said / size)

  cases = {
    "newest first": Odd(
      at(lambda row: row[::-1], [row[::-1] for row in MARKS]),
      "that increase. Sort the events",
    ),
    "a time twice": Odd(
      at(lambda row: np.minimum(row, row[4])), "move those at one time apart"
    ),
    "seconds": Odd(at(_late), "Pass start=17000000"),
    "seconds later": Odd(at(_late), "Pass start=17000000", True),
    "seconds with a start": Odd(at(_late), options={"start": START}),
    "milliseconds": Odd(at(lambda row: 1e3 * _late(row)), "Pass start=1700000"),
    "milliseconds with a start": scaled(
      1e3, at(lambda row: 1e3 * _late(row)), start=1e3 * START
    ),
    "dates with a start": Odd(
      at(lambda row: (1e6 * _late(row)).astype("datetime64[us]")),
      options={"start": "2023-11-14 22:13:20"},
    ),
    "integers": Odd(at(lambda row: row.astype(np.int32))),
    "marks of floats": Odd((EVENTS, [row * 1.0 for row in MARKS])),
    "no events": Odd(([[]], [[]]), "got no events.*Pass sequences with some"),
    "one event": Odd(
      ([[1.0]], [[0]]), None if hawkes else "got 1 events.*Add some", part=None
    ),
    "one event later": Odd(([[1.0]], [[0]]), None, True, part=None),
    "a new mark": Odd(
      (EVENTS, [row + 1 for row in MARKS]), "got '2'.*Leave such events", True
    ),
    "alone": Odd(
      (EVENTS[:1], MARKS[:1]), None, True, part=slice(2 if hawkes else 7)
    ),
    "an empty stream": Odd(
      ([*EVENTS, []], [*MARKS, []]),
      asked=True,
      refused="no event.*Leave out" if hawkes else None,
      restore=lambda said: said[:-1],
    ),
    **{
      f"of {size:g}": scaled(size, at(lambda row, size=size: row * size))
      for size in SIZES
    },
  }
  return Kind(cls, options, (EVENTS, MARKS), says, cases)


def _late(row):
  return row + START


def _predicted(model, X, *y):
  del y
  return model.predict(X)


KINDS = {
  "classifier": _series(
    estimators.SequenceClassifier,
    lambda model, X, *y: model.predict_proba(X),
    [LABELS],
  ),
  "regressor": _series(
    estimators.SequenceRegressor, _predicted, [2.0 * LABELS]
  ),
  "stepwise": _series(
    estimators.SequenceRegressor,
    _predicted,
    [np.cumsum(VALUES[..., 0], axis=1).astype(float)],
    stepwise=True,
  ),
  "encoder": _series(
    estimators.DisentangledEncoder,
    lambda model, X: model.transform(X),
    [],
    latent=2,
  ),
  "forecaster": _forecaster(),
  "next_item": _next_item(),
  "next_item with gaps": _next_item(1.0, mixer="s5"),
  "events": _events(
    estimators.EventModel,
    lambda model, *given: model.predict(*given)["gap_expected"],
    components=2,
    **SMALL,
  ),
  "hawkes": _events(
    estimators.HawkesModel,
    lambda model, *given: model.expected_counts(
      *given, edges=[1 / model.b_]
    ).ravel(),
    b=0.5,
  ),
}
