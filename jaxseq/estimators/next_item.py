"""The next items of users, as an estimator."""

from collections.abc import Hashable
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Self
from typing import final

import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq import models
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import series_frames
from jaxseq.data import sources
from jaxseq.data.sources import interactions
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.tasks import recommendation
from jaxseq.tasks.items import item_streams
from jaxseq.tasks.items import recommendation_arms


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class NextItem(base.SequenceEstimator):
  """Recommends what users take next, by what they have taken.

    model = NextItem().fit(frame)  # with the columns user, item and time
    model.recommend(["anna"], k=5)
    model.recommend_for([["Heat", "Ran"]], k=5)  # of users never seen
    model.update("anna", "Heat")  # in constant time

  X, wherever it stands, is a frame of pandas with a row for each item that a
  user has taken, or the three columns user, item and time themselves. Rows of a
  user at one time stay in their order.

  Args:
    OPTIONS
    length: items of the pieces that training reads.
    loss: see `tasks.items.recommendation_arms.Options`, as `negatives`.
    negatives: items of a sample, with another loss than "full".
    gap: the time, of dates in seconds, that the gaps between items are counted
      in, for a mixer that reads them; None leaves times out.
    columns: names of the columns of a frame.

  Attributes:
    items_: what can be recommended.
    model_: a `models.Model`, which reads the newest `length` items.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_ndcg_10", of the last item of each user.
    n_updates_: updates after which the variables were found.
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
    """Trains a network from the beginning, and reads what users have taken.

    Args:
      X: see the class.
      y: not used.

    Raises:
      ValueError: naming what is not as expected.
    """
    del y
    self._fit(X)
    self._stream = users = item_streams.Users(
      self.model_.network, self.model_.variables
    )
    rows = self._read(X, reset=False)
    histories, gaps = self._numbers(rows)
    users.fill(rows.ids, histories, gaps)
    self._last = {
      user: stamps[-1] for user, stamps in zip(rows.ids, rows.times or ())
    }
    return self

  @final
  def predict(self, X: Any) -> models.Predictions:
    """Recommends ten items to each user of X, by X alone.

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
    """Recommends items to users of the training, and of `update`.

    Args:
      users: which; all if None.
      k: items of each; there are fewer where no other is left.
      filter_viewed: whether what a user has taken is left out.
      items: those that may be recommended; all if None.

    Returns:
      The columns "user", "rank" from 1 on, "item" and "score", the log
      probability among all items.

    Raises:
      ValueError: if a user or an item is not known.
    """
    stream = self._users()
    _refuse_text("users", users)
    names = list(self._last if users is None else users)
    best = stream.recommend(names, k, not filter_viewed, self._allowed(items))
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
      histories: of each the items so far, at least one, as the network says
        nothing before it has read an item.
      k: as of `recommend`.
      times: of each when the items were taken, with `gap`.
      filter_viewed: as of `recommend`, as `items`.
      items: likewise.

    Returns:
      As `recommend`; users are numbers from 0 on.

    Raises:
      ValueError: if an item is not known, or a history is empty.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    _refuse_text("histories", histories)
    for number, one in enumerate(histories):
      _refuse_text(f"histories[{number}]", one)
      if not len(one):
        expected = "at least one item: before it the network says nothing"
        raise _validate.error(f"histories[{number}]", list(one), expected)
    if not len(histories):
      raise _validate.error("histories", list(histories), "at least one")
    words = [list(map(str, one)) for one in histories]
    rows = base.Rows(words, times=None if self.gap is None else times)
    histories, gaps = self._numbers(rows)
    arrays = self.model_.network, self.model_.variables
    features = item_streams.features_of(*arrays, histories, gaps)
    taken = [set(map(int, one)) if filter_viewed else () for one in histories]
    allowed = self._allowed(items)
    best = item_streams.best(*arrays, features, taken, k, allowed)
    return self._listed(range(len(histories)), *best)

  def update(self, user: Hashable, item: Any, time: Any = None) -> Self:
    """Reads one more item of a user, who may be new, in constant time.

    Args:
      user: name.
      item: one of `items_`.
      time: of it, with `gap`.

    Raises:
      ValueError: if the item is not known.
    """
    stream, gap = self._users(), None
    (number,) = self._places([item])
    if self.gap is not None:
      stamp = _time_stamps.as_array([time])[0]
      since = np.array([self._last.get(user, stamp), stamp])
      gap = float(self.model_.preparation.gaps(since)[1])
      self._last[user] = stamp
    self._last.setdefault(user, None)
    stream.update(user, int(number) + 1, gap)
    return self

  def score(self, X: Any, y: Any = None) -> float:
    """Returns NDCG@10 of the last item of each user of X, by those before.

    Others of those before do not compete. A last item that is one of them does,
    though `recommend` leaves it out unless `filter_viewed` is False.
    """
    del y
    _scikit_learn.validation.check_is_fitted(self, "model_")
    histories, gaps = self._numbers(self._read(X, reset=False))
    parts = [np.arange(len(one)) // max(len(one) - 1, 1) for one in histories]
    part = interactions.examples(histories, parts, 1, self.length, gaps)
    if part is None:
      raise _validate.error("X", "no user with two items", "some")
    problem = self._task.problem(
      self._configure(1), data.Splits(part, None, part, self._info), None
    )
    found = problem.scores(self.model_.variables, part)[0]
    return float(found["ndcg_10"])

  def _users(self) -> item_streams.Users:
    """The states of users."""
    _scikit_learn.validation.check_is_fitted(self, "model_")
    return self._stream

  def _places(self, items):
    """The numbers of items, from 0 on."""
    words = [str(item) for item in items]
    unknown = [word for word in words if word not in self._number]
    if unknown:
      raise _validate.error("items", unknown[0], "one of the training")
    return np.array([self._number[word] for word in words], int)

  def _allowed(self, items):
    """The mask (items,) of those that may be recommended; None if all may."""
    if items is None:
      return None
    _refuse_text("items", items)
    allowed = np.zeros(len(self.items_), bool)
    allowed[self._places(items)] = True
    return allowed

  def _listed(self, names, items, scores):
    """Columns of the best items (n, k) of users."""
    shown = np.isfinite(scores)
    user, rank = np.nonzero(shown)
    columns = {
      "user": np.array(list(names))[user],
      "rank": rank + 1,
      "item": self.items_[items[shown]],
      "score": scores[shown],
    }
    return models.Predictions(columns, {"item": items, "score": scores})

  def _numbers(self, rows):
    """Histories (n_i,) of rows, from 1 on, and the gaps before the items."""
    histories = [
      (self._places(row) + 1).astype(np.int32) for row in rows.values
    ]
    if rows.times is None or self.gap is None:
      return histories, None
    source = interactions.InteractionSource(gap=self.gap)
    return histories, [source.gaps(one) for one in rows.times]

  def _read(self, X: Any, *, reset: bool) -> base.Rows:
    if series_frames.is_frame(X):
      lacking = [name for name in self.columns if name not in X.columns]
      if lacking:
        expected = (
          f"one {lacking[0]!r} among them; other names are told by "
          "NextItem(columns=(USER, ITEM, TIME))"
        )
        raise _validate.error("X: columns", list(X.columns), expected)
      X = [X[name].to_numpy() for name in self.columns]
    if len(X) != 3 or len({len(column) for column in X}) != 1:
      lengths = [len(column) for column in X[:4]]
      expected = "a frame, or three of one length: user, item and time"
      raise _validate.error("X: lengths of columns", lengths, expected)
    for name, column in zip(self.columns, X):
      row = next((n for n, x in enumerate(column) if _is_missing(x)), None)
      if row is not None:
        raise ValueError(
          f"X: {name}, row {row}: got nothing, expected a value."
        )
    users, items, times = map(np.asarray, X)
    if not len(users):
      raise _validate.error("X", "no rows", "at least one")
    if reset:
      self.items_ = np.unique(items)
      self._number = {str(item): n for n, item in enumerate(self.items_)}
    stamps = _stamps(times, self.columns[2])
    ids, rows = _row_groups.group(users.tolist(), stamps)
    words = [[str(word) for word in items[row]] for row in rows]
    return base.Rows(words, ids=ids, times=[stamps[row] for row in rows])

  def _prepare(
    self, prepared: sources.Source, rows: base.Rows
  ) -> data.ArrayDataset:
    times = None if self.gap is None else rows.times
    return prepared.prepare(rows.values, times=times)

  def _material(
    self,
    rows: base.Rows,
    seed: int | None,
    prepared: sources.Source | None = None,
  ) -> base.Material:
    prepared = prepared or interactions.InteractionSource(
      items=tuple(self._number), gap=self.gap
    )
    histories, gaps = self._numbers(rows)
    parts = [np.zeros(len(one), int) for one in histories]
    if self.early_stopping and seed is not None:
      for part in parts:
        # One to read and one to predict are left.
        part[-1:] = len(part) > 2
    train, valid = (
      interactions.examples(histories, parts, number, self.length, gaps)
      for number in (0, 1)
    )
    if train is None:
      raise _validate.error("X", "no user with two items", "some")
    count = len(self.items_)
    self._info = data.Info(
      "Items handed to an estimator.",
      "memory",
      "",
      num_classes=count + 1,
      vocab_size=count + 1,
      preparation=prepared,
    )
    # There is no test set; what stands for it is never looked at.
    held = train if valid is None else valid
    splits = data.Splits(train, valid, held, self._info)
    example = data.take(train, slice(0, 1))
    return base.Material(splits, len(train.inputs), prepared, example)

  def _configure(self, batch_size: int) -> recommendation_arms.ArmConfig:
    return recommendation_arms.ArmConfig(
      self._network("none"),
      self._recipe(),
      batch_size,
      loss=self.loss,
      negatives=self.negatives,
      gaps=self.gap is not None,
    )


def _refuse_text(name, value):
  """Refuses a text that stands where a list is expected."""
  if isinstance(value, str):
    raise _validate.error(name, value, f"a list, such as [{value!r}]")


def _is_missing(value):
  """Tells of an empty cell: None, NaN, NaT or pandas' NA."""
  try:
    # NaN and NaT are not themselves, and pandas' NA does not say.
    return value is None or bool(value != value)
  except TypeError:
    return True


def _stamps(times, column):
  """The times (n,) of rows, of which the first that is none is named."""
  try:
    return _time_stamps.as_array(times)
  except (TypeError, ValueError):
    for row, time in enumerate(times.tolist()):
      try:
        _time_stamps.as_array(np.array([time], times.dtype))
      except (TypeError, ValueError) as error:
        expected = "a number, or a date such as 2024-01-31 23:59"
        name = f"X: {column}, row {row}"
        raise _validate.error(name, time, expected) from error
    raise
