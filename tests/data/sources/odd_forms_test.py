"""All sources: healthy but odd data give the right result, or one sentence.

What an odd form of the data leads to is said by `ODD` of files, and by `ARRAYS`
of arrays, for every kind of source that is registered.
"""

from collections.abc import Callable
import re
from typing import NamedTuple

import numpy as np
import pytest

from jaxseq import data
from tests.data.sources import cases
from tests.data.sources.cases import Case

# An odd form is read the "same" as the ordinary one; or it is "refused", or
# "warned" of, in words that the rest matches; or it is "absent", and
# the rest says why there is no such form.
NO_TABLE = dict.fromkeys(
  ("images", "letters", "paragraphs", "text", "tokens"), "absent: no table"
)
SAME = {**NO_TABLE, **dict.fromkeys(cases.TABLES, "same")}
NO_NUMBERS = {
  **NO_TABLE,
  **dict.fromkeys(cases.TABLES, "absent: no column of numbers"),
}
VALUES = ("series", "forecast", "panel")
SCALED = {**NO_NUMBERS, **dict.fromkeys(VALUES, "same")}
OTHER_KIND = "refused: got a (number|date), .*, as in training. Write times in"
FAR = (
  "warned: channel .* most values are more than 100 standard deviations away"
)
NEW_NODE = (
  "warned: got a node that no event of the training has .in 7 of 7 rows"
)
NEW_SERIES = "warned: 2 series, such as .*, were not in the training: they are"
ODD = {
  "reversed": SAME,
  "shuffled": SAME,
  "times twice": {
    **SAME,
    "series": "refused: got the time .* twice in series 'p', expected each",
    "forecast": "refused: got .* twice, expected one row for each time",
    "events": "refused: got the time of another event .* ties = 'spread'",
    "panel": "refused: got .* twice in series 'a', expected one row for",
  },
  "a hole": {
    **SAME,
    **dict.fromkeys(
      ("events", "interactions", "graph", "log"), "absent: no equal steps"
    ),
    "series": "refused: got a step in time of 20, expected 10",
    "forecast": "refused: expected the usual step of .* steps = 'insert'",
    "panel": "refused: expected the usual step of .* steps = 'insert'",
  },
  "seconds since 1970": SAME,
  "milliseconds since 1970": SAME,
  "milliseconds for seconds": {
    **SAME,
    "series": "refused: got a step in time of 10000, expected 10, as in train",
    "forecast": "refused: got a step in time of 1000, expected 1, as in train",
    "events": "absent: events may be at any time after the start",
    "interactions": "warned: times: the usual step is 1000 times that of the",
    "graph": "warned: times as long after the beginning of the training as",
    "panel": "refused: got a step in time of 1000, expected 1, as in train",
  },
  "dates without signs": SAME,
  "dates with points": SAME,
  "dates with slashes": {
    **SAME,
    **dict.fromkeys(
      ("events", "interactions", "log"),
      "refused: expected dates whose day and month .* option date_format = ",
    ),
  },
  "milliseconds for dates": {
    **SAME,
    **dict.fromkeys((*VALUES, "interactions", "graph"), OTHER_KIND),
    "events": "refused: start: got '1999.*', expected a number, as the times",
  },
  "dates for numbers": {
    **SAME,
    **dict.fromkeys((*VALUES, "interactions", "graph"), OTHER_KIND),
    "events": "refused: start: got '0', expected a date, as the times",
  },
  "years between seconds": {
    **SAME,
    "forecast": "refused: got .* after the time before, expected the us",
    "panel": "refused: got .* after the time before, expected the us",
  },
  "numbers with a point": SAME,
  "names with a point": {
    **SAME,
    "forecast": "absent: no names",
    "events": r"refused: column 'kind': got '1\.0', expected a kind of event",
    "interactions": r"refused: got '.\.0', expected an item of the training",
    "graph": NEW_NODE,
    "log": r"refused: got '1\.0', expected an activity of the training",
    "panel": NEW_SERIES,
  },
  "a new name": {
    **SAME,
    "series": "warned: got 'new', expected a class of the training; the target",
    "forecast": "absent: no names",
    "events": "refused: column 'kind': got 'new', expected a kind of event of",
    "interactions": "refused: got 'new', expected an item of the training",
    "graph": NEW_NODE,
    "log": "refused: got 'new', expected an activity of the training",
    "panel": "refused: got .* twice in series 'new', expected one row for",
  },
  "a new name among others": {
    **SAME,
    "series": "warned: got 'new', .* the target of 1 of 3 series is unknown",
    "forecast": "absent: no names",
    "events": "warned: 'kind': got 'new', .* training; 1 of 12 rows are such",
    "interactions": "warned: 'item': got 'new', .* training; 1 of 12 rows are",
    "graph": "warned: got a node that no event of the training has .in 1 of 7",
    "log": "warned: 'step': got 'new', .* training; 1 of 11 rows are such and",
    "panel": "refused: series 'new': got 1 times, expected at least 4",
  },
  "no names": {
    **SAME,
    "forecast": "absent: no names",
    "events": "refused: column 'kind': got nothing, expected the kind of event",
    "interactions": "refused: got nothing, expected the name of an item",
    "graph": "absent: a row without a destination is a question",
    "log": "refused: line 2: column 'step': got nothing, expected the name of",
    "panel": "refused: got nothing, expected the name of a series",
  },
  "truth values": SCALED,
  "a constant channel": SCALED,
  "a scale of 1e-6": SCALED,
  "a scale of 1e12": SCALED,
  "values of another unit": {**NO_NUMBERS, **dict.fromkeys(VALUES, FAR)},
  "one row": {
    **SAME,
    "forecast": "refused: later.csv: got 1 times, expected at least 4",
    "panel": "refused: series 'a': got 1 times, expected at least 4",
  },
  "no row": {
    **NO_TABLE,
    **dict.fromkeys(cases.TABLES, "refused: later.csv: got no rows, expected"),
  },
  "one series alone": {
    **SAME,
    **dict.fromkeys(("forecast", "graph"), "absent: a file is one series"),
  },
}


