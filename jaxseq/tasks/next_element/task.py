"""Prediction of the next activity in event logs, with counting baselines.

Every activity of a trace and its end are predicted from the activities before
them, the first one without context. The baselines are the models of
`suffix_models`, with the orders that are best on the validation part.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import nn
from jaxseq import validate
from jaxseq.data.sources import logs
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.tasks.language import suffix_models
from jaxseq.types import PyTree

# Orders of the Markov models to try.
ORDERS = tuple(range(1, 9))


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of networks on the traces of a log."""


class Problem(base.ArrayProblem):
  """Predicting each activity of a trace, and its end.

  Args:
    arm: network and batch size, in traces.
    splits: data as from `data.sources.logs.make_splits`.

  Raises:
    ValueError: if the data are not traces, or the network pools.
  """

  validated = "brier"
  at_least = 128

  def __init__(self, arm: base.ArmConfig, splits: data.Splits):
    base.check_pooling(arm.network, False, "every activity is predicted")
    arm.network.stack.refuse(
      "network.stack", bidirectional="the next activity is predicted"
    )
    inputs, targets, lengths, _ = splits.train
    if inputs.ndim != 2 or targets.shape != inputs.shape or lengths is None:
      got = f"inputs {inputs.shape} and targets {targets.shape}"
      raise validate.error("the data", got, "traces with lengths, (n, time)")
    classes = splits.info.vocab_size - 1
    network = nn.SequenceNetwork(arm.network, classes, classes)
    super().__init__(arm, network, base.parts(splits), len(inputs))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    return self.network.init(key, jnp.zeros((1, 1), jnp.int32))

  def score(
    self, outputs: tuple[jax.Array, base.PyTree], batch: data.ArrayDataset
  ) -> tuple[dict[str, jax.Array], jax.Array]:
    """Returns "test_loss" in nats, "accuracy" and Brier scores."""
    logits, _ = outputs
    mask = batch.targets > 0
    labels = jnp.maximum(batch.targets - 1, 0)
    loss, accuracy, count = base.cross_entropy(logits, labels, mask)
    wrong = jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[-1])
    squares = jnp.where(mask, (wrong**2).sum(axis=-1), 0).sum()
    brier = squares / jnp.maximum(count, 1)
    # For networks the released script follows the definition.
    mean = brier / logits.shape[-1]
    metrics = {"test_loss": loss, "accuracy": accuracy, "brier": brier}
    return metrics | {"brier_mean": mean, "released": mean}, count


def floors(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns the metrics of models that count the training part, by label.

  Args:
    splits: data as from `data.sources.logs.make_splits`.
    part: "test" or "valid".
  """
  classes = splits.info.vocab_size - 1
  models = [
    suffix_models.Suffixes(splits.train, classes, order)
    for order in ORDERS
    if classes**order < 2**62
  ]
  back_off = suffix_models.Suffixes.back_off
  kinds = {
    "all-order Markov": back_off,
    "all-order Markov, as released": functools.partial(back_off, released=True),
    "n-grams (Witten-Bell)": suffix_models.Suffixes.witten_bell,
  }
  wanted = getattr(splits, part)
  targets = suffix_models.targets_of(wanted)
  rows = {
    f"Markov {model.order}": suffix_models.scores(model.chain(wanted), targets)
    for model in models[:2]
  }
  known = suffix_models.targets_of(splits.valid)
  for name, predict in kinds.items():
    best = min(
      models,
      key=lambda model, predict=predict: suffix_models.scores(
        predict(model, splits.valid), known
      )["brier"],
    )
    label = f"{name}, order {best.order}"
    rows[label] = suffix_models.scores(predict(best, wanted), targets)
  return rows


def compute(
  network: nn.SequenceNetwork,
  variables: PyTree,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns "probability" (n, classes) of the next activity."""
  logits, _ = network.apply(variables, arguments["tokens"])
  last = arguments["lengths"][:, None, None] - 1
  logits = jnp.take_along_axis(logits, last, axis=1)[:, 0]
  return {"probability": jax.nn.softmax(logits)}


def _predict(model, examples):
  """Returns a row for each case."""
  arrays = model.outputs(examples.dataset)
  values = arrays["probability"]
  names = *model.preparation.activities, logs.END
  columns = {
    "id": np.array(examples.ids),
    "activity": np.array(names)[values.argmax(axis=-1)],
    "probability": values.max(axis=-1),
  }
  return columns | outputs.probabilities(names, values, ...), arrays


TASK = task.Task(
  name="next_element",
  arm=base.ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="brier",
  better="lower",
  unit="traces",
  columns={
    "brier": "Brier",
    "accuracy": "accuracy",
    "test_loss": "nats",
    "brier_mean": "Brier / classes",
    "released": "as released",
    "valid_brier": "validation",
  },
  kind="next_element",
  outputs=outputs.Outputs(
    network=nn.SequenceNetwork,
    arguments=outputs.tokens,
    compute=compute,
    predict=_predict,
  ),
  baselines=lambda splits, config, part: floors(splits, part),
)
