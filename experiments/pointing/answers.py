"""Pointer models: hulls, tours, triangulations and sorting of new point sets.

    import experiments.pointing
    model = jaxseq.load("runs/hull/lstm/model.safetensors")
    corners = model.predict("points.csv")["element"]

A table has a row for each point, with the columns id, x and y (only x for
sorting); a set is the rows of an id. Each set is decoded independently, with as
many beams as the network's config has; one beam is greedy. A tour visits every
city once.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.pointing import decoding
from experiments.pointing import geometry
from experiments.pointing import pointer
from experiments.pointing import set_network
from jaxseq import data
from jaxseq import validate
from jaxseq.data import table_layouts
from jaxseq.data.sources import series
from jaxseq.nn import masks
from jaxseq.tasks import outputs
from jaxseq.types import PyTree


def splits_of(sets: geometry.Sets) -> data.Splits:
  """Returns sets as splits whose preparation reads tables of new sets."""
  channels = ("x", "y")[: sets.points.shape[-1]]
  source = series.SeriesSource(
    reader="table",
    channels=channels,
    columns=table_layouts.Columns(id="id", channels=channels),
  )
  info = data.Info(
    f"{len(sets.points)} sets of points",
    "generated",
    "none",
    channels=channels,
    preparation=source,
  )
  unknown = np.full(len(sets.points), -1, np.int32)
  train = data.ArrayDataset(sets.points, unknown, sets.lengths)
  return data.Splits(train, None, train, info)


def arguments(
  network: Any, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "inputs" (n, time, features) and "lengths" (n,).

  Raises:
    ValueError: if a number is not between 0 and 1.
  """
  del network
  return _checked(dataset, range(len(dataset.inputs)))


def _checked(dataset, ids):
  """Returns points and lengths; raises a ValueError outside of 0 to 1."""
  inputs, lengths = dataset.inputs, dataset.lengths
  if lengths is None:
    lengths = np.full(len(inputs), inputs.shape[1], np.int32)
  inside = np.asarray(masks.inside(inputs.shape[1], lengths))
  wrong = inside[..., None] & ((inputs < 0) | (inputs > 1))
  if wrong.any():
    example, row, _ = np.argwhere(wrong)[0]
    expected = "numbers from 0 to 1, as in training: scale all alike"
    where = f"(it is in row {row + 1} of id {ids[example]!r})"
    # The shortest text of the number, as in the file.
    value = float(str(inputs[wrong][0]))
    raise validate.error("points", value, f"{expected} {where}")
  return outputs.present(inputs=inputs, lengths=lengths)


def answers(
  network: Any,
  variables: PyTree,
  points: jax.Array,
  lengths: jax.Array,
  beams: int = 1,
) -> jax.Array:
  """Decodes the answer for each set; tours visit every city once.

  Args:
    network: a pointer or set network.
    variables: variables of the network.
    points: (n, points, features).
    lengths: (n,) numbers of points.
    beams: number of beams; 1 is greedy.

  Returns:
    (n, time) int32, positions from 1 on, padded by 0. `time` allows all corners
    of a triangulation, or each point once if no point repeats.
  """
  count = points.shape[-2]
  ends = isinstance(network, pointer.PointerNetwork)
  tour = ends and network.config.tour
  if not ends:
    time, most = count, lengths
  elif tour or network.config.no_repeat:
    time, most = count + 1, lengths + 1
  else:
    time = geometry.choices("delaunay", count)
    most = 3 * jnp.maximum(1, 2 * lengths - 5) + 1
  tokens, _ = decoding.decode(
    network,
    variables,
    points,
    time,
    lengths=lengths,
    beams=beams,
    end=0 if ends else None,
    constraint=decoding.Tour(lengths, count) if tour else None,
  )
  tokens = tokens[:, 0]
  chosen = tokens if ends else tokens + 1
  return jnp.where(masks.inside(time, most), chosen, 0)


def compute(
  network: Any, variables: PyTree, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "chosen" (n, time), see `answers`, and its "probability"."""
  points, lengths = arguments["inputs"], arguments["lengths"]
  beams = network.config.beams
  chosen = answers(network, variables, points, lengths, beams)
  ends = isinstance(network, pointer.PointerNetwork)
  tokens = chosen if ends else jnp.maximum(chosen - 1, 0)
  logs = network.apply(variables, points, tokens, lengths)
  logs = jnp.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]
  return {"chosen": chosen, "probability": jnp.exp(logs)}


def predict(
  model: Any, examples: data.Examples
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Returns a row for each decoding step: the chosen element and coordinates.

  Args:
    model: a pointer `models.Model`.
    examples: as from `model.examples`.

  Returns:
    Columns by name, and the arrays of `compute`.
  """
  _checked(examples.dataset, examples.ids)
  arrays = model.outputs(examples.dataset)
  shown = arrays["chosen"] > 0
  columns = outputs.rows(examples.ids, shown, "step")
  row, _ = np.nonzero(shown)
  element = arrays["chosen"][shown] - 1
  columns["step"] = columns["step"] + 1
  columns["element"] = element
  points = examples.dataset.inputs[row, element]
  columns |= zip(model.preparation.channels, points.T)
  columns["probability"] = arrays["probability"][shown]
  return columns, arrays


ORDERED, SETS = (
  outputs.Outputs(
    network=network, arguments=arguments, compute=compute, predict=predict
  )
  for network in (pointer.PointerNetwork, set_network.SetNetwork)
)
