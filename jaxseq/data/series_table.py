"""Series in tables: CSV or Parquet files, see `table_layouts`.

splits = data.load("table", path="walks.csv", id="id", label="label")
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Literal
from typing import get_args

from jaxseq import validate
from jaxseq.data import _series_splits
from jaxseq.data import _series_targets
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import recordings
from jaxseq.data import table_layouts
from jaxseq.data.files import table_files
from jaxseq.data.sources import series as series_sources

Target = Literal["auto", "class", "number", "step"]


def load(
  path: table_files.Path,
  *,
  layout: str = "long",
  id: str | None = None,
  time: str | None = None,
  label: str | Sequence[str] | None = None,
  channels: str | Sequence[str] | None = None,
  ignore: str | Sequence[str] | None = None,
  delimiter: str | None = None,
  encoding: str | None = None,
  decimal: str | None = None,
  date_format: str | None = None,
  window: int | None = None,
  labels: str | os.PathLike | None = None,
  target: Target = "auto",
  split: str | None = None,
  group: str | None = None,
  by_time: bool = False,
  valid_path: table_files.Path | None = None,
  test_path: table_files.Path | None = None,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  normalize: bool = True,
  missing: missing_values.Missing = "refuse",
  gaps: series_sources.Gaps = "channel",
  seed: int = 0,
) -> datasets.Splits:
  """Loads series, each with a class, with numbers, or without targets.

  Args:
    path: a file, a folder of tables, a pattern such as "runs/*.csv", or several
      of them.
    layout: "long" or "wide", see `table_layouts`.
    id: column that names the series of a row, see `table_layouts.Columns`.
    time: column of time stamps.
    label: column of the class, or the columns of numbers to predict; None if
      there are neither: then all targets are 0.
    channels: columns of values; all others if None.
    ignore: columns to leave out.
    delimiter: see `table_layouts.Columns`, as for the next three.
    encoding: of texts, such as "cp1252"; detected if None.
    decimal: decimal sign, "." or ","; detected if None.
    date_format: of dates, such as "%d.%m.%Y"; detected if None.
    window: length of chunks to cut series into; chunks of one series are in one
      part, unless there is no other series.
    labels: a further table with a row for each series: its `id` and `label`.
    target: "class"; "number", one for each series; "step", one at every
      element; or "auto": a class, unless all labels are numbers and not all of
      them are whole.
    split: column with train, valid or test for each series.
    group: column of a group that must stay in one part, such as a person; a
      group in several parts raises unless parts are drawn by share.
    by_time: whether the series that begin last are for testing.
    valid_path: files of the validation part, in place of a share.
    test_path: files of the test part, in place of a share.
    valid_fraction: share of the series for validation.
    test_fraction: share of the series for testing.
    normalize: whether each channel, and each number to predict, is standardized
      to mean 0 and standard deviation 1 over the training part.
    missing: handling of missing values, see `data.missing`.
    gaps: use of the time since the element before if it varies: one more
      "channel", "extras".gaps, or none ("ignore").
    seed: seed of the random split by share.

  Returns:
    The splits: inputs (n, time, channels) padded with 0; targets (n,) classes
    in the order of their names, (n, numbers), or (n, time, numbers). info has
    names of classes and channels.

  Raises:
    ValueError: naming the file, line and column with an invalid value, or the
      wrong option.
    MissingData: if a file, or for Parquet the package pyarrow, is missing.
  """
  columns = table_layouts.Columns(
    layout,
    id=id,
    time=time,
    label=table_layouts.as_names("label", label),
    channels=table_layouts.as_names("channels", channels),
    ignore=table_layouts.as_names("ignore", ignore),
    delimiter=delimiter,
    encoding=encoding,
    decimal=decimal,
    date_format=date_format,
    window=window,
  )
  validate.choice("target", target, get_args(Target))
  files = [path]
  files += [one for one in (valid_path, test_path) if one is not None]
  if test_path is None and valid_path is not None:
    raise validate.error("test_path", None, "files as well as valid_path")
  ways = {"split": split, "by_time": by_time, "test_path": test_path}
  given = [x for x, way in ways.items() if way is not None and way is not False]
  if len(given) > 1:
    words = " and ".join(given)
    raise ValueError(f"{words}: got all of them, expected one way to divide.")
  # Columns with one entry for each whole series.
  said = [name for name in (split, group) if name is not None]
  inside = labels is None
  whole = table_layouts.read(
    files,
    columns,
    words=[*said, *(columns.label if inside and target != "step" else ())],
    step_numbers=columns.label if inside and target == "step" else (),
  )
  targets = _series_targets.find(whole, columns, target, labels)
  if time is not None:
    date_format = _time_stamps.date_format(
      whole.table.words[time], str, date_format
    )
  return _series_splits.make(
    whole,
    targets,
    source=table_files.describe(path),
    gaps=gaps,
    split=split,
    group=group,
    by_time=by_time,
    valid_fraction=valid_fraction,
    test_fraction=test_fraction,
    normalize=normalize,
    missing=missing,
    seed=seed,
    reader="table",
    target=targets.kind,
    columns=dataclasses.replace(
      columns,
      # Channels of a long table may be in any order in another file.
      channels=(
        whole.channels if columns.layout == "long" else columns.channels
      ),
      ignore=(*columns.ignore, *said),
      date_format=date_format,
    ),
  )


def read_again(
  path: table_files.Path, source: series_sources.SeriesSource
) -> tuple[recordings.Recordings, _series_targets.Targets]:
  """Reads series as `load` does, with the labels if there are any.

  Raises:
    ValueError: see `load`.
    MissingData: see `load`.
  """
  columns = source.columns or table_layouts.Columns()
  kind = source.target
  whole = table_layouts.read(
    [path],
    columns,
    words=columns.label if kind != "step" else (),
    step_numbers=columns.label if kind == "step" else (),
    optional=columns.label,
    dates=source.dates,
  )
  if whole.channels != source.channels:
    raise validate.error(
      f"{table_files.describe(path)}: channels",
      whole.channels,
      f"{source.channels}",
    )
  found = _series_targets.find_again(whole, columns, kind, source.classes)
  return whole, found
