"""Marked temporal point processes: when is the next event, and which?

A network reads the events one by one; after each, and before the first, it
gives the density of the gap to the next event, a mixture of log-normal
distributions (Shchur et al., arXiv:1909.12127), and the probabilities of its
mark. The likelihood of a sequence observed on (0, horizon] is the product of
the densities of its events, times the probability of no event between the last
one and the horizon.
"""

import dataclasses
import functools
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import event_calibration
from jaxseq.tasks import event_network
from jaxseq.tasks import event_rates
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.training import supervised

Array = jax.Array
# Deviation of the logarithms of gaps below which they are all alike.
_REGULAR = 1e-4
# Quantiles of the gap that predictions have.
QUANTILES = (0.05, 0.5, 0.95)


def sequences(part: data.ArrayDataset) -> event_network.Sequences:
  """Returns a part of a data set of event sequences.

  Args:
    part: inputs (n, events, 1), the gaps; targets (n, events), the marks;
      extras.times, and perhaps extras.log_density, extras.tail and
      extras.until; as from `data.point_processes.load`.

  Raises:
    ValueError: if the part holds no event sequences.
  """
  extras = part.extras
  if part.inputs.shape[2:] != (1,):
    raise _validate.error(
      "inputs",
      f"shape {part.inputs.shape}",
      "the gaps of event sequences, (n, events, 1)",
    )
  if extras.times is None:
    raise _validate.error(
      "extras.times", None, "when each event happens, (n, events)"
    )
  lengths = part.lengths
  if lengths is None:
    lengths = np.full(len(part.inputs), part.inputs.shape[1], np.int32)
  return event_network.Sequences(
    part.inputs[..., 0],
    extras.times,
    part.targets,
    lengths,
    extras.log_density,
    extras.tail,
    extras.until,
  )


def statistics(splits: data.Splits) -> event_network.Statistics:
  """Returns constants of the training sequences that the network is built on.

  An event at 0 begins the observation, and has no gap.

  Raises:
    ValueError: if there are less than two gaps, or no horizon.
  """
  train = sequences(splits.train)
  if splits.info.horizon is None:
    raise _validate.error(
      "info.horizon", None, "until when sequences were observed"
    )
  inside = masks.inside(train.gaps.shape[1], train.lengths)
  gaps = np.asarray(train.gaps, np.float64)[inside]
  logs = np.log(gaps[gaps > 0])
  if logs.size < 2 or not np.isfinite(logs).all():
    raise ValueError(
      f"train: got {logs.size} events, expected at least 2, with gaps above 0."
    )
  deviation = float(logs.std())
  # Regular gaps differ by the rounding of their times alone.
  deviation = deviation if deviation > _REGULAR else 1.0
  return event_network.Statistics(
    splits.info.num_classes or 1,
    float(splits.info.horizon),
    float(logs.mean()),
    deviation,
    tuple(getattr(splits.info.preparation, "sizes", None) or ()),
  )


class Terms(NamedTuple):
  """The terms of the log likelihood, as of `data.point_processes.LogDensity`.

  Attributes:
    events: (n, events), log density of each event, gap and mark; 0 behind the
      end.
    tail: (n,), log probability of no event between the last and the horizon.
  """

  events: Array
  tail: Array


def per_event(terms: Terms, lengths: Array) -> tuple[Array, Array]:
  """Returns negative log likelihoods in nats per event.

  The terms are those of the model, or of the process that made the data; the
  lengths (n,) are numbers of events.

  Returns:
    The sum over all terms, and the sum over the events alone, both divided by
    the number of events. What no model can beat in expectation is the first:
    that sequences end at the horizon makes long gaps rare among the events.
  """
  events = jnp.where(_inside(terms.events, lengths), terms.events, 0).sum()
  count = jnp.maximum(lengths.sum(), 1)
  return -(events + terms.tail.sum()) / count, -events / count


