"""Exponential Hawkes processes as an estimator."""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Self

import jax
import numpy as np

from jaxseq import _validate
from jaxseq.data import point_processes
from jaxseq.data import sources
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import event_estimator
from jaxseq.tasks.point_processes import event_floors
from jaxseq.tasks.point_processes import event_metrics
from jaxseq.tasks.point_processes import hawkes_fit


@dataclasses.dataclass(eq=False, repr=False)
class HawkesModel(_scikit_learn.base.BaseEstimator):
  """A Hawkes process by maximum likelihood: which event causes which?

    model = HawkesModel().fit(times, marks)
    model.a_[model.classes_ == "buy"], model.standard_errors_.a

  The intensity of mark k is mu[k] + sum over earlier events (t, j) of
  a[k, j] b exp(-b (now - t)): a[k, j] is the mean number of events k that an
  event j causes. There is no network and nothing random; with few events it is
  what a network has to be compared with.

  Args:
    b: rate of decay; it is fitted if None.
    observed_until: when the observation of all sequences ends; the last event
      of all if None.

  Attributes:
    classes_: marks, in the order of mu_ and a_.
    mu_: (marks,) base intensities.
    a_: (marks, marks).
    b_: rate of decay.
    standard_errors_: a `hawkes_fit.Parameters` of them, by the Hessian; NaN
      where a parameter was fixed or is 0.
    spectral_radius_: of a_; events die out where it is below 1.
    log_likelihood_: of the training events, in nats.
  """

  b: float | None = None
  _: dataclasses.KW_ONLY
  observed_until: float | None = None

  def fit(
    self, times: Sequence[Any], marks: Sequence[Any] | None = None
  ) -> Self:
    """Fits the process.

    Args:
      times: for each sequence the times of its events, see `EventModel.fit`.
      marks: for each sequence the marks of its events; all alike if None.

    Raises:
      ValueError: naming what is not as expected.
    """
    stamps, kinds, words = event_estimator.read(times, marks)
    self.classes_ = np.unique(np.concatenate(kinds))
    self._source = sources.EventSource.of_arrays(
      stamps, tuple(map(str, self.classes_)), self.observed_until
    )
    packed = hawkes_fit.pack(self._events(stamps, words))
    fit = hawkes_fit.fit(packed, len(self.classes_), self.b)
    self.mu_, self.a_, self.b_ = fit.parameters
    self.standard_errors_ = fit.errors
    self.spectral_radius_ = fit.spectral_radius
    self.log_likelihood_ = fit.log_likelihood
    return self

  @property
  def process_(self) -> point_processes.Hawkes:
    """The process, which simulates; its radius is below 1."""
    _scikit_learn.validation.check_is_fitted(self, "a_")
    mu, a = map(np.ndarray.tolist, (self.mu_, self.a_))
    return point_processes.Hawkes(tuple(mu), tuple(map(tuple, a)), self.b_)

  def score(
    self, times: Sequence[Any], marks: Sequence[Any] | None = None
  ) -> float:
    """Returns the mean log likelihood in nats per event; higher is better.

    It is that of `log_likelihood_`: an event at time 0 begins the observation,
    and is not scored itself.
    """
    packed = hawkes_fit.pack(self._checked(times, marks))
    parameters = hawkes_fit.Parameters(self.mu_, self.a_, self.b_)
    with jax.enable_x64(True):
      nats = hawkes_fit.log_likelihood(parameters, packed)
    return float(nats) / len(packed.gap)

  def expected_counts(
    self,
    times: Sequence[Any],
    marks: Sequence[Any] | None = None,
    *,
    edges: Sequence[float],
  ) -> np.ndarray:
    """Returns how many events are to come after the last of each sequence.

    Args:
      times: as in `fit`, with an event in each sequence.
      marks: as in `fit`.
      edges: ends of intervals after the last event, increasing; the first
        begins there.

    Returns:
      (sequences, intervals, marks) float64, by the closed form.

    Raises:
      ValueError: if edges do not increase, or a sequence has no event.
    """
    ends = np.asarray(edges, np.float64)
    if (
      ends.ndim != 1
      or not ends.size
      or not (np.diff(ends, prepend=0) > 0).all()
    ):
      expected = "numbers above 0 that increase"
      raise _validate.error("edges", ends.tolist(), expected)
    events = self._checked(times, marks)
    if not events.lengths.all():
      name = f"times[{int(np.argmin(events.lengths))}]"
      raise _validate.error(name, "no event", "one or more")
    rows, last = np.arange(len(events.lengths)), events.lengths - 1
    places = event_metrics.Places(rows, last, events.times[rows, last])
    return event_floors.expected_counts(self.process_, events, places, edges)

  def _checked(self, times, marks):
    """Events of another set, with marks that are known."""
    _scikit_learn.validation.check_is_fitted(self, "a_")
    stamps, _, words = event_estimator.read(times, marks)
    return self._events(stamps, words)

  def _events(self, stamps, words):
    """Events by the preparation of the training."""
    part = self._source.prepare(words, times=stamps)
    # Times are the sums of gaps, which are exact to more digits.
    times = np.cumsum(part.inputs[..., 0], axis=1, dtype=np.float64)
    horizon = max(self._source.horizon, float(times.max()))
    return point_processes.Events(times, part.targets, part.lengths, horizon)
