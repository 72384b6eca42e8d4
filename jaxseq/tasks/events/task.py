"""Marked temporal point processes: predicting the next event's time and mark.

A network reads the events one by one; after each, and before the first, it
predicts the density of the gap to the next event, a mixture of log-normal
distributions (Shchur et al., arXiv:1909.12127), and the probabilities of its
mark. They are scored by their likelihood, see `event_likelihood`.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.tasks.events import answers as event_answers
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import baselines as event_baselines
from jaxseq.tasks.events import event_likelihood
from jaxseq.tasks.events import event_rates
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import event_start
from jaxseq.tasks.events import network as event_network
from jaxseq.training import supervised


def make_network(
  arm: event_arms.ArmConfig, known: event_sequences.Statistics
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
    ValueError: if the data are not event sequences, batches are larger than the
      training set, or the network pools.
  """

  objective = validated = "nll"
  train_metrics = ("event_nll",)
  at_least = 64

  def __init__(self, arm: event_arms.ArmConfig, splits: data.Splits):
    measured = event_sequences.statistics(splits)
    network, parts = make_network(arm, measured), event_sequences.parts(splits)
    self.horizon = measured.horizon
    self.shares = event_start.shares(network, parts["train"])
    super().__init__(arm, network, parts, len(parts["train"].gaps))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the variables of the network."""
    one = base.first(self.data["train"])
    gaps = jnp.ones((1, one.gaps.shape[1] + 1))
    return event_start.begun(self.network.init(key, one, gaps), self.shares)

  def inputs(
    self, batch: event_sequences.Sequences
  ) -> tuple[event_sequences.Sequences, jax.Array]:
    """Returns the events, and the gaps to predict.

    The last of the n + 1 gaps ends without an event, and its mark has no score.
    """
    return event_likelihood.network_inputs(batch, self.horizon)

  def score(
    self, outputs: event_network.Prediction, batch: event_sequences.Sequences
  ) -> tuple[dict[str, jax.Array], jax.Array]:
    """Returns means over the events of a batch, and their number."""
    return event_likelihood.score(
      outputs, batch, self.horizon
    ), batch.lengths.sum()

  def measure(
    self, variables: base.PyTree, examples: event_sequences.Sequences
  ) -> supervised.Metrics:
    """Scores the sequences of a part.

    Returns:
      "nll" (nats per event, see `event_likelihood.per_event`), "event_nll"
      (without the ends of sequences); of the next gap, in units of time, "rmse"
      of its mean (at most the horizon), "median_error", the mean absolute error
      of its median, and "coverage", the share of gaps between its quantiles
      0.05 and 0.95; and "accuracy" of the mark, given its gap if
      `mark_sees_gap`; if the process is known also "nll_gap", "nll" above that
      of the process.
    """
    return event_likelihood.per_gap(super().measure(variables, examples))


@dataclasses.dataclass(frozen=True)
class Config(event_arms.Options, base.DataComparison):
  """A comparison on event sequences, with `event_arms.Options`.

  Attributes:
    carry: events of a chunk, if the sequences are windows of one stream, which
      is read in order with its state carried, see `event_windows`; None if the
      sequences are independent.
  """

  _: dataclasses.KW_ONLY
  carry: int | None = None


def _adapted(line, splits):
  """Returns the task with the columns of a data set."""
  columns, unit = {"nll": line.columns["nll"]}, time_unit(splits)
  if event_likelihood.baselines(splits):
    columns["nll_gap"] = "above the truth"
    columns["nll_gap_coarse"] = f"by {event_rates.COARSE} points"
    columns["standard_error"] = "standard error"
    columns["ks_p"] = "KS p-value"
    columns["rmse"] = line.columns["rmse"]
  else:
    columns["median_error"] = f"error of the median ({unit})"
    columns["coverage"] = "in the 90 % interval"
  if (splits.info.num_classes or 1) > 1:
    columns["accuracy"] = "mark accuracy"
  return dataclasses.replace(line, columns=columns)


def time_unit(splits: data.Splits) -> str:
  """Returns the unit of the times of a set, in the plural."""
  unit = getattr(splits.info.preparation, "unit", None)
  return f"{unit}s" if unit else "units of time"


def _baselines(splits, config, part):
  """Scores the true process of a data set if it is known, else baselines."""
  known = event_likelihood.baselines(splits, part)
  if known or event_likelihood.baselines(splits):
    return known
  # Pieces of one stream: each of them would begin without a past.
  whole = getattr(config, "carry", None) is None
  hawkes = whole and part == "test"
  return event_baselines.baselines(splits, part, hawkes=hawkes)


def _more(config, arm, source):
  """Returns a function that measures calibration if the process is known."""
  del config
  # Examples in memory have no source.
  if source is None:
    return lambda *unused: {}
  if not event_likelihood.baselines(source):
    return lambda *unused: {"time_unit": time_unit(source)}
  network = make_network(arm, event_sequences.statistics(source))
  events = event_sequences.sequences(source.test)

  def measure(program, variables, *unused):
    def scores(variables):
      return event_likelihood.calibration(
        network, variables, events, source.info.horizon
      )

    return program.measure(scores, variables)

  return measure


def intensities(model: Any, source: Any, elapsed: np.ndarray) -> np.ndarray:
  """Returns the rate of events after the last one of each sequence.

  Args:
    model: a `models.Model` of events.
    source: see `Model.predict`.
    elapsed: (times,) above 0, since the last event.

  Returns:
    (n, times), in events per unit of time.
  """
  batch = event_sequences.sequences(model.examples(source).dataset)
  run = functools.partial(_after_the_last, model.network)
  return np.asarray(run(model.variables, batch, np.float32(elapsed)))


@functools.partial(jax.jit, static_argnums=0)
def _after_the_last(network, variables, batch, elapsed):
  """Returns rates (n, times) after the last event of each sequence."""
  state = network.apply(variables, batch, method="read")

  def last(x):
    index = jnp.minimum(batch.lengths, x.shape[1] - 1)
    return x[jnp.arange(len(index)), index]

  elapsed = jnp.broadcast_to(elapsed, (len(batch.lengths), *elapsed.shape))
  arguments = jax.tree.map(last, state), elapsed
  return network.apply(variables, *arguments, method="intensity").sum(axis=-1)


TASK = task.Task(
  name="events",
  arm=event_arms.ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="nll",
  better="lower",
  unit="sequences",
  columns={
    "nll": "NLL (nats/event)",
    "rmse": "RMSE of the gap",
    "median_error": "error of the median",
    "coverage": "in the 90 % interval",
  },
  kind="events",
  more=_more,
  outputs=outputs.Outputs(
    network=event_network.EventNetwork,
    arguments=event_answers.arguments,
    compute=event_answers.compute,
    predict=event_answers.predict,
  ),
  adapt=_adapted,
  baselines=_baselines,
  own_files=task.OwnFiles(
    fields={"chunks_per_evaluation": 1, "from_shares": True}
  ),
)
