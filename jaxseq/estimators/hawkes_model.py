"""Exponential Hawkes processes as an estimator."""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Self

import jax
import numpy as np

from jaxseq import validate
from jaxseq.data import point_processes
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import event_estimator
from jaxseq.tasks.events import future_baselines
from jaxseq.tasks.events import hawkes_fit
from jaxseq.tasks.events import metrics as event_metrics


@dataclasses.dataclass(eq=False, repr=False)
class HawkesModel(_scikit_learn.base.BaseEstimator):
  """A Hawkes process by maximum likelihood: which event causes which?

    model = HawkesModel().fit(times, marks)
    model.a_[model.classes_ == "buy"], model.standard_errors_.a

  The intensity of mark k is mu[k] + sum over earlier events (t, j) of a[k, j] b
  exp(-b (now - t)): a[k, j] is the mean number of events k that an event j
  causes. There is no network and no randomness; with few events it is the
  baseline that a network has to be compared with.

  Args:
    b: decay rate; fitted if None.
    observed_until: see `fit`, whose argument overrides it.
    start: when the observation of all sequences begins, see `EventModel`.

  Attributes:
    classes_: mark names, in the order of mu_ and a_.
    mu_: (marks,) base intensities.
    a_: (marks, marks) mean numbers of caused events.
    b_: decay rate.
    standard_errors_: a `hawkes_fit.Parameters` of standard errors, by the
      Hessian; NaN if a parameter was fixed or is 0.
    spectral_radius_: spectral radius of a_; events die out if it is below 1.
    log_likelihood_: log likelihood of the training events, in nats.
  """

  b: float | None = None
  _: dataclasses.KW_ONLY
  observed_until: Any = None
  start: Any = None

  def fit(
    self,
    times: Sequence[object],
    marks: Sequence[object] | None = None,
    *,
    observed_until: object = None,
  ) -> Self:
    """Fits the process.

    Args:
      times: for each sequence the times of its events, see `EventModel.fit`.
      marks: for each sequence the marks of its events; one mark if None.
      observed_until: when the observation of the sequences ends, see
        `EventModel.fit`.

    Raises:
      ValueError: naming the invalid input.
    """
    stamps, kinds, words = event_estimator.read(times, marks, self.start)
    self.classes_ = event_estimator.classes_of(kinds)
    until = self._until(observed_until)
    self._source = event_estimator.source_of(
      stamps, self.classes_, until, self.start
    )
    packed = self._packed(stamps, words, until)
    fit = hawkes_fit.fit(packed, len(self.classes_), self.b)
    self.mu_, self.a_, self.b_ = fit.parameters
    self.standard_errors_ = fit.errors
    self.spectral_radius_ = fit.spectral_radius
    self.log_likelihood_ = fit.log_likelihood
    return self

  @property
  def process_(self) -> point_processes.Hawkes:
    """Returns the process, to simulate if its spectral radius is below 1."""
    _scikit_learn.validation.check_is_fitted(self, "a_")
    if self.spectral_radius_ >= 1:
      raise ValueError(
        f"spectral_radius_: got {self.spectral_radius_:.3f}, expected below 1 "
        "to simulate, or events never cease to cause events. Use "
        "expected_counts, or fit more sequences or longer ones."
      )
    mu, a = map(np.ndarray.tolist, (self.mu_, self.a_))
    return point_processes.Hawkes(tuple(mu), tuple(map(tuple, a)), self.b_)

  def score(
    self,
    times: Sequence[Any],
    marks: Sequence[Any] | None = None,
    *,
    observed_until: Any = None,
  ) -> float:
    """Returns the mean log likelihood in nats per event; higher is better.

    As in `log_likelihood_`, an event at time 0 begins the observation, and is
    not scored itself.

    Args:
      times: as in `fit`.
      marks: as in `fit`.
      observed_until: as in `fit`, for these sequences.
    """
    stamps, words = self._checked(times, marks)
    packed = self._packed(stamps, words, self._until(observed_until))
    with jax.enable_x64(True):
      nats = hawkes_fit.log_likelihood(self._parameters, packed)
    return float(nats) / len(packed.gap)

  def expected_counts(
    self,
    times: Sequence[object],
    marks: Sequence[object] | None = None,
    *,
    edges: Sequence[float],
  ) -> np.ndarray:
    """Returns the expected event counts after the last event of each sequence.

    Args:
      times: as in `fit`, with an event in each sequence.
      marks: as in `fit`.
      edges: ends of intervals after the last event, increasing; the first
        begins there.

    Returns:
      (sequences, intervals, marks) float64, by the closed form, valid for any
      spectral radius.

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
      raise validate.error("edges", ends.tolist(), expected)
    events = self._events(*self._checked(times, marks))
    if not events.lengths.all():
      name = f"times[{int(np.argmin(events.lengths))}]"
      expected = "one or more. Leave out sequences without events"
      raise validate.error(name, "no event", expected)
    rows, last = np.arange(len(events.lengths)), events.lengths - 1
    places = event_metrics.Places(rows, last, events.times[rows, last])
    return future_baselines.expected_counts(
      self._parameters, events, places, edges
    )

  @property
  def _parameters(self):
    return hawkes_fit.Parameters(self.mu_, self.a_, self.b_)

  def _until(self, observed_until):
    """Returns the observation's end, relative to the start, or None."""
    until = self.observed_until if observed_until is None else observed_until
    return event_estimator.since(until, self.start)

  def _checked(self, times, marks):
    """Returns the checked times and marks of other sequences."""
    _scikit_learn.validation.check_is_fitted(self, "a_")
    stamps, _, words = event_estimator.read(times, marks, self.start)
    event_estimator.check_known(words, self.classes_)
    return stamps, words

  def _packed(self, stamps, words, until):
    """Returns events with the ends of their observation."""
    events = self._events(stamps, words)
    ends = self._source.ends_of(stamps, until)
    # Sums of gaps are rounded.
    return hawkes_fit.pack(events, np.maximum(ends, events.times.max(axis=1)))

  def _events(self, stamps, words):
    """Returns events, encoded by the training's preparation."""
    part = self._source.prepare(words, times=stamps)
    # Times are sums of gaps, which are more precise.
    times = np.cumsum(part.inputs[..., 0], axis=1, dtype=np.float64)
    horizon = max(self._source.horizon, float(times.max()))
    return point_processes.Events(times, part.targets, part.lengths, horizon)
