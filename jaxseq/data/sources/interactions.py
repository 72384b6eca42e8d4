"""Interactions: items that users took, with times.

    splits = data.load("interaction_table", path="ratings.csv")

A row of a CSV or Parquet table is an interaction; the rows of a user are sorted
by time, and simultaneous ones keep the order of the file.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import TypedDict
from typing import Unpack
from typing import get_args

import numpy as np

from jaxseq import validate
from jaxseq.data import _part_splits
from jaxseq.data import _raw_arrays
from jaxseq.data import _row_groups
from jaxseq.data import _series_targets
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data import summaries
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms
from jaxseq.data.sources import base

Split = Literal["leave_one_out", "time"]


class Options(TypedDict, total=False):
  """Options of all splits of interactions, with the defaults of `of_rows`.

  Attributes:
    split: "leave_one_out", the default, predicts the last two items of a user;
      "time" predicts items after two points in time.
    length: number of items of a history's chunks; 50 by default.
    gap: unit of the gaps between items, for dates in seconds; None by default.
    valid_fraction: share of the rows, with the split by time; 0.1 by default.
    test_fraction: share of the rows, with the split by time; 0.1 by default.
    cold: share of the items that no training history has; 0 by default.
  """

  split: Split
  length: int
  gap: float | None
  valid_fraction: float
  test_fraction: float
  cold: float


@dataclasses.dataclass(frozen=True)
class InteractionSource(base.TableSource):
  """Histories of users, whose items are tokens from 1 on, padded with 0.

  `prepare` takes the items of each user in the order of time, by name or by
  index in `items`.

  Attributes:
    items: names of all items.
    user: column of a table that names the user of a row.
    item: column of the items.
    time: column of the times, dates or numbers.
    gap: unit of time for the gaps between items, for dates in seconds; if None
      a network does not read gaps. See `gaps`.
    dates: whether times are dates; None if unknown.
    step: the usual time between two items of a user.
    texts: text of each item, or None; with `keys` it has a line for each key.
    keys: keys of a text's lines, such as "title" and "genres"; None for texts
      without keys.
  """

  kind: ClassVar[str] = "interactions"
  forms: ClassVar[tuple[str, ...]] = ("interaction_table",)

  _: dataclasses.KW_ONLY
  items: tuple[str, ...] | None = None
  user: str = "user"
  item: str = "item"
  time: str = "time"
  gap: base.Positive | None = None
  dates: bool | None = None
  step: base.Positive | None = None
  texts: tuple[str, ...] | None = None
  keys: tuple[str, ...] | None = None

  def attributes(self) -> list[dict[str, str]]:
    """Returns each item's texts by key; by "text" without keys."""
    keys = self.keys or ("text",)
    return [
      dict(zip(keys, text.split("\n") if self.keys else [text]))
      for text in self.texts or ()
    ]

  def gaps(self, stamps: np.ndarray) -> np.ndarray:
    """Returns the gaps (n,) float32 before the items of a user.

    A gap is 1 + log(1 + time since the item before / `gap`), and 1 for the
    first item: a mixer that multiplies its step sizes by gaps reads
    simultaneous items like items without times.

    Args:
      stamps: (n,) sorted times, numbers or dates.
    """
    at = _time_stamps.seconds(_time_stamps.as_array(stamps))
    since = np.maximum(np.diff(at, prepend=at[:1]), 0)
    return (1 + np.log1p(since / self.gap)).astype(np.float32)

  def _prepare(self, values, lengths, times, targets):
    if targets is not None:
      raise validate.error("targets", type(targets).__name__, "None")
    rows = [np.asarray(x) for x in _raw_arrays.rows(values, lengths)]
    if (times is None) != (self.gap is None):
      expected = "None" if self.gap is None else "the times of each user"
      raise validate.error("times", type(times).__name__, expected)
    for number, row in enumerate(rows):
      if row.ndim != 1 or not len(row):
        got, expected = f"shape {row.shape}", "a history of one item or more"
        raise validate.error(f"user {number}", got, expected)
    # All users at once, as there are many item names.
    numbers = _raw_arrays.class_numbers(
      np.concatenate(rows), self.items, "items"
    )
    ends = np.cumsum([len(row) for row in rows])[:-1]
    inputs, lengths = padding.pad_sequences(np.split(numbers + 1, ends))
    extras = datasets.Extras()
    if times is not None:
      gaps, counts = padding.pad_sequences([self.gaps(one) for one in times])
      if not np.array_equal(counts, lengths):
        raise validate.error("times", counts, f"as many as items, {lengths}")
      extras = datasets.Extras(gaps=gaps)
    unknown = np.full_like(inputs, -1)
    return datasets.ArrayDataset(inputs, unknown, lengths, extras)

  def _read(self, path: Any) -> base.Examples:
    table, ids, rows, stamps = _rows(path, self)
    words, names = table.words[self.item], set(self.items or ())
    known = _row_groups.known(
      words,
      names,
      lambda row: table.place(row, self.item),
      "an item of the training",
    )
    # Users of new items alone have no history.
    users = [(name, one[known[one]]) for name, one in zip(ids, rows)]
    ids, rows = zip(*(user for user in users if len(user[1])))
    histories = [[words[row] for row in one] for one in rows]
    times = None if self.gap is None else [stamps[one] for one in rows]
    _time_stamps.tell_unit(_time_stamps.usual_gap(times or ()), self.step)
    return base.Examples(ids, self.prepare(histories, times=times))


