"""Log likelihoods of event sequences under a network, or the true process.

The likelihood of a sequence observed on (0, horizon] is the product of the
densities of its events, times the probability of no event between the last one
and the horizon.
"""

from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.data import point_processes
from jaxseq.nn import masks
from jaxseq.tasks.events import event_calibration
from jaxseq.tasks.events import event_rates
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import network as event_network
from jaxseq.types import PyTree

Array = jax.Array
# Lower bound of the horizon in the minimal time to its end.
_LEAST = 1e-24
# Quantiles of the interval whose coverage is measured.
_ENDS = (0.05, 0.95)
Terms = point_processes.LogDensity


def per_event(terms: Terms, lengths: Array) -> tuple[Array, Array]:
  """Returns negative log likelihoods in nats per event.

  The terms are those of the model, or of the process that made the data; the
  lengths (n,) are numbers of events.

  Returns:
    The sum over all terms, and the sum over the events alone, both divided by
    the number of events. In expectation no model beats the true process in the
    first one only: the end at the horizon makes long gaps rare among events.
  """
  events = jnp.where(
    masks.inside(terms.events.shape[1], lengths), terms.events, 0
  ).sum()
  count = jnp.maximum(lengths.sum(), 1)
  return -(events + terms.tail.sum()) / count, -events / count


def of_events(
  prediction: event_network.Prediction, gaps: Array, marks: Array
) -> Array:
  """Returns predictive log densities (...) of events.

  If an event begins the observation, with a gap of 0, its time is not
  predicted.
  """
  logs = jax.nn.log_softmax(prediction.mark_logits)
  log_mark = jnp.take_along_axis(logs, marks[..., None], axis=-1)[..., 0]
  timed = gaps > 0
  log_gap = prediction.gap.log_density(jnp.where(timed, gaps, 1.0))
  return jnp.where(timed, log_gap, 0.0) + log_mark


def log_likelihood(
  prediction: event_network.Prediction,
  events: event_sequences.Sequences,
  horizon: float,
) -> Terms:
  """Scores predictions of sequences.

  Args:
    prediction: (n, events + 1, ...).
    events: (n, events) arrays.
    horizon: end of observation of the sequences.
  """
  inside = masks.inside(events.gaps.shape[1], events.lengths)
  _, tail = _positive_gaps(events, horizon)
  before = jax.tree.map(lambda x: x[:, :-1], prediction)
  scores = of_events(before, events.gaps, events.marks)
  last = jax.tree.map(
    lambda x: jnp.take_along_axis(x, events.lengths[:, None, None], axis=1),
    prediction.gap,
  )
  survival = last.log_survival(tail[:, None])[:, 0]
  return Terms(jnp.where(inside, scores, 0.0), survival)


def network_inputs(
  batch: event_sequences.Sequences, horizon: float
) -> tuple[event_sequences.Sequences, jax.Array]:
  """Returns the events, and the gaps (n, events + 1) to predict.

  The gap after a sequence's last event is the one to the horizon.
  """
  gap, tail = _positive_gaps(batch, horizon)
  gap = jnp.pad(gap, [(0, 0), (0, 1)], constant_values=1.0)
  # The last event of a short sequence comes before its padding.
  last = jnp.arange(gap.shape[1]) == batch.lengths[:, None]
  return batch, jnp.where(last, tail[:, None], gap)


def score(
  prediction: event_network.Prediction,
  events: event_sequences.Sequences,
  horizon: float,
) -> dict[str, Array]:
  """Returns means over the events of a batch, see `events.Problem.measure`.

  "squared_error", "absolute_error" and "covered" are 0 for events without a
  gap; "timed" is the share of events with one.

  Args:
    prediction: (n, events + 1, ...).
    events: (n, events) arrays.
    horizon: end of observation of the sequences.
  """
  terms = log_likelihood(prediction, events, horizon)
  nll, event_nll = per_event(terms, events.lengths)
  metrics = {"nll": nll, "event_nll": event_nll}
  gap = prediction.gap
  if isinstance(gap, event_rates.Hazard):
    rough = prediction._replace(gap=gap._replace(total=gap.coarse))
    rough = log_likelihood(rough, events, horizon)
    metrics["nll_coarse"], _ = per_event(rough, events.lengths)
  if events.true_events is not None:
    true, _ = per_event(
      Terms(events.true_events, events.true_tail), events.lengths
    )
    for name in set(metrics) - {"event_nll"}:
      metrics[name.replace("nll", "nll_gap")] = metrics[name] - true
  inside = masks.inside(events.gaps.shape[1], events.lengths)
  count = jnp.maximum(events.lengths.sum(), 1)
  before = jax.tree.map(lambda x: x[:, :-1], prediction)
  right = jnp.argmax(before.mark_logits, axis=-1) == events.marks
  timed = inside & (events.gaps > 0)
  scored = of_times(prediction.gap, _asked(events, horizon), horizon)
  # All are divided by the number of events, the weight of batches.
  for name, value in scored.items():
    value = jnp.where(timed, value[:, :-1], 0)
    metrics[name] = value.sum() / count
  metrics["timed"] = timed.sum() / count
  metrics["accuracy"] = jnp.where(inside, right, False).sum() / count
  return metrics


