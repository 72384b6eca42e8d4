"""Events in continuous time, as an estimator."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any
from typing import Self
from typing import final

import jax
import numpy as np

from jaxseq import _validate
from jaxseq import models
from jaxseq.data import sources
from jaxseq.estimators import base
from jaxseq.tasks import events
from jaxseq.tasks.point_processes import event_arms
from jaxseq.tasks.point_processes import event_likelihood
from jaxseq.tasks.point_processes import event_sequences


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class EventModel(base.SequenceEstimator):
  """Marked temporal point processes: when is the next event, and which?

    model = EventModel().fit(times, marks)
    model.predict(times_new, marks_new)["gap_expected"]

  Args:
    OPTIONS
    components: log-normal distributions in the mixture of the next gap.
    observed_until: when the observation of all sequences ends; the last event
      of all if None.

  Attributes:
    classes_: marks, in the order of their probabilities.
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_nll", nats per event.
    n_updates_: updates after which the variables were found.
  """

  _task = events.TASK

  mixer: str = "gru"
  _: dataclasses.KW_ONLY
  components: int = 16
  observed_until: float | None = None
  num_layers: int = 1

  @final
  def fit(
    self, times: Sequence[Any], marks: Sequence[Any] | None = None
  ) -> Self:
    """Trains a network from the beginning.

    Args:
      times: for each sequence the times of its events, increasing: numbers
        since the observation began, from 0 on, or dates.
      marks: for each sequence the marks of its events; all alike if None.

    Raises:
      ValueError: naming what is not as expected.
    """
    return self._fit(times, marks)

  @final
  def predict(
    self, times: Sequence[Any], marks: Sequence[Any] | None = None
  ) -> models.Predictions:
    """Predicts the event after each event, and the one that is to come.

    Args:
      times: as in `fit`; sequences may go on after the end of training's.
      marks: as in `fit`.

    Returns:
      Named columns, see docs/predictions.md; the rows without a "gap" are what
      follows the last event of each sequence.
    """
    return self.predictions(times, marks)

  def score(
    self, times: Sequence[Any], marks: Sequence[Any] | None = None
  ) -> float:
    """Returns the mean log likelihood in nats per event; higher is better."""
    part = event_sequences.sequences(self._examples(times, marks).dataset)
    until = max(self.model_.preparation.horizon, float(np.max(part.times)))
    nats = _score(self.model_.network, self.model_.variables, part, until)
    return -float(nats)

  def _read(self, times: Any, marks: Any = None, *, reset: bool) -> base.Rows:
    stamps, kinds, words = read(times, marks)
    if reset:
      self.classes_ = np.unique(np.concatenate(kinds))
    names = tuple(map(str, range(len(stamps))))
    return base.Rows(words, ids=names, times=stamps)

  def _preparation(self, rows: base.Rows, train: np.ndarray) -> sources.Source:
    del train
    return sources.EventSource.of_arrays(
      rows.times or (),
      tuple(map(str, self.classes_)),
      self.observed_until,
    )

  def _configure(self, batch_size: int) -> event_arms.ArmConfig:
    return event_arms.ArmConfig(
      self._network("none"),
      self._recipe(),
      batch_size,
      components=self.components,
    )


def read(
  times: Sequence[Any], marks: Sequence[Any] | None
) -> tuple[list[np.ndarray], list[np.ndarray], list[list[str]]]:
  """Returns times of sequences, a mark for each event, and the marks' names.

  Raises:
    ValueError: if times or marks are no sequences, times are neither finite
      numbers nor dates, there are none, or marks are of other numbers.
  """
  stamps = [np.asarray(row) for row in times]
  for number, row in enumerate(stamps):
    name = f"times[{number}]"
    if row.ndim != 1:
      expected = "a sequence of times for each stream: [times] for one stream"
      raise _validate.error(name, f"shape {row.shape}", expected)
    if row.dtype.kind in "USO":
      for text in row:
        if isinstance(text, str | bytes):
          expected = "numbers or dates (np.datetime64), no text"
          raise _validate.error(name, text[:40], expected)
    elif not (finite := np.isfinite(row)).all():
      raise _validate.error(name, str(row[~finite][0]), "finite times")
  if not any(map(len, stamps)):
    raise ValueError("times: got no events, expected sequences with some.")
  if marks is None:
    marks = [np.zeros(len(row), np.int32) for row in stamps]
  kinds = list(map(np.asarray, marks))
  for number, row in enumerate(kinds):
    if row.ndim != 1:
      expected = "a sequence of marks for each stream: [marks] for one stream"
      raise _validate.error(f"marks[{number}]", f"shape {row.shape}", expected)
  if list(map(len, kinds)) != list(map(len, stamps)):
    raise ValueError(
      "marks: got other numbers of events than times, expected one mark each."
    )
  return stamps, kinds, [list(map(str, row)) for row in kinds]


@functools.partial(jax.jit, static_argnums=0)
def _score(network, variables, sequences, until):
  """Negative log likelihood in nats per event."""
  outputs = network.apply(
    variables, *event_likelihood.network_inputs(sequences, until)
  )
  terms = event_likelihood.log_likelihood(outputs, sequences, until)
  return event_likelihood.per_event(terms, sequences.lengths)[0]