def load(
  path: table_files.Path,
  *,
  user: str = "user",
  item: str = "item",
  time: str = "time",
  delimiter: str | None = None,
  encoding: str | None = None,
  decimal: str | None = None,
  date_format: str | None = None,
  texts: table_files.Path | None = None,
  text: tuple[str, ...] = ("text",),
  **options: Unpack[Options],
) -> datasets.Splits:
  """Loads histories of users, to predict their next items.

  Args:
    path: a file, a folder or a pattern of files, or several.
    user: column that names the user of a row.
    item: column of the items.
    time: column of the times, dates or numbers.
    delimiter: between columns; if None a comma, or a tab in a .tsv file.
    encoding: of texts, such as "cp1252"; detected per file if None.
    decimal: decimal sign, "." or ","; detected per file if None.
    date_format: of dates, such as "%d.%m.%Y"; detected if None.
    texts: a table with a row for each item, named in the column of items, for
      networks that read item texts; None for no texts.
    text: columns of `texts` whose words are joined.
    **options: see `of_rows`.

  Returns:
    The splits, see `make_splits`.

  Raises:
    ValueError: naming the file, line and column with an invalid value, or the
      wrong option.
    MissingData: if a file, or for Parquet the package pyarrow, is missing.
  """
  source = InteractionSource(
    reader="interaction_table",
    user=user,
    item=item,
    time=time,
    **text_forms.fields(delimiter, encoding, decimal, date_format),
    gap=options.get("gap"),
    # Columns of RecBole's files have their types after a colon.
    keys=tuple(name.split(":")[0] for name in text) if texts else None,
  )
  table, _, rows, stamps = _rows(path, source)
  step = _time_stamps.usual_gap([stamps[one] for one in rows]) or None
  dates = _time_stamps.are_dates(stamps)
  source = dataclasses.replace(
    source,
    dates=dates,
    step=step,
    date_format=_time_stamps.date_format(table.words[time], str, date_format),
  )
  words = None
  if texts is not None:
    words = table_files.texts(texts, item, text, source.form, "\n")
  place = table_files.describe(path)
  return of_rows(
    rows, table.words[item], stamps, source, place, texts=words, **options
  )


