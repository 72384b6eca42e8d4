"""Tables of series to forecast: one long series, or a panel of many.

splits = data.load(
  "forecast_table", path="sales.csv", time="date", series="shop"
)
"""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Unpack

from absl import logging
import numpy as np

from jaxseq import validate
from jaxseq.data import _calendars
from jaxseq.data import _part_splits
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import forecast_windows
from jaxseq.data import panel_windows
from jaxseq.data import panels
from jaxseq.data import summaries
from jaxseq.data import table_layouts
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms
from jaxseq.data.sources import windows as window_sources

# The default input length and horizon of `panel_windows.make_splits`.
_WINDOW = 96
# Most names in a warning.
_TOLD = 5


def load(
  path: table_files.Path,
  *,
  time: str | None = None,
  channels: str | Sequence[str] | None = None,
  ignore: str | Sequence[str] | None = None,
  series: str | None = None,
  known: str | Sequence[str] | None = None,
  static: str | Sequence[str] | None = None,
  categories: str | Sequence[str] | None = None,
  delimiter: str | None = None,
  encoding: str | None = None,
  decimal: str | None = None,
  date_format: str | None = None,
  steps: window_sources.Steps = "refuse",
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  valid_from: str | float | None = None,
  test_from: str | float | None = None,
  **options: Unpack[forecast_windows.Options],
) -> datasets.Splits:
  """Loads one series, or many, and cuts windows of the three spans of each.

  Args:
    path: a file, or a folder, a pattern such as "runs/*.csv", or several whose
      rows follow each other.
    time: column of dates or numbers, by which the rows are sorted; None if
      there is no such column and the rows are in order.
    channels: columns of values; all others if None.
    ignore: columns to leave out.
    series: column that names the series of a row, if the table holds several,
      one below the other; each has its own spans and scale. Up to half of them
      are left out, with a warning, if they are too short for a window.
    known: columns that are known ahead, such as a price or a holiday: the
      network also reads them at the times to forecast, and does not forecast
      them. Rows without any value at the end of a series are times to forecast.
    static: columns with one entry for each series, such as a region.
    categories: columns of `known` and `static` whose numbers are names, such as
      that of a weekday; columns of words always are names.
    delimiter: between columns; if None a comma, or a tab in a .tsv file.
    encoding: of texts, such as "cp1252"; detected per file if None.
    decimal: decimal sign, "." or ","; detected per file if None.
    date_format: of dates, such as "%d.%m.%Y"; detected if None.
    steps: handling of times that are not one step apart: "refuse", "insert"
      rows of missing values if whole steps are missing, or "ignore". Steps of a
      calendar, such as working days or months, are not refused.
    valid_fraction: share of the series for validation, after the training
      span; at 0 there is no validation part.
    test_fraction: share of the series for testing, at its end.
    valid_from: time of the first validation target, in place of shares.
    test_from: time of the first test target, in place of shares.
    **options: see `forecast_windows.make_splits`: input_length and horizon,
      normalize, with_calendar and missing.

  Returns:
    The splits, see `forecast_windows.windows`.

  Raises:
    ValueError: naming the file, line and column with an invalid value, or the
      wrong option.
    MissingData: if a file, or for Parquet the package pyarrow, is missing.
  """
  several = {"known": known, "static": static, "categories": categories}
  words = {key: table_layouts.as_names(key, x) for key, x in several.items()}
  chosen = words.pop("categories")
  form = text_forms.Form(delimiter, encoding, decimal, date_format)
  if valid_from is None and test_from is None:
    _part_splits.check_shares(valid_fraction, test_fraction)
  elif time is None or valid_from is None or test_from is None:
    raise ValueError(
      f"valid_from and test_from: got {valid_from!r} and {test_from!r}, "
      f"expected both, and a column of time (got {time!r})."
    )

  def ends(times, count, name=""):
    if valid_from is None:
      return _by_share(count, valid_fraction, test_fraction)
    return _by_time(times[:count], valid_from, test_from, name)

  columns = panels.Columns(
    series=series,
    time=time,
    channels=table_layouts.as_names("channels", channels),
    ignore=table_layouts.as_names("ignore", ignore),
    form=form,
    steps=steps,
    **words,
  )
  terms = {
    "source": table_files.describe(path),
    "license": "that of the files",
    **options,
  }
  if series is None and not chosen and not any(words.values()):
    return _single(path, columns, ends, terms)
  return _panel(path, columns, ends, chosen, terms)