# Loaders of files that are one series or stream.
ONE_STREAM = ("forecast_table", "graph_table")


class Forms(NamedTuple):
  """The ordinary and an odd form of the same data.

  Attributes:
    ordinary: the one.
    odd: the other.
    unit: times of the odd form by those of the ordinary one.
    most: above which gaps are not compared.
    rounding: of inputs.
    timed: whether times are alike, too.
  """

  ordinary: Case
  odd: Case
  unit: float = 1.0
  most: float = np.inf
  rounding: float = 0.0
  timed: bool = True


def timed(case: Case, form: str) -> Case:
  """Returns a case whose times are in a form."""
  epoch = 1_700_000_000

  def written(word):
    day = np.datetime64(word, "D") if "-" in word else None
    step = int(word) if day is None else int(day.astype(int))
    date = np.datetime64("2000-01-01") + np.timedelta64(step, "D")
    return {
      "numbers": step,
      "seconds": epoch + step,
      "milliseconds": 1000 * (epoch + step),
      "dates": date,
      "compact": str(date).replace("-", ""),
      "points": "{2}.{1}.{0}".format(*str(date).split("-")),
      "slashes": "{1}/{2}/{0}".format(*str(date).split("-")),
    }[form]

  found = case.changed(case.time, lambda word: str(written(word)))
  options = dict(case.options)
  if "start" in options:
    starts = {"seconds": epoch, "milliseconds": 1000 * epoch, "numbers": 0}
    options["start"] = starts.get(form, "1999-12-31")
  if "gap" in options:
    units = {"numbers": 1.0, "seconds": 1.0, "milliseconds": 1000.0}
    options["gap"] = units.get(form, 86400.0)
  return found._replace(options=options)


def entry(case, line, name):
  return line.split(",")[case.column(name)]