def log_likelihood(
  prediction: event_network.Prediction,
  events: event_network.Sequences,
  horizon: float,
) -> Terms:
  """Scores predictions of sequences.

  Args:
    prediction: (n, events + 1, ...).
    events: (n, events) arrays.
    horizon: until when the sequences were observed.
  """
  inside = _inside(events.gaps, events.lengths)
  gap, tail = _positive_gaps(events, horizon)
  before = jax.tree.map(lambda x: x[:, :-1], prediction)
  log_marks = jax.nn.log_softmax(before.mark_logits)
  log_mark = jnp.take_along_axis(log_marks, events.marks[..., None], axis=-1)
  # Where an event begins the observation its time is not predicted.
  log_gap = jnp.where(events.gaps > 0, before.gap.log_density(gap), 0.0)
  scores = log_gap + log_mark[..., 0]
  last = jax.tree.map(
    lambda x: jnp.take_along_axis(x, events.lengths[:, None, None], axis=1),
    prediction.gap,
  )
  survival = last.log_survival(tail[:, None])[:, 0]
  return Terms(jnp.where(inside, scores, 0.0), survival)


def make_network(
  arm: event_network.ArmConfig, known: event_network.Statistics
) -> event_network.EventNetwork:
  """Returns the network of an arm.

  Raises:
    ValueError: if it pools.
  """
  base.check_pooling(arm.network, False, "every event is predicted")
  return event_network.EventNetwork(arm, known)


class Problem(base.ArrayProblem):
  """Predicting events.

  Args:
    arm: network, heads and batch size, in sequences.
    splits: event sequences; `info` with num_classes, the number of marks, and
      horizon.

  Raises:
    ValueError: if the data are no event sequences, batches are larger than the
      training set, or the network pools.
  """

  objective = validated = "nll"
  train_metrics = ("event_nll",)
  at_least = 64

  def __init__(self, arm: event_network.ArmConfig, splits: data.Splits):
    measured = statistics(splits)
    network = make_network(arm, measured)
    named = dict(zip(("train", "valid", "test"), splits[:3]))
    parts = {k: sequences(x) for k, x in named.items() if x is not None}
    self.horizon = measured.horizon
    super().__init__(arm, network, base.host(parts), len(parts["train"].gaps))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the variables of the network."""
    one = base.first(self.data["train"])
    return self.network.init(key, one, jnp.ones((1, one.gaps.shape[1] + 1)))

  def inputs(
    self, batch: event_network.Sequences
  ) -> tuple[event_network.Sequences, jax.Array]:
    """Returns the events, and the gaps to predict.

    Of the n + 1 gaps the last has no event, and its mark no score.
    """
    return network_inputs(batch, self.horizon)

  def score(
    self, outputs: event_network.Prediction, batch: event_network.Sequences
  ) -> tuple[dict[str, jax.Array], jax.Array]:
    """Returns means over the events of a batch, and their number."""
    return _score(outputs, batch, self.horizon), batch.lengths.sum()

  def measure(
    self, variables: base.PyTree, examples: event_network.Sequences
  ) -> supervised.Metrics:
    """Scores the sequences of a part.

    Returns:
      "nll" (nats per event, see `per_event`) and
      "event_nll" (without the ends of sequences), "rmse" of the next gap's mean
      in units of time, and "accuracy" of the mark, given its gap where
      `mark_sees_gap`; where the process is known also "nll_gap", how far "nll"
      is above that of the process on the same sequences.
    """
    metrics = super().measure(variables, examples)
    return metrics | {"rmse": jnp.sqrt(metrics.pop("squared_error"))}


def network_inputs(
  batch: event_network.Sequences, horizon: float
) -> tuple[event_network.Sequences, jax.Array]:
  """Returns the events, and the gaps to predict, the last up to the horizon."""
  gap, tail = _positive_gaps(batch, horizon)
  return batch, jnp.concatenate([gap, tail[:, None]], axis=1)


def baselines(
  splits: data.Splits, part: Literal["test", "valid"] = "test"
) -> dict[str, dict[str, float]]:
  """Scores the process that made the sequences of a part, where it is known."""
  dataset = getattr(splits, part)
  events = None if dataset is None else sequences(dataset)
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


def _inside(x, lengths):
  """Marks the elements (n, time) of sequences before their ends."""
  return masks.inside(x.shape[1], lengths)


def _positive_gaps(events, horizon):
  """Gaps with 1 behind the end; and from the last event to the horizon."""
  inside = _inside(events.gaps, events.lengths)
  gap = jnp.where(inside & (events.gaps > 0), events.gaps, 1.0)
  last = jnp.where(inside, events.times, 0.0).max(axis=1)
  until = horizon if events.until is None else events.until
  # An event right at the end leaves no time: its logarithm stays finite.
  return gap, jnp.maximum(until - last, 1e-6)


def _score(prediction, events, horizon):
  """Means over the events of a batch."""
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
  inside = _inside(events.gaps, events.lengths)
  count = jnp.maximum(events.lengths.sum(), 1)
  before = jax.tree.map(lambda x: x[:, :-1], prediction)
  error = before.gap.expectation() - events.gaps
  right = jnp.argmax(before.mark_logits, axis=-1) == events.marks
  timed = inside & (events.gaps > 0)
  squares = jnp.where(timed, error**2, 0).sum()
  metrics["squared_error"] = squares / jnp.maximum(timed.sum(), 1)
  metrics["accuracy"] = jnp.where(inside, right, False).sum() / count
  return metrics


@dataclasses.dataclass(frozen=True)
class Config(event_network.Options, base.DataComparison):
  """A comparison on event sequences, with `event_network.Options`.

  Attributes:
    carry: events of a piece, if the sequences are windows of one stream, which
      is read in order with its state carried, see `event_windows`; None if they
      have nothing to do with each other.
  """

  _: dataclasses.KW_ONLY
  carry: int | None = None


def _adapted(line, splits):
  """Returns the task with the columns that a set's sequences have."""
  columns = {"nll": line.columns["nll"]}
  if baselines(splits):
    columns["nll_gap"] = "above the truth"
    columns["nll_gap_coarse"] = f"by {event_rates.COARSE} points"
    columns["standard_error"] = "standard error"
    columns["ks_p"] = "KS p-value"
  columns["rmse"] = line.columns["rmse"]
  if (splits.info.num_classes or 1) > 1:
    columns["accuracy"] = "mark accuracy"
  return dataclasses.replace(line, columns=columns)


