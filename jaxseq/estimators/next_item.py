"""The next items of users, as an estimator."""

from collections.abc import Hashable
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any
from typing import Self
from typing import final

import numpy as np

from jaxseq import data
from jaxseq import models
from jaxseq import validate
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import sources
from jaxseq.data.sources import interactions
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.estimators import item_histories
from jaxseq.estimators import item_rows
from jaxseq.estimators import updating
from jaxseq.tasks import outputs
from jaxseq.tasks import recommendation
from jaxseq.tasks.recommendation import arms as recommendation_arms
from jaxseq.tasks.recommendation import item_streams


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class NextItem(updating.Updated):
  """Recommends the next items of users, by their item histories.

    model = NextItem().fit(frame)  # with the columns user, item and time
    model.recommend(["anna"], k=5)
    model.recommend_for([["Heat", "Ran"]], k=5)  # for users never seen
    model.update("anna", "Heat")  # in constant time
    model.partial_fit(later)  # an update of the network, with further rows

  X is always a pandas frame with a row for each item that a user has taken, or
  the three columns user, item and time themselves. Rows of a user with equal
  times stay in their order. A user's name is one text, number or date; times
  are numbers or dates, which may be texts. Early stopping evaluates the last
  item of each user, whatever `validation_fraction` is.

  Args:
    OPTIONS
    length: number of newest items of a history that are read.
    loss: "full", "sampled" or "gbce", see
      `tasks.recommendation.arms.Options`, as `negatives`.
    negatives: sampled items, for losses other than "full".
    gap: unit of the gaps between items, for dates in seconds, for a mixer that
      reads them; None ignores times.
    columns: column names of a frame.

  Attributes:
    items_: the items that can be recommended.
    model_: a `models.Model`, which reads the newest `length` items.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_ndcg_10", of the last item of each user.
    n_updates_: number of updates at which the variables were found.
  """

  _task = recommendation.TASK

  mixer: str = "gru"
  _: dataclasses.KW_ONLY
  num_layers: int = 1
  dropout: float = 0.2
  length: int = 50
  loss: str = "full"
  negatives: int = 256
  gap: float | None = None
  columns: tuple[str, str, str] = ("user", "item", "time")

  @final
  def fit(self, X: Any, y: Any = None) -> Self:
    """Trains a network from the beginning, and stores the users' histories.

    Args:
      X: see the class.
      y: not used.

    Raises:
      ValueError: naming the invalid input.
    """
    del y
    self._fit(X)
    rows = self._read(X, reset=False)
    self._histories = item_histories.Histories(self.gap is not None)
    self._take(rows, *self._numbers(rows))
    self._users()
    return self

  def partial_fit(self, X: Any, y: Any = None) -> Self:
    """Makes one update with further rows of users, at a constant learning rate.

    A user's rows continue the known history, and only the items of X are
    targets. The items that can be recommended stay those of `fit`, or of the
    first call, which begins from a fresh network if nothing was fitted. If no
    row has an earlier one of its user there is nothing to learn, and the rows
    are stored without an update. The next recommendation reads all histories
    again with the updated network.

    Args:
      X: see the class; no time is before the last one of its user.
      y: not used.

    Raises:
      ValueError: naming the invalid input, such as an item that was not in the
        training; the estimator is unchanged then.
    """
    del y
    first = not hasattr(self, "model_")
    rows = self._read(X, reset=first)
    histories = item_histories.Histories(self.gap is not None)
    if not first:
      histories = self._histories
      self._check_later(rows)
    numbers, gaps = self._numbers(rows, histories.last)
    length = self.length if first else self.model_.network.length
    part = histories.examples(rows.ids, numbers, gaps, length)
    if part is not None:
      prepared = self._source() if first else self.model_.preparation
      self.n_updates_ = 0 if first else self.n_updates_
      self._make_update(self._material_of(part, None, prepared))
    elif first:
      raise self._no_pair(rows)
    self._histories, self._stream = histories, None
    self._take(rows, numbers, gaps)
    return self

  @final
  def predict(self, X: Any) -> models.Predictions:
    """Recommends ten items to each user of X, using only X.

    Returns:
      Named columns, see docs/predictions.md.
    """
    return self.predictions(X)

  def recommend(
    self,
    users: Sequence[Hashable] | None = None,
    k: int = 10,
    *,
    filter_viewed: bool = True,
    items: Sequence[Any] | None = None,
  ) -> models.Predictions:
    """Recommends items to users of the training and of later updates.

    Args:
      users: names of users; all if None.
      k: items per user; fewer if there are no others left.
      filter_viewed: whether to leave out items in the user's history.
      items: items that may be recommended; all if None.

    Returns:
      The columns "user", "rank" from 1 on, "item" and "score", the log
      probability among all items.

    Raises:
      ValueError: if a user or an item is not known.
    """
    stream = self._users()
    if users is None:
      users = tuple(self._histories.items)
    _refuse_text("users", users)
    names = [item_rows.user("users", user) for user in users]
    allowed = self._allowed(items)
    best = stream.recommend(names, k, not filter_viewed, allowed)
    return self._listed(names, *best)

  def recommend_for(
    self,
    histories: Sequence[Sequence[Any]],
    k: int = 10,
    *,
    times: Sequence[Any] | None = None,
    filter_viewed: bool = True,
    items: Sequence[Any] | None = None,
  ) -> models.Predictions:
    """Recommends items to users who were never seen, or in new sessions.

    Args:
      histories: for each user the items so far, at least one, because the
        network predicts nothing before its first item.
      k: as in `recommend`.
      times: for each user the times of the items, in their order, with `gap`;
        None without.
      filter_viewed: as in `recommend`.
      items: as in `recommend`.

    Returns:
      Columns as in `recommend`; users are numbers from 0 on.

    Raises:
      ValueError: if an item is not known, a history is empty, or times are not
        as expected.
    """
    arrays = self._fitted()
    _refuse_text("histories", histories)
    for number, one in enumerate(histories):
      _refuse_text(f"histories[{number}]", one)
      if not len(one):
        expected = "at least one item: before it the network says nothing"
        raise validate.error(f"histories[{number}]", list(one), expected)
    if not len(histories):
      raise validate.error("histories", list(histories), "at least one")
    rows = [self._places(one) for one in histories]
    stamps = self._stamps(times, rows)
    histories, gaps = self._numbers(base.Rows(rows, times=stamps))
    features = item_streams.features_of(*arrays, histories, gaps)
    taken = [set(map(int, one)) if filter_viewed else () for one in histories]
    allowed = self._allowed(items)
    best = item_streams.best(*arrays, features, taken, k, allowed)
    return self._listed(range(len(histories)), *best)

  def update(self, user: Hashable, item: object, time: Any = None) -> Self:
    """Reads one more item of a user, who may be new, in constant time.

    Args:
      user: the user's name.
      item: one of `items_`.
      time: the item's time, not before the user's last one; needed with `gap`.

    Raises:
      ValueError: if the user is not a single name, the item is not known, or
        the time is not as expected; the estimator is unchanged then.
    """
    stream, gap, stamp = self._users(), None, None
    user = item_rows.user("user", user)
    (number,) = self._places([item])
    missing = item_rows.is_missing(time)
    if missing and self.gap is not None:
      expected = "the time of the item: the network reads the gaps"
      raise validate.error("time", time, expected)
    if not missing:
      (stamp,) = item_rows.stamps([time], lambda _: "time", self._dated)
      last = self._histories.last.get(user, stamp)
      _check_order("time", time, last, stamp, user)
      if self.gap is not None:
        gap = float(self.model_.preparation.gaps(np.array([last, stamp]))[1])
    stream.update(user, int(number) + 1, gap)
    gaps = None if gap is None else [gap]
    self._histories.extend(user, [number + 1], gaps, stamp)
    return self

  def score(self, X: Any, y: Any = None) -> float:
    """Returns NDCG@10 of the last item of each user of X, given those before.

    Earlier items of the user are not ranked, except a last item that is one of
    them, though `recommend` leaves it out unless `filter_viewed` is False.
    """
    del y
    _scikit_learn.validation.check_is_fitted(self, "model_")
    rows = self._read(X, reset=False)
    histories, gaps = self._numbers(rows)
    parts = [np.arange(len(one)) // max(len(one) - 1, 1) for one in histories]
    part = interactions.examples(histories, parts, 1, self.length, gaps)
    if part is None:
      raise self._no_pair(rows)
    splits = self._splits(part, None, self.model_.preparation)
    problem = self._task.problem(self._configure(1), splits, None)
    metrics = problem.measure(self.model_.variables, part)
    return float(metrics["ndcg_10"])

  def _users(self) -> item_streams.Users:
    """Returns the users' states under the current network."""
    if getattr(self, "_stream", None) is None:
      stream = item_streams.Users(*self._fitted())
      items, gaps = self._histories.items, self._histories.gaps
      between = None if gaps is None else list(gaps.values())
      stream.fill(list(items), list(items.values()), between)
      self._stream = stream
    return self._stream

  def _fitted(self):
    """Returns the network and its variables."""
    _scikit_learn.validation.check_is_fitted(self, "model_")
    return self.model_.network, self.model_.variables

  def _take(self, rows, histories, gaps):
    """Appends rows to the histories."""
    for n, user in enumerate(rows.ids):
      between = None if gaps is None else gaps[n]
      self._histories.extend(user, histories[n], between, rows.times[n][-1])

  def _place(self, item):
    """Returns an item's number from 0 on, by equality or name; or None."""
    try:
      number = self._number.get(item)
    except TypeError:
      number = None
    return self._number.get(str(item)) if number is None else number

  def _places(self, items):
    """Returns the numbers of items, from 0 on."""
    items = list(items)
    numbers = list(map(self._place, items))
    if None in numbers:
      item = _plain(items[numbers.index(None)])
      raise validate.error("items", item, "one of the training")
    return np.array(numbers, int)

  def _allowed(self, items):
    """Returns the numbers of the items to recommend from; None for all."""
    if items is None:
      return None
    _refuse_text("items", items)
    return self._places(items)

  def _listed(self, names, items, scores):
    """Returns columns of the best items (n, k) of users."""
    shown = np.isfinite(scores)
    user, rank = np.nonzero(shown)
    columns = {
      "user": outputs.labels(names)[user],
      "rank": rank + 1,
      "item": self.items_[items[shown]],
      "score": scores[shown],
    }
    return models.Predictions(columns, {"item": items, "score": scores})

  def _numbers(self, rows, last=None):
    """Returns histories (n_i,) of items from 1 on, and the items' gaps."""
    histories = [np.array(row + 1, np.int32) for row in rows.values]
    if rows.times is None or self.gap is None:
      return histories, None
    source, gaps = interactions.InteractionSource(gap=self.gap), []
    for user, times in zip(rows.ids or range(len(histories)), rows.times):
      # A continued history has a gap before the first row, too.
      begin = [last[user]] if last and user in last else []
      gaps.append(source.gaps(np.array([*begin, *times]))[len(begin) :])
    return histories, gaps

  def _stamps(self, times, rows):
    """Returns the checked times of given histories; None without `gap`."""
    if self.gap is None and times is None:
      return None
    if self.gap is None:
      expected = "None: without gap= in training the network reads no times"
      raise validate.error("times", f"{len(times)} entries", expected)
    if times is None or len(times) != len(rows):
      got = None if times is None else f"{len(times)} entries"
      expected = f"the times of each of the {len(rows)} histories"
      raise validate.error("times", got, expected)
    stamps = []
    for number, (one, row) in enumerate(zip(times, rows)):
      name = f"times[{number}]"
      _refuse_text(name, one)
      if len(one) != len(row):
        expected = f"one for each of the {len(row)} items"
        raise validate.error(name, f"{len(one)} times", expected)
      at = item_rows.stamps(
        one, lambda n, name=name: f"{name}[{n}]", self._dated
      )
      if (at[1:] < at[:-1]).any():
        raise validate.error(name, list(one), "times that do not fall")
      stamps.append(at)
    return stamps

  def _check_later(self, rows):
    """Rejects rows before the last one of their user."""
    name = f"X: {self.columns[2]}"
    for user, times in zip(rows.ids, rows.times):
      if _time_stamps.are_dates(times) != self._dated:
        expected = f"{'dates' if self._dated else 'numbers'}, as in training"
        raise validate.error(name, f"dtype {times.dtype}", expected)
      last = self._histories.last.get(user, times[0])
      _check_order(name, _plain(times[0]), last, times[0], user)

  def _no_pair(self, rows):
    """Returns the error for rows without any pair of consecutive items."""
    count = sum(map(len, rows.values))
    wanted = f"some among the {count} rows, one item after another. Add rows"
    return validate.error("X", "no user with two items", wanted)

  def _read(self, X: Any, *, reset: bool) -> base.Rows:
    users, items, times = item_rows.columns(X, self.columns)
    user, item, time = self.columns
    names = item_rows.users(users, user)
    dated = None if reset or self.gap is None else self._dated
    place = functools.partial(item_rows.place, time)
    stamps = item_rows.stamps(times, place, dated)
    if reset:
      item_rows.check_one_kind(items, item)
      self._dated = _time_stamps.are_dates(stamps)
      self.items_ = np.unique(items)
      by_name = {str(one): n for n, one in enumerate(self.items_)}
      self._number = by_name | {one: n for n, one in enumerate(self.items_)}
    numbers = list(map(self._place, items))
    if None in numbers:
      row = numbers.index(None)
      expected = "an item of the training. Leave such rows out, or fit again"
      name = item_rows.place(item, row)
      raise validate.error(name, _plain(items[row]), expected)
    ids, rows = _row_groups.group(names, stamps)
    values = [np.array(numbers)[row] for row in rows]
    return base.Rows(values, ids=ids, times=[stamps[row] for row in rows])

  def _prepare(
    self, prepared: sources.Source, rows: base.Rows
  ) -> data.ArrayDataset:
    times = None if self.gap is None else rows.times
    return prepared.prepare(rows.values, times=times)

  def _held_back(self, rows: base.Rows) -> float:
    return sum(len(one) > 2 for one in rows.values)

  def _material(
    self,
    rows: base.Rows,
    seed: int | None,
    prepared: sources.Source | None = None,
  ) -> base.Material:
    histories, gaps = self._numbers(rows)
    parts = [np.zeros(len(one), int) for one in histories]
    if self._patience(rows) != 0 and seed is not None:
      for part in parts:
        # One item to read and one to predict remain.
        part[-1:] = len(part) > 2
    train, valid = (
      interactions.examples(histories, parts, number, self.length, gaps)
      for number in (0, 1)
    )
    if train is None:
      raise self._no_pair(rows)
    return self._material_of(train, valid, prepared or self._source())

  def _material_of(self, train, valid, prepared):
    """Returns the material of ready examples."""
    splits = self._splits(train, valid, prepared)
    example = data.take(train, slice(0, 1))
    return base.Material(splits, len(train.inputs), prepared, example)

  def _splits(self, train, valid, prepared):
    """Returns splits of examples, with a placeholder for the test set."""
    count = len(self.items_)
    info = data.Info(
      "Items handed to an estimator.",
      "memory",
      "",
      num_classes=count + 1,
      vocab_size=count + 1,
      preparation=prepared,
    )
    return data.Splits(train, valid, train if valid is None else valid, info)

  def _source(self) -> interactions.InteractionSource:
    """Returns the preparation for frames and files, with training's columns."""
    user, item, time = self.columns
    return interactions.InteractionSource(
      items=tuple(map(str, self.items_)),
      gap=self.gap,
      reader="interaction_table",
      user=user,
      item=item,
      time=time,
    )

  def _problem(self, arm: Any, source: Any) -> Any:
    problem = super()._problem(arm, source)
    if hasattr(self, "model_"):
      # An update resumes from the fitted variables.
      variables = self.model_.variables
      problem.init = lambda key: variables
    return problem

  def _configure(self, batch_size: int) -> recommendation_arms.ArmConfig:
    validate.choice("loss", self.loss, ("full", "sampled", "gbce"))
    return recommendation_arms.ArmConfig(
      self._network("none"),
      self._recipe(),
      batch_size,
      loss=self.loss,
      negatives=self.negatives,
      gaps=self.gap is not None,
    )


def _refuse_text(name, value):
  """Rejects a text or a number if a list is expected."""
  if isinstance(value, str) or not hasattr(value, "__iter__"):
    raise validate.error(name, value, f"a list, such as [{value!r}]")


def _plain(value):
  """Converts a NumPy scalar to a Python value, for messages."""
  if isinstance(value, np.datetime64):
    return str(value)
  return value.item() if isinstance(value, np.generic) else value


def _check_order(name, got, last, stamp, user):
  """Rejects a time before the last one of its user."""
  if stamp < last:
    expected = f"a time from {last} on, that of the last item of user {user!r}"
    raise validate.error(name, got, expected)
