"""Events in continuous time, as an estimator."""

from collections.abc import Sequence
import dataclasses
import functools
import numbers
from typing import Any
from typing import Self
from typing import final

import jax
import numpy as np

from jaxseq import data
from jaxseq import models
from jaxseq import validate
from jaxseq.data import _event_streams
from jaxseq.data import _time_stamps
from jaxseq.data import sources
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.tasks import events
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_likelihood
from jaxseq.tasks.events import event_sequences


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class EventModel(base.SequenceEstimator):
  """Marked temporal point processes: when is the next event, and which?

    model = EventModel().fit(times, marks)
    model.predict(times_new, marks_new)["gap_50%"]

  Args:
    OPTIONS
    components: number of log-normal components in the mixture of the next gap.
    observed_until: default for the argument of `fit`.
    start: start of observation of all sequences, a number or a date. If None it
      is 0, or for dates the last whole unit before the first event.

  Attributes:
    classes_: marks, in the order of their probabilities.
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_nll", nats per event.
    n_updates_: number of updates at which the variables were found.
  """

  _task = events.TASK

  mixer: str = "gru"
  _: dataclasses.KW_ONLY
  components: int = 16
  observed_until: Any = None
  start: Any = None

  @final
  def fit(
    self,
    times: Sequence[Any],
    marks: Sequence[Any] | None = None,
    *,
    observed_until: Any = None,
  ) -> Self:
    """Trains a network from scratch.

    Args:
      times: for each sequence the times of its events, increasing: numbers from
        `start` on, or dates.
      marks: for each sequence the marks of its events; one mark if None.
      observed_until: end of observation of the sequences, a time like those of
        the events, or one for each sequence. If None it is the parameter of
        that name, or else the last event of all.

    Raises:
      ValueError: naming the invalid input.
    """
    return self._fit(times, marks, self._until(observed_until))

  @final
  def predict(
    self, times: Sequence[Any], marks: Sequence[Any] | None = None
  ) -> models.Predictions:
    """Predicts the event after each event, the last one included.

    Args:
      times: as in `fit`; sequences may be longer than the training's.
      marks: as in `fit`.

    Returns:
      Named columns, see docs/predictions.md; the rows without a "gap" predict
      the event after the last one of each sequence.
    """
    return self.predictions(times, marks)

  def score(
    self,
    times: Sequence[Any],
    marks: Sequence[Any] | None = None,
    *,
    observed_until: Any = None,
  ) -> float:
    """Returns the mean log likelihood in nats per event; higher is better.

    It includes the time without events from a sequence's last event to its end
    of observation.

    Args:
      times: as in `fit`.
      marks: as in `fit`.
      observed_until: as in `fit`, for these sequences.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    until = self._until(observed_until)
    rows = self._read(times, marks, until, reset=False)
    prepared = self.model_.preparation
    part = event_sequences.sequences(self._prepare(prepared, rows))
    ends = prepared.ends_of(rows.times, rows.until)
    part = part._replace(until=ends.astype(np.float32))
    arrays = self.model_.variables, part, float(ends.max())
    return -float(_score(self.model_.network, *arrays))

  def _until(self, observed_until: Any) -> Any:
    """Returns the end of observation, given here or as a parameter."""
    return self.observed_until if observed_until is None else observed_until

  def _read(
    self, times: Any, marks: Any = None, until: Any = None, *, reset: bool
  ) -> base.Rows:
    stamps, kinds, words = read(times, marks, self.start)
    if reset:
      self.classes_ = classes_of(kinds)
    check_known(words, self.classes_)
    names = tuple(map(str, range(len(stamps))))
    return base.Rows(
      words, ids=names, times=stamps, until=since(until, self.start)
    )

  def _held_back(self, rows: base.Rows) -> float:
    if len(rows.values) < 2:
      return 0
    return sum(map(len, rows.values)) * self.validation_fraction

  def _preparation(self, rows: base.Rows, train: np.ndarray) -> sources.Source:
    del train
    return source_of(rows.times or (), self.classes_, rows.until, self.start)

  def _prepare(
    self, prepared: sources.Source, rows: base.Rows
  ) -> data.ArrayDataset:
    part = super()._prepare(prepared, rows)
    if np.ndim(rows.until) == 0:
      return part
    ends = prepared.ends_of(rows.times, rows.until)
    extras = part.extras._replace(until=ends.astype(np.float32))
    return part._replace(extras=extras)

  def _configure(self, batch_size: int) -> event_arms.ArmConfig:
    return event_arms.ArmConfig(
      self._network("none"),
      self._recipe(),
      batch_size,
      components=self.components,
      from_shares=True,
    )


def read(
  times: Sequence[Any], marks: Sequence[Any] | None, start: Any = None
) -> tuple[list[np.ndarray], list[np.ndarray], list[list[str]]]:
  """Returns times of sequences, a mark for each event, and the marks' names.

  Args:
    times: see `EventModel.fit`.
    marks: see `EventModel.fit`.
    start: number to subtract from times that are numbers.

  Raises:
    ValueError: if times or marks are not sequences, times are neither finite
      numbers nor dates, count from long before the first event, or are missing,
      or the numbers of marks and times differ.
  """
  stamps = [np.asarray(row) for row in times]
  for number, row in enumerate(stamps):
    name = f"times[{number}]"
    if row.ndim != 1:
      expected = "a sequence of times for each stream: [times] for one stream"
      raise validate.error(name, f"shape {row.shape}", expected)
    if row.dtype.kind in "USO":
      for text in row:
        if isinstance(text, str | bytes):
          expected = "numbers or dates (np.datetime64), no text"
          raise validate.error(name, text[:40], expected)
    elif not (finite := np.isfinite(row)).all():
      raise validate.error(name, str(row[~finite][0]), "finite times")
  if not any(map(len, stamps)):
    raise ValueError("times: got no events. Pass sequences with some.")
  stamps = _since_start(stamps, start)
  if marks is None:
    marks = [np.zeros(len(row), np.int32) for row in stamps]
  kinds = list(map(np.asarray, marks))
  for number, row in enumerate(kinds):
    if row.ndim != 1:
      expected = "a sequence of marks for each stream: [marks] for one stream"
      raise validate.error(f"marks[{number}]", f"shape {row.shape}", expected)
  if list(map(len, kinds)) != list(map(len, stamps)):
    raise ValueError(
      "marks: got other numbers of events than times, expected one mark each."
    )
  return stamps, kinds, [list(map(_word, row)) for row in kinds]


def _since_start(stamps, start):
  """Subtracts a numeric start from times; dates are returned as they are."""
  filled = [n for n, row in enumerate(stamps) if len(row)]
  dated = [
    _time_stamps.are_dates(_time_stamps.as_array(stamps[n])) for n in filled
  ]
  for number, one in zip(filled, dated):
    if one != dated[0]:
      got, expected = ("dates", "numbers") if one else ("numbers", "dates")
      expected = f"{expected}, as in times[{filled[0]}]"
      raise validate.error(f"times[{number}]", got, expected)
  if dated[0]:
    return stamps
  stamps = [since(row, start) for row in stamps]
  if start is None:
    _event_streams.check_start(stamps, lambda number: f"times[{number}]")
  return stamps


def since(times: Any, start: Any) -> Any:
  """Subtracts a numeric start from times; otherwise returns them unchanged."""
  if times is None or not isinstance(start, numbers.Real):
    return times
  return np.asarray(times, np.float64) - float(start)


def source_of(
  times: Sequence[Any], classes: np.ndarray, until: Any, start: Any
) -> sources.EventSource:
  """Returns the source of sequences, see `read`.

  Args:
    times: times, as from `read`.
    classes: the marks.
    until: see `EventModel.fit`, minus the start.
    start: see `EventModel`.

  Raises:
    ValueError: if an event comes after the end, or the start is not a time like
      those of the events.
  """
  fields = {}
  if start is not None and not isinstance(start, numbers.Real):
    stamps = np.concatenate([row for row in times if len(row)])
    if stamps.dtype.kind not in "OM":
      raise validate.error("start", start, "a number, as the times are")
    fields["start"] = str(start)
  names = tuple(map(_word, classes))
  return sources.EventSource.of_arrays(times, names, until, **fields)


def check_known(words: Sequence[Sequence[str]], classes: np.ndarray) -> None:
  """Raises ValueError if an event has a mark that was not in training."""
  known = set(map(_word, classes))
  for number, row in enumerate(words):
    for word in row:
      if word not in known:
        expected = (
          f"one of {sorted(known)}, as in training. Leave such events out, or "
          "fit with some of them"
        )
        raise validate.error(f"marks[{number}]", word, expected)


def classes_of(marks: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the distinct marks of sequences, which may be empty."""
  # An empty float array would convert all integers to floats.
  return np.unique(np.concatenate([row for row in marks if len(row)]))


def _word(mark):
  """The name of a mark; whole numbers are named like integers."""
  if isinstance(mark, float | np.floating) and float(mark).is_integer():
    mark = int(mark)
  return str(mark)


@functools.partial(jax.jit, static_argnums=0)
def _score(network, variables, sequences, until):
  """Negative log likelihood in nats per event."""
  outputs = network.apply(
    variables, *event_likelihood.network_inputs(sequences, until)
  )
  terms = event_likelihood.log_likelihood(outputs, sequences, until)
  return event_likelihood.per_event(terms, sequences.lengths)[0]