def of_times(
  gap: event_network.Gap, asked: Array, horizon: float
) -> dict[str, Array]:
  """Returns scores (...) of predicted gaps against the true ones.

  They are "squared_error" of the mean of the gap, cut at the horizon as in
  predictions; "absolute_error" of the median; and "covered", 1 if the gap lies
  between the quantiles 0.05 and 0.95.
  """
  later = jnp.exp(gap.log_survival(asked))
  low, high = _ENDS
  return {
    "squared_error": (gap.expectation_until(horizon) - asked) ** 2,
    "absolute_error": jnp.abs(gap.quantile(0.5) - asked),
    "covered": ((later >= 1 - high) & (later <= 1 - low)).astype(jnp.float32),
  }


def per_gap(metrics: dict[str, Array]) -> dict[str, Array]:
  """Converts scores of times to means over gaps.

  Args:
    metrics: with the sums, or means over events, of `of_times`, and "timed".

  Returns:
    The metrics, with "rmse", "median_error" and "coverage" instead of these.
  """
  rest = dict(metrics)
  timed = jnp.maximum(rest.pop("timed"), 1e-9)
  return rest | {
    "rmse": jnp.sqrt(rest.pop("squared_error") / timed),
    "median_error": rest.pop("absolute_error") / timed,
    "coverage": rest.pop("covered") / timed,
  }


def baselines(
  splits: data.Splits, part: Literal["test", "valid"] = "test"
) -> dict[str, dict[str, float]]:
  """Scores the true process on the sequences of a part, if it is known."""
  dataset = getattr(splits, part)
  events = None if dataset is None else event_sequences.sequences(dataset)
  if events is None or events.true_events is None:
    return {}
  terms = Terms(
    np.asarray(events.true_events, np.float64),
    np.asarray(events.true_tail, np.float64),
  )
  nll, event_nll = per_event(terms, events.lengths)
  return {
    "true process": {
      "nll": float(nll),
      "nll_gap": 0.0,
      "event_nll": float(event_nll),
    }
  }


def calibration(
  network: event_network.EventNetwork,
  variables: PyTree,
  events: event_sequences.Sequences,
  horizon: float,
) -> dict[str, jax.Array]:
  """Tests a network on sequences of a known process.

  Returns:
    "standard_error" of the difference in negative log-likelihood to the
    process, in nats per event, on new sequences; and "ks_p", the p-value of the
    Kolmogorov-Smirnov test that the rescaled gaps are exponential, see
    `event_calibration.exponential_p`.
  """

  def one(events):
    events = jax.tree.map(lambda x: x[None], events)
    inputs = network_inputs(events, horizon)
    prediction = network.apply(variables, *inputs)
    terms = log_likelihood(prediction, events, horizon)
    above = (events.true_events - terms.events).sum()
    above += (events.true_tail - terms.tail).sum()
    return above, -prediction.gap.log_survival(inputs[1])[0]

  above, totals = lax.map(one, jax.tree.map(jnp.asarray, events), batch_size=32)
  lengths = np.asarray(events.lengths)
  mean = above.sum() / lengths.sum()
  spread = jnp.sqrt(((above - mean * lengths) ** 2).sum()) / lengths.sum()
  gaps = event_calibration.joined_gaps(totals, lengths)
  return {
    "standard_error": spread,
    "ks_p": event_calibration.exponential_p(gaps),
  }


def _asked(events, horizon):
  """The gaps to predict."""
  return network_inputs(events, horizon)[1]


def _positive_gaps(events, horizon):
  """Gaps, 1 in the padding; and from the last event to the horizon."""
  inside = masks.inside(events.gaps.shape[1], events.lengths)
  gap = jnp.where(inside & (events.gaps > 0), events.gaps, 1.0)
  last = jnp.where(inside, events.times, 0.0).max(axis=1)
  until = horizon if events.until is None else events.until
  # An event right at the end leaves no time: the bound keeps its logarithm
  # finite, and is short in any unit.
  least = 1e-6 * jnp.clip(horizon, _LEAST, 1)
  return gap, jnp.maximum(until - last, least)