def stream(case, line):
  """The name of the series or stream of a line; "" if a file is one."""
  one = case.name in ONE_STREAM and "series" not in case.options
  return "" if one else line.split(",")[0]


def rows(change: Callable[[list[str]], list[str]]):
  """Returns what makes the forms whose later rows differ."""
  return lambda case: Forms(case, case._replace(later=change(case.later)))


def shuffled(lines):
  return [lines[i] for i in np.random.default_rng(2).permutation(len(lines))]


def times_twice(case):
  first, second = case.later[:2]
  at = case._replace(later=[second]).changed(
    case.time, lambda _: entry(case, first, case.time), ("later",)
  )
  later = [first, *at.later, *case.later[2:]]
  return Forms(case, case._replace(later=later), timed=False)


def years(case):
  """All rows of a stream but the first come later: by less, or by years."""
  case = timed(case, "numbers")

  def jumped(lines, jump, firsts):
    moved = []
    for line in lines:
      first = firsts.setdefault(stream(case, line), line)
      one = case._replace(later=[line]).changed(
        case.time,
        lambda w, late=first != line: str(int(w) + jump * late),
        ("later",),
      )
      moved += one.later
    return moved

  def form(jump):
    firsts: dict[str, str] = {}
    head, *train = case.train
    train = [head, *jumped(train, jump, firsts)]
    return case._replace(train=train, later=jumped(case.later, jump, firsts))

  return Forms(form(1000), form(126_230_400), most=4.0)


def kinds_of_time(first, second, unit=1.0):
  return lambda case: Forms(timed(case, first), timed(case, second), unit)


def other_time(first, second):
  """The file that comes later has another form of times than the training."""

  def forms(case):
    ordinary = timed(case, first)
    later = timed(case, second).later
    return Forms(ordinary, ordinary._replace(later=later))

  return forms


def pointed(case):
  case, odd = timed(case, "numbers"), timed(case, "numbers")
  for name in (case.time, *case.values):
    odd = odd.changed(
      name, lambda word: word if "." in word else f"{word}.0", ("later",)
    )
  return Forms(case, odd)


def named(change, parts=("later",), numbered=False):
  """The column of names is changed, perhaps of names that are numbers."""

  def forms(case):
    if numbered:
      lines = [*case.train[1:], *case.later]
      words = sorted({entry(case, line, case.names) for line in lines})
      case = case.changed(case.names, lambda x: str(words.index(x) + 1))
    return Forms(case, case.changed(case.names, change, parts))

  return forms


def scaled(size, parts=("train", "later")):
  def forms(case):
    odd = case
    for name in case.values:
      odd = odd.changed(name, lambda x: repr(float(x) * size), parts)
    return Forms(case, odd, rounding=1e-5)

  return forms


def constant(case):
  name = case.values[0]
  one, other = (case.changed(name, lambda _, x=x: x) for x in ("0.1", "1e9"))
  return Forms(one, other, rounding=1e-9)


def one_new_name(case):
  first = [case.later[0]]
  if case.name == "table":  # All rows of a series have one label.
    first = [x for x in case.later if stream(case, x) == stream(case, first[0])]
  rest = case.later[len(first) :]
  odd = case._replace(later=first)
  if case.names is not None:
    odd = odd.changed(case.names, lambda _: "new", ("later",))
  return Forms(case, case._replace(later=[*odd.later, *rest]))


def truth(case):
  name = case.values[0]
  one, other = (
    case.changed(name, lambda x, w=w: w[float(x) > 0])
    for w in (("0", "1"), ("False", "True"))
  )
  return Forms(one, other)


def one_row(case):
  first = stream(case, case.later[0])
  others = [x for x in case.later[1:] if stream(case, x) != first]
  return Forms(
    case._replace(later=[case.later[0], *others]),
    case._replace(later=case.later[:1]),
  )


def last_alone(lines):
  return [line for line in lines if line[0] == lines[-1][0]]