def _more(config, arm, source):
  """Returns what measures how sure results are, where the process is known."""
  del config
  if not baselines(source):
    return lambda *unused: {}
  network = make_network(arm, statistics(source))
  events = sequences(source.test)

  def measure(program, variables, *unused):
    def scores(variables):
      return calibration(network, variables, events, source.info.horizon)

    return program.measure(scores, variables)

  return measure


def calibration(
  network: event_network.EventNetwork,
  variables: Any,
  events: event_network.Sequences,
  horizon: float,
) -> dict[str, jax.Array]:
  """Tests a network on sequences of a process that is known.

  Returns:
    "standard_error" of how far the negative log likelihood is above that of the
    process, in nats per event, of sequences drawn anew; and "ks_p", the p-value
    of the test of Kolmogorov and Smirnov that the rescaled gaps are
    exponential, see `event_calibration.exponential_p`.
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


def _arguments(network, dataset):
  """Returns "gaps", "times", "marks" (n, events) and "lengths" (n,)."""
  del network
  events = sequences(dataset)
  return {
    "gaps": np.asarray(events.gaps, np.float32),
    "times": np.asarray(events.times, np.float32),
    "marks": np.asarray(events.marks, np.int32),
    "lengths": np.asarray(events.lengths, np.int32),
  }


def compute(
  network: event_network.EventNetwork,
  variables: Any,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns the predictions of each event, and of the one after the last.

  Returns:
    Arrays (n, events + 1, ...), of which those of an example's events and the
    one behind count: "expected_gap", "quantiles" (.., `QUANTILES`), "mark"
    and "probability" (.., marks), given the true gap where there is one and the
    median elsewhere if the network's marks depend on it; and the mixture of the
    gap, "log_weight", "mean" and "log_scale" (.., components).
  """
  events = event_network.Sequences(**arguments)
  ones = jnp.ones((len(events.gaps), events.gaps.shape[1] + 1))
  gap = network.apply(variables, events, ones).gap
  levels = [gap.quantile(level) for level in QUANTILES]
  median = levels[QUANTILES.index(0.5)]
  happened = _inside(events.gaps, events.lengths) & (events.gaps > 0)
  true = jnp.where(happened, events.gaps, median[:, :-1])
  gaps = jnp.concatenate([true, median[:, -1:]], axis=1)
  logits = network.apply(variables, events, gaps).mark_logits
  return {
    "expected_gap": gap.expectation(),
    "quantiles": jnp.stack(levels, axis=-1),
    "mark": jnp.argmax(logits, axis=-1).astype(jnp.int32),
    "probability": jax.nn.softmax(logits),
  } | (gap._asdict() if isinstance(gap, event_network.Mixture) else {})


