"""Models of classes, of whole sequences or of their elements."""

from typing import TYPE_CHECKING
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import nn
from jaxseq.models import predictions
from jaxseq.tasks import classification

if TYPE_CHECKING:
  from jaxseq.models.model import Model

NETWORK = nn.SequenceNetwork


def time_axis(network: nn.SequenceNetwork) -> int:
  """Returns which axis of the inputs is time; pairs have one before."""
  return 2 if network.pairs else 1


def arguments(
  network: nn.SequenceNetwork, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "inputs" and, where sequences were padded, "lengths".

  Of pairs, the second axis has length 2.
  """
  inputs, _, _, lengths = classification.network_inputs(dataset, network.pairs)
  arrays = {"inputs": inputs, "lengths": lengths}
  return {k: np.asarray(x) for k, x in arrays.items() if x is not None}


def compute(
  network: nn.SequenceNetwork, variables: Any, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "class" (n,) int32 and "probability" (n, classes).

  Without pooling they are (n, time) and (n, time, classes).
  """
  logits, _ = network.apply(
    variables, arguments["inputs"], None, None, arguments.get("lengths")
  )
  return {
    "class": jnp.argmax(logits, axis=-1).astype(jnp.int32),
    "probability": jax.nn.softmax(logits),
  }


def class_names(model: "Model") -> tuple[str, ...]:
  """Returns the names of the classes: their numbers, if they have none."""
  count = model.network.num_outputs
  return model.preparation.classes or tuple(map(str, range(count)))


def predict(model: "Model", examples: data.Examples) -> predictions.Predictions:
  """Returns a row for each example, or each element if the network says so.

  Returns:
    The columns "id", of a network that does not pool "element" (from 0),
    "class" (a name), "probability_NAME" of each class and, where the examples
    have it, "target", the true class.
  """
  outputs = model.outputs(examples.dataset)
  names = class_names(model)
  words, ids = np.array(names), np.array(examples.ids)
  columns: dict[str, Any] = {"id": ids}
  shown = np.ones(len(ids), bool)
  if outputs["class"].ndim == 2:
    shown = data.datasets.inside(examples.dataset, outputs["class"].shape[1])
    counts = shown.sum(axis=1)
    columns = {
      "id": np.repeat(ids, counts),
      "element": predictions.places(counts),
    }
  columns["class"] = words[outputs["class"]][shown]
  for i, name in enumerate(names):
    columns[f"probability_{name}"] = outputs["probability"][..., i][shown]
  if examples.labeled:
    columns["target"] = words[np.asarray(examples.dataset.targets)][shown]
  return predictions.Predictions(columns, outputs)