FORMS = {
  "reversed": rows(lambda lines: lines[::-1]),
  "shuffled": rows(shuffled),
  "times twice": times_twice,
  "a hole": rows(lambda lines: [*lines[:-3], *lines[-2:]]),
  "seconds since 1970": kinds_of_time("numbers", "seconds"),
  "milliseconds since 1970": kinds_of_time("numbers", "milliseconds", 1000.0),
  "milliseconds for seconds": other_time("seconds", "milliseconds"),
  "dates without signs": kinds_of_time("dates", "compact"),
  "dates with points": kinds_of_time("dates", "points"),
  "dates with slashes": kinds_of_time("dates", "slashes"),
  "milliseconds for dates": other_time("dates", "milliseconds"),
  "dates for numbers": other_time("numbers", "dates"),
  "years between seconds": years,
  "numbers with a point": pointed,
  "names with a point": named(lambda x: f"{x}.0", numbered=True),
  "a new name": named(lambda _: "new"),
  "a new name among others": one_new_name,
  "no names": named(lambda _: ""),
  "truth values": truth,
  "a constant channel": constant,
  "a scale of 1e-6": scaled(1e-6),
  "a scale of 1e12": scaled(1e12),
  "values of another unit": scaled(1e6, ("later",)),
  "one row": one_row,
  "no row": rows(lambda lines: []),
  "one series alone": rows(last_alone),
}


def examples(read: data.Examples, forms: Forms, unit: float):
  """Returns the arrays of each example that are compared, by its name."""
  dataset = read.dataset
  inputs, gaps, times = dataset.inputs, dataset.extras.gaps, None
  if dataset.extras.times is not None and inputs.shape[1:] == (2,):
    # Of a graph, whose rows are numbered.
    times = np.diff(dataset.extras.times, axis=0, prepend=0) / unit
  elif dataset.extras.times is not None:
    inputs = inputs / unit
  arrays = [inputs, *((gaps, times) if forms.timed else ())]
  if read.labeled:
    arrays.append(dataset.targets)
  names = read.ids
  if stream(forms.ordinary, "x") == "":
    names = [*map(str, range(len(inputs)))]
  sizes = (
    dataset.lengths if dataset.lengths is not None else [None] * len(names)
  )
  return {
    name: [
      np.minimum(x[i][:size] if x.ndim > 1 else x[i], forms.most)
      for x in arrays
      if x is not None
    ]
    for i, (name, size) in enumerate(zip(names, sizes))
  }


def test_every_kind_has_an_outcome_of_every_form():
  assert ODD.keys() == FORMS.keys()
  for outcomes in ODD.values():
    assert outcomes.keys() == set(cases.KINDS)


@pytest.mark.parametrize(
  ("kind", "odd"),
  [
    (kind, odd)
    for odd, outcomes in ODD.items()
    for kind, outcome in outcomes.items()
    if not outcome.startswith("absent")
  ],
)
def test_an_odd_form_is_the_same_or_gets_a_sentence(
  tmp_path, caplog, kind, odd
):
  forms = FORMS[odd](cases.TABLES[kind])
  outcome, _, words = ODD[odd][kind].partition(": ")
  if outcome == "refused":
    with pytest.raises(ValueError, match=words) as error:
      cases.later(tmp_path, forms.odd, cases.learn(tmp_path, forms.odd))
    assert "\n" not in str(error.value)
    return
  source = cases.learn(tmp_path, forms.odd)
  caplog.clear()
  found = cases.later(tmp_path, forms.odd, source)
  if outcome == "warned":
    assert re.search(words, caplog.text)
    return
  assert "WARNING" not in caplog.text or odd in ("reversed", "shuffled")
  source = cases.learn(tmp_path, forms.ordinary)
  wanted = cases.later(tmp_path, forms.ordinary, source)
  known = examples(wanted, forms, 1.0)
  for name, arrays in examples(found, forms, forms.unit).items():
    for one, two in zip(arrays, known[name]):
      np.testing.assert_allclose(
        one, two, rtol=forms.rounding, atol=forms.rounding
      )
  if len(found.ids) != len(wanted.ids):
    assert odd in ("one row", "one series alone")