def intensities(model: Any, source: Any, elapsed: np.ndarray) -> np.ndarray:
  """Returns the rate of events after the last one of each sequence.

  Args:
    model: a `models.Model` of events.
    source: see `Model.predict`.
    elapsed: (times,) above 0, since the last event.

  Returns:
    (n, times), in events per unit of time.
  """
  batch = sequences(model.examples(source).dataset)
  run = functools.partial(_after_the_last, model.network)
  return np.asarray(run(model.variables, batch, np.float32(elapsed)))


@functools.partial(jax.jit, static_argnums=0)
def _after_the_last(network, variables, batch, elapsed):
  """Rates (n, times) behind the last event of each sequence."""
  state = network.apply(variables, batch, method="read")

  def last(x):
    index = jnp.minimum(batch.lengths, x.shape[1] - 1)
    return x[jnp.arange(len(index)), index]

  elapsed = jnp.broadcast_to(elapsed, (len(batch.lengths), *elapsed.shape))
  arguments = jax.tree.map(last, state), elapsed
  return network.apply(variables, *arguments, method="intensity").sum(axis=-1)


def _predict(model, examples):
  """Returns a row for each event, and one for that after the last."""
  arrays = model.outputs(examples.dataset)
  events = _arguments(model.network, examples.dataset)
  lengths, (count, size) = events["lengths"], events["gaps"].shape
  shown = masks.inside(size + 1, lengths + 1)
  happened = masks.inside(size + 1, lengths)
  before = np.concatenate([np.zeros((count, 1)), events["times"]], axis=1)
  gaps = np.pad(events["gaps"], [(0, 0), (0, 1)])
  columns = outputs.rows(examples.ids, shown, "event") | {
    "after": before.astype(np.float32)[shown],
    "gap_expected": arrays["expected_gap"][shown],
  }
  for i, level in enumerate(QUANTILES):
    columns[f"gap_{level:.0%}"] = arrays["quantiles"][..., i][shown]
  columns["gap"] = np.where(happened, gaps, np.float32(np.nan))[shown]
  marks = model.network.statistics.num_marks
  if marks > 1:
    names = np.array(model.preparation.classes or tuple(map(str, range(marks))))
    columns["mark"] = names[arrays["mark"]][shown]
    columns |= outputs.probabilities(names, arrays["probability"], shown)
    true = names[np.pad(events["marks"], [(0, 0), (0, 1)])]
    columns["mark_target"] = np.where(happened, true, "")[shown]
  return columns, arrays


TASK = task.Task(
  name="events",
  arm=event_network.ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="nll",
  better="lower",
  unit="sequences",
  columns={"nll": "NLL (nats/event)", "rmse": "RMSE of the gap"},
  kind="events",
  more=_more,
  outputs=outputs.Outputs(
    network=event_network.EventNetwork,
    arguments=_arguments,
    compute=compute,
    predict=_predict,
  ),
  adapt=_adapted,
  baselines=lambda splits, config, part: baselines(splits, part),
)