def of_rows(
  rows: Sequence[np.ndarray],
  words: Sequence[str],
  stamps: np.ndarray,
  source: InteractionSource,
  place: str,
  *,
  texts: Mapping[str, str] | None = None,
  split: Split = "leave_one_out",
  length: int = 50,
  gap: float | None = None,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.1,
  cold: float = 0.0,
) -> datasets.Splits:
  """Builds the splits of interactions in memory.

  Args:
    rows: row numbers of each user, sorted by time.
    words: the item of each row.
    stamps: (rows,) times of the rows.
    source: source without the items, which are those of the rows.
    place: origin of the rows.
    texts: texts of the items by name, or None; a missing text is empty.
    split: "leave_one_out": the last item of a user is for testing, the last but
      one for validation; or "time": the rows of all users after two points in
      time are; the first such row of a user is predicted.
    length: number of items of the chunks of training histories.
    gap: see `InteractionSource`.
    valid_fraction: share of the rows for validation, with the split by time.
    test_fraction: share of the rows for testing, with the split by time.
    cold: share of the items that no training history has, to test new ones.

  Returns:
    The splits, see `make_splits`.

  Raises:
    ValueError: if an option is wrong, or no training data are left.
  """
  validate.choice("split", split, get_args(Split))
  validate.number("cold", cold, 0, 1)
  names = _series_targets.in_order(words)
  lines = None if texts is None else tuple(texts.get(x, "") for x in names)
  source = dataclasses.replace(source, items=names, gap=gap, texts=lines)
  numbers = 1 + _raw_arrays.class_numbers(words, names, "items")
  if split == "time":
    part = by_time(stamps, valid_fraction, test_fraction)
    parts = [part[one] for one in rows]
  else:
    parts = [leave_one_out(len(one)) for one in rows]
  if cold:
    new = np.zeros(1 + len(names), bool)
    order = np.random.default_rng(0).permutation(len(names))
    new[1 + order[: round(cold * len(names))]] = True
    stay = [(part > 0) | ~new[numbers[one]] for one, part in zip(rows, parts)]
    rows = [one[kept] for one, kept in zip(rows, stay)]
    parts = [part[kept] for part, kept in zip(parts, stay)]
  histories = [numbers[one] for one in rows]
  gaps = None if gap is None else [source.gaps(stamps[one]) for one in rows]
  splits = make_splits(histories, parts, source, length, place, gaps)
  summary = summaries.of_rows(
    *(stamps[np.concatenate(rows)], np.concatenate(parts)),
    users=len(rows),
    items=len(names),
  )
  return splits._replace(info=dataclasses.replace(splits.info, summary=summary))


def chains(
  *,
  users: int = 1000,
  items: int = 100,
  events: int = 20,
  follow: float = 0.8,
  length: int = 50,
  texts: bool = False,
  seed: int = 0,
) -> datasets.Splits:
  """Generates histories in which most items are followed by their successor.

  The items form a ring. After each item a user takes the next one on the ring
  with probability `follow`, if it is new to them, and otherwise any new one,
  the i-th with a probability proportional to 1 / i.

  Args:
    users: number of users.
    items: number of items, at least `events`.
    events: number of items of each user.
    follow: probability, 0 to 1.
    length: see `of_rows`.
    texts: whether each item has a text that names its predecessor, and its
      kind, one of four.
    seed: seed of all random choices.

  Returns:
    The splits, leaving out the last item of each user.

  Raises:
    ValueError: if an option is out of range.
  """
  validate.integer("users", users, 1)
  validate.integer("events", events, 3)
  validate.integer("items", items, events)
  validate.number("follow", follow, 0, 1)
  rng = np.random.default_rng(seed)
  ring = rng.permutation(items)
  following = np.empty(items, int)
  following[ring] = np.roll(ring, -1)
  all_users, taken = np.arange(users), np.zeros((users, items), bool)
  steps: list[np.ndarray] = []
  for _ in range(events):
    # The largest of these numbers is a draw by the weights.
    noise = rng.gumbel(size=(users, items)) - np.log(1 + np.arange(items))
    chosen = np.where(taken, -np.inf, noise).argmax(axis=1)
    if steps:
      after = following[steps[-1]]
      follows = (rng.random(users) < follow) & ~taken[all_users, after]
      chosen = np.where(follows, after, chosen)
    taken[all_users, chosen] = True
    steps.append(chosen)
  histories = list(np.stack(steps, axis=1).astype(np.int32) + 1)
  source = InteractionSource(items=tuple(map(str, range(items))))
  if texts:
    lines = [f"item{i}\nitem{j}\nkind{i % 4}" for j, i in enumerate(following)]
    source = dataclasses.replace(
      source,
      texts=tuple(lines[j] for j in np.argsort(following)),
      keys=("name", "follows", "kind"),
    )
  parts = [leave_one_out(events)] * users
  return make_splits(histories, parts, source, length, "generated")


def leave_one_out(count: int) -> np.ndarray:
  """Returns the parts of a user's rows: 2 for the last, 1 for the one before.

  Users with less than 3 rows are only for training.
  """
  parts = np.zeros(count, int)
  if count > 2:
    parts[-2:] = 1, 2
  return parts


