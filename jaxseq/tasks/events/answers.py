"""The predictions of a trained model of events: arrays and table."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.nn import masks
from jaxseq.tasks import outputs
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import gap_mixture
from jaxseq.tasks.events import network as event_network
from jaxseq.types import PyTree

# Quantiles of the gap in predictions.
QUANTILES = (0.05, 0.5, 0.95)


def arguments(
  network: event_network.EventNetwork, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "gaps", "times", "marks" (n, events) and "lengths" (n,)."""
  del network
  events = event_sequences.sequences(dataset)
  kinds = {"gaps": "f4", "times": "f4", "marks": "i4", "lengths": "i4"}
  return {k: np.asarray(getattr(events, k), kind) for k, kind in kinds.items()}


def compute(
  network: event_network.EventNetwork,
  variables: PyTree,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns the predictions of each event, and of the one after the last.

  Returns:
    Arrays (n, events + 1, ...), valid for an example's events and the one after
    the last: "expected_gap" (at most the horizon; NaN if the tail is too heavy
    for a mean), "quantiles" (.., `QUANTILES`), "mark" and "probability" (..,
    marks), which are given the true gap, or its median if there is none, if the
    network's marks depend on it; and the mixture of the gap, "log_weight",
    "mean" and "log_scale" (.., components).
  """
  events = event_sequences.Sequences(**arguments)
  count, time = events.gaps.shape
  ones = jnp.ones((count, time + 1))
  gap = network.apply(variables, events, ones).gap
  levels = [gap.quantile(level) for level in QUANTILES]
  median = levels[QUANTILES.index(0.5)]
  happened = masks.inside(time, events.lengths) & (events.gaps > 0)
  true = jnp.where(happened, events.gaps, median[:, :-1])
  gaps = jnp.concatenate([true, median[:, -1:]], axis=1)
  logits = network.apply(variables, events, gaps).mark_logits
  return {
    "expected_gap": gap.bounded_expectation(network.statistics.horizon),
    "quantiles": jnp.stack(levels, axis=-1),
    "mark": jnp.argmax(logits, axis=-1).astype(jnp.int32),
    "probability": jax.nn.softmax(logits),
  } | (gap._asdict() if isinstance(gap, gap_mixture.Mixture) else {})


def predict(
  model: Any, examples: Any
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Returns a row for each event, and one for the event after the last.

  Args:
    model: a `models.Model` of events.
    examples: examples from `model.examples`.

  Returns:
    Columns by name, and the arrays of `compute`.
  """
  arrays = model.outputs(examples.dataset)
  events = arguments(model.network, examples.dataset)
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