def _panel(path, columns, ends, categories, terms):
  """Splits of a table of many series, or of one with columns known ahead."""
  panel = panels.read(path, columns)

  def ends_of(one):
    return ends(one.times, len(one.values), one.name)

  short: tuple[str, ...] = ()
  if columns.series is not None:
    sizes = (terms.get(x, _WINDOW) for x in ("input_length", "horizon"))
    panel, short = panel_windows.without_short(panel, ends_of, *sizes)
    _tell_short(terms["source"], short)
  _check_calendar(terms, panel.members[0].times)
  spans = [(one.times, ends_of(one)) for one in panel.members]
  splits = panel_windows.make_splits(
    panel, columns, ends_of, categories=categories, **terms
  )
  values = [one.values for one in panel.members]
  names = [one.name for one in panel.members] if columns.series else []
  return _summarized(splits, spans, values, names, len(short))


def _single(path, columns, ends, terms):
  """Splits of a table of one series without columns known ahead."""
  names, left_out = columns.channels, columns.ignore
  form, steps = columns.form, columns.steps
  single = window_sources.read(path, columns.time, names, left_out, form, steps)
  count = len(single.values)
  _check_calendar(terms, single.times)
  stamps = single.times if single.times is not None else np.arange(count)
  fields: dict[str, Any] = {"step": None}
  if single.times is not None:
    fields = {
      "dates": _time_stamps.are_dates(stamps),
      "calendar": single.calendar,
    }
    if steps == "ignore":
      fields["calendar"] = _calendars.find(stamps)
  splits = forecast_windows.make_splits(
    single._replace(times=stamps),
    ends(single.times, count),
    reader={
      "time": columns.time,
      **dataclasses.asdict(form),
      "date_format": single.date_format,
      "steps": steps,
      **fields,
    },
    **terms,
  )
  spans = [(single.times, ends(single.times, count))]
  return _summarized(splits, spans, [single.values])


def _tell_short(source, names):
  """Warns of series that are left out, as they are too short."""
  if names:
    logging.warning(
      "%s: %d series are left out, as they are too short to be split: %s%s. A "
      "model forecasts them as it does series that were not in the training.",
      *(source, len(names), ", ".join(map(repr, names[:_TOLD]))),
      ", ..." * (len(names) > _TOLD),
    )


def _summarized(splits, spans, values, names=(), left_out=0):
  """Adds a summary of the spans: times (n,) and ends of each series."""
  prepared = splits.info.preparation
  share = np.isnan(np.concatenate(values)).mean()
  summary = summaries.of_spans(spans, prepared.step, (share, prepared.missing))
  if names:
    summary["series"] = list(names)
  if left_out:
    summary["left_out"] = left_out
  return splits._replace(info=dataclasses.replace(splits.info, summary=summary))


def _check_calendar(options, times):
  """Rejects calendar features for times that are not dates."""
  if options.get("with_calendar") and (
    times is None or not _time_stamps.are_dates(times)
  ):
    raise validate.error("with_calendar", True, "False without dates")


def _by_share(count, valid_fraction, test_fraction):
  """Ends of the three spans of `count` times."""
  second = count - int(count * test_fraction)
  if not valid_fraction:
    return second, second, count
  return int(count * (1 - valid_fraction - test_fraction) + 1e-9), second, count


def _by_time(times, valid_from, test_from, series):
  """Ends of the three spans, from the times at which the later ones begin."""
  starts = []
  for name, word in (("valid_from", valid_from), ("test_from", test_from)):
    try:
      if _time_stamps.are_dates(times):
        start = _time_stamps.parse_date(str(word))
      else:
        start = float(word)
    except ValueError as error:
      raise ValueError(f"{name}: {str(error).rstrip('.')}.") from error
    starts.append(int(np.searchsorted(times, start)))
  first, second = starts
  if not 0 < first < second < len(times):
    raise ValueError(
      f"valid_from and test_from: got {valid_from} and {test_from}, expected "
      f"times in this order between {times[0]} and {times[-1]}"
      f"{f', those of series {series!r}' if series else ''}."
    )
  return first, second, len(times)