def by_time(stamps: np.ndarray, valid: float, test: float) -> np.ndarray:
  """Returns the parts (rows,) of rows by their times: 0, 1 or 2.

  Rows at the time of a cut belong to the later part.

  Raises:
    ValueError: if no training rows are left.
  """
  _part_splits.check_shares(valid, test)
  order, count = np.sort(stamps), len(stamps)
  second = count - round(test * count)
  first = second - round(valid * count)
  parts = np.zeros(count, int)
  for cut in (first, second):
    if cut < count:
      parts += stamps >= order[cut]
  return parts


def make_splits(
  histories: Sequence[np.ndarray],
  parts: Sequence[np.ndarray],
  source: InteractionSource,
  length: int,
  place: str,
  gaps: Sequence[np.ndarray] | None = None,
) -> datasets.Splits:
  """Returns histories as sequences whose targets are the next items.

  Args:
    histories: items (n_i,) int32 from 1 on of each user, by time.
    parts: parts (n_i,) of each user's items, 0 for training, 1 for validation,
      2 for testing; non-decreasing.
    source: source with the items.
    length: number of items of the chunks of training histories.
    place: origin of the histories.
    gaps: gaps (n_i,) float32 before each user's items, or None.

  Returns:
    The training part has a target at every element. Examples of the others are
    a user's whole history before the first item of the part, which is the
    target at the last element; other targets are 0, for no target. extras.user
    holds the numbers of the users.

  Raises:
    ValueError: if a part for training or testing is empty.
  """
  sets = []
  for number, name in enumerate(("train", "valid", "test")):
    part = examples(histories, parts, number, length, gaps)
    if part is None and name != "valid":
      expected = "some: users with 3 rows or more, or another split"
      raise validate.error(f"{place}: {name}", "no next item", expected)
    sets.append(part)
  count = len(source.items or ())
  info = datasets.Info(
    f"Items of {len(histories)} users, of {count}; which one is next?",
    place,
    "that of the files",
    num_classes=count + 1,
    vocab_size=count + 1,
    preparation=source,
  )
  return datasets.Splits(*sets, info)


def examples(
  histories: Sequence[np.ndarray],
  parts: Sequence[np.ndarray],
  number: int,
  length: int,
  gaps: Sequence[np.ndarray] | None = None,
) -> datasets.ArrayDataset | None:
  """Returns the examples of one part, see `make_splits`; None without any.

  Args:
    histories: see `make_splits`, as for the others.
    parts: of each user's items.
    number: number of the part.
    length: of the chunks.
    gaps: before each user's items.
  """
  validate.integer("length", length, 1)
  # The user, the first element and the one after the last.
  spans = []
  for user, part in enumerate(parts):
    if number:
      # 0 if the user has no item of the part, or no history before it.
      first = int(np.argmax(part == number))
      spans += [(user, 0, first)] if first else []
    else:
      ends = range(np.count_nonzero(part == 0) - 1, 0, -length)
      spans += [(user, max(end - length, 0), end) for end in ends]
  if not spans:
    return None
  inputs, lengths = padding.pad_sequences(
    [histories[user][begin:end] for user, begin, end in spans]
  )
  targets = np.zeros_like(inputs)
  for row, (user, begin, end) in zip(targets, spans):
    first = end - 1 if number else begin
    row[first - begin : end - begin] = histories[user][first + 1 : end + 1]
  users = np.array([user for user, _, _ in spans], np.int32)
  extras = datasets.Extras(user=users)
  if gaps is not None:
    between = [gaps[user][begin:end] for user, begin, end in spans]
    extras = extras._replace(gaps=padding.pad_sequences(between)[0])
  return datasets.ArrayDataset(inputs, targets, lengths, extras)


def _rows(path, source):
  """The table, users, sorted rows of each, and the times of all rows."""
  columns = source.user, source.item, source.time
  table = table_files.read(
    table_files.find(path),
    words=list(dict.fromkeys(columns)),
    numbers=(),
    form=source.form,
  )
  for name, noun in ((source.user, "a user"), (source.item, "an item")):
    table_files.check_named(table, name, noun)
  words = table.words[source.time]
  stamps = _time_stamps.parse(
    words, lambda row: table.place(row, source.time), source.dates, source.form
  )
  ids, rows = _row_groups.group(table.words[source.user], stamps)
  place = table_files.describe(path)
  _row_groups.tell_moved(place, rows, stamps, "its user's history")
  return table, ids, rows, stamps
