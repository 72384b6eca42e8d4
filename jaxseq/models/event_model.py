"""Models of the next event in continuous time: when it is, and which."""

from typing import TYPE_CHECKING
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.models import predictions
from jaxseq.nn import masks
from jaxseq.tasks import event_network
from jaxseq.tasks import events

if TYPE_CHECKING:
  from jaxseq.models.model import Model

NETWORK = event_network.EventNetwork

# Quantiles of the gap that predictions have.
QUANTILES = (0.05, 0.5, 0.95)
# Halvings of the logarithm's range: far below what float32 can tell apart.
_HALVINGS = 40


def time_axis(network: event_network.EventNetwork) -> int:
  """Returns which axis of the inputs counts events."""
  del network
  return 1


def arguments(
  network: event_network.EventNetwork, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "gaps", "times", "marks" (n, events) and "lengths" (n,)."""
  del network
  sequences = events.sequences(dataset)
  return {
    "gaps": np.asarray(sequences.gaps, np.float32),
    "times": np.asarray(sequences.times, np.float32),
    "marks": np.asarray(sequences.marks, np.int32),
    "lengths": np.asarray(sequences.lengths, np.int32),
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
  sequences = event_network.Sequences(**arguments)
  ones = jnp.ones((*sequences.gaps.shape[:-1], sequences.gaps.shape[-1] + 1))
  gap = network.apply(variables, sequences, ones).gap
  levels = [quantile(gap, level) for level in QUANTILES]
  median = levels[QUANTILES.index(0.5)]
  inside = masks.inside(sequences.gaps.shape[-1], sequences.lengths)
  true = jnp.where(
    inside & (sequences.gaps > 0), sequences.gaps, median[..., :-1]
  )
  gaps = jnp.concatenate([true, median[..., -1:]], axis=-1)
  logits = network.apply(variables, sequences, gaps).mark_logits
  return {
    "expected_gap": gap.expectation(),
    "quantiles": jnp.stack(levels, axis=-1),
    "mark": jnp.argmax(logits, axis=-1).astype(jnp.int32),
    "probability": jax.nn.softmax(logits),
    "log_weight": gap.log_weight,
    "mean": gap.mean,
    "log_scale": gap.log_scale,
  }


def quantile(gap: event_network.Mixture, level: float) -> jax.Array:
  """Returns the gaps (...) that come with a probability of at most `level`."""
  # Each component is below its own quantile with that probability, so that the
  # mixture's lies between the least and the greatest of them.
  quantiles = gap.mean + jnp.exp(gap.log_scale) * jax.scipy.special.ndtri(level)
  low, high = quantiles.min(axis=-1), quantiles.max(axis=-1)

  def halve(ends, _):
    low, high = ends
    middle = 0.5 * (low + high)
    below = gap.log_survival(jnp.exp(middle)) > jnp.log1p(-level)
    return (jnp.where(below, middle, low), jnp.where(below, high, middle)), None

  (low, high), _ = lax.scan(halve, (low, high), length=_HALVINGS)
  return jnp.exp(0.5 * (low + high))


def intensity(gap: event_network.Mixture, elapsed: jax.Array) -> jax.Array:
  """Returns the rate of events, after some time without one.

  Args:
    gap: mixtures (...) of the time until the next event.
    elapsed: (..., times), above 0, since the last event.

  Returns:
    (..., times), in events per unit of time.
  """
  one = jax.tree.map(lambda x: x[..., None, :], gap)
  return jnp.exp(one.log_density(elapsed) - one.log_survival(elapsed))


def intensities(model: "Model", source: Any, elapsed: np.ndarray) -> np.ndarray:
  """Returns the rate of events after the last one of each sequence.

  Args:
    model: of events.
    source: see `Model.predict`.
    elapsed: (times,) above 0, since the last event.

  Returns:
    (n, times), in events per unit of time.
  """
  examples = model.examples(source)
  outputs = model.outputs(examples.dataset)
  rows = np.arange(len(examples.ids))
  last = _lengths(examples.dataset)
  gap = event_network.Mixture(
    *(outputs[name][rows, last] for name in ("log_weight", "mean", "log_scale"))
  )
  elapsed = jnp.broadcast_to(
    jnp.asarray(elapsed, jnp.float32), (len(rows), len(elapsed))
  )
  return np.asarray(intensity(jax.tree.map(jnp.asarray, gap), elapsed))


def predict(model: "Model", examples: data.Examples) -> predictions.Predictions:
  """Returns a row for each event, and one for that after the last.

  Returns:
    The columns "id"; "event", its number from 0 on; "after", the time of the
    event before; of the time from there to the event "gap_expected" and the
    quantiles "gap_5%", "gap_50%" and "gap_95%"; "mark", the most probable, and
    "probability_NAME" of each, if there are several; and of events that have
    happened "gap" and, among several marks, "mark_target". The last rows of
    sequences, where these are empty, are what is to come.
  """
  outputs = model.outputs(examples.dataset)
  sequences = arguments(model.network, examples.dataset)
  lengths = sequences["lengths"]
  count, size = sequences["gaps"].shape
  shown = masks.inside(size + 1, lengths + 1)
  happened = masks.inside(size + 1, lengths)
  before = np.concatenate([np.zeros((count, 1)), sequences["times"]], axis=1)
  padded = np.pad(sequences["gaps"], [(0, 0), (0, 1)])
  columns: dict[str, Any] = {
    "id": np.repeat(np.array(examples.ids), lengths + 1),
    "event": predictions.places(lengths + 1),
    "after": before.astype(np.float32)[shown],
    "gap_expected": outputs["expected_gap"][shown],
  }
  for i, level in enumerate(QUANTILES):
    columns[f"gap_{level:.0%}"] = outputs["quantiles"][..., i][shown]
  columns["gap"] = np.where(happened, padded, np.float32(np.nan))[shown]
  marks = model.network.statistics.num_marks
  if marks > 1:
    names = np.array(model.preparation.classes or tuple(map(str, range(marks))))
    columns["mark"] = names[outputs["mark"]][shown]
    for i, name in enumerate(names):
      columns[f"probability_{name}"] = outputs["probability"][..., i][shown]
    true = names[np.pad(sequences["marks"], [(0, 0), (0, 1)])]
    columns["mark_target"] = np.where(happened, true, "")[shown]
  return predictions.Predictions(columns, outputs)


def _lengths(dataset):
  """Returns the numbers of events, (n,)."""
  return events.sequences(dataset).lengths
