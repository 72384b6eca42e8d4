"""Regression of sequences, per element (also at irregular times) or as a whole.

The network predicts the mean and the variance of every target, as in the
pendulum experiment of Smith et al., arXiv:2208.04933, section 6.3, after
Schirmer et al., arXiv:2111.11344.
"""

import dataclasses
import functools
import inspect
from typing import Any
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import mixers
from jaxseq import nn
from jaxseq import validate
from jaxseq.nn import convolutions
from jaxseq.nn import dense
from jaxseq.nn import heads
from jaxseq.tasks import base
from jaxseq.tasks import losses
from jaxseq.tasks import outputs
from jaxseq.tasks import sizes
from jaxseq.tasks import summary_baselines
from jaxseq.tasks import task
from jaxseq.types import PyTree

# Lower bound of the variance, as in the paper's code.
FLOOR = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of arms that a comparison can also set for all of them.

  Attributes:
    gaps: use of the times between elements, if the data have them: "scale":
      they multiply the mixer's step sizes (S5); "append": they are an
      additional feature; "ignore".
    image_size: height and width of elements that are images, which a small
      convolutional network reads; 0 for feature vectors.
  """

  gaps: Literal["scale", "append", "ignore"] = "append"
  image_size: int = 0


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """Options of an arm's network and training, with `Options`."""

  def __post_init__(self):
    super().__post_init__()
    if self.image_size < 0 or self.image_size % 8:
      raise validate.error(
        "image_size", self.image_size, "a multiple of 8, or 0"
      )
    if self.gaps == "scale":
      for each in self.network.stack.every_layer:
        _check_step_sizes(each)


def _check_step_sizes(layer):
  """Rejects a layer whose mixer does not support gaps."""
  if not layer.mixes:
    return
  apply = mixers.get(layer.mixer).apply
  if "gaps" not in inspect.signature(apply).parameters:
    expected = (
      f"'append' or 'ignore' for the mixer {layer.mixer!r}, which has no step "
      "sizes to multiply"
    )
    raise validate.error("gaps", "scale", expected)


class ImageEncoder(linen.Module):
  """Two convolutions with pooling, and two dense layers, for each image.

  Attributes:
    size: height and width, a multiple of 8.
    width: width of the features.
    channels: channels of the convolutions.
  """

  size: int
  width: int
  channels: int = 12

  @linen.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (..., size * size) pixels, row by row, to (..., width)."""
    images = x.reshape(-1, self.size, self.size, 1)
    conv = functools.partial(
      linen.Conv,
      self.channels,
      conv_general_dilated=convolutions.for_linen,
    )
    y = conv((5, 5), padding=2, name="conv_0")(images)
    y = _pool(linen.relu(y))
    y = conv((3, 3), strides=2, padding=1, name="conv_1")(y)
    y = _pool(linen.relu(y))
    y = y.reshape(*x.shape[:-1], -1)
    y = linen.relu(dense.Dense(self.width, name="dense_0")(y))
    return dense.Dense(self.width, name="dense_1")(y)


class Regressor(linen.Module):
  """Encoder, stack of layers, and heads for mean and variance.

  Attributes:
    config: options of the arm.
    num_outputs: width of the targets.
  """

  config: ArmConfig
  num_outputs: int

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    gaps: jax.Array | None = None,
    lengths: jax.Array | None = None,
    train: bool = False,
    states: PyTree = None,
    with_states: bool = False,
  ) -> Any:
    """Predicts means and variances of the targets.

    Args:
      x: (*batch, time, features), or pixels row by row.
      gaps: (*batch, time), time since the previous element; None if all are 1.
      lengths: (*batch,) numbers of valid elements; None if all are valid.
      train: whether dropout is on, and batch norm uses batch statistics.
      states: initial states of the layers; fresh ones if None.
      with_states: whether to also return the final states.

    Returns:
      Means and variances, (*batch, time, num_outputs) each, or (*batch,
      num_outputs) if the network pools; `with_states` returns a pair of this
      pair and the states.
    """
    config, network = self.config, self.config.network
    series = x
    if config.image_size:
      x = ImageEncoder(config.image_size, network.stack.d_model, name="images")(
        x
      )
    if gaps is not None and config.gaps == "append":
      x = jnp.concatenate([x, gaps[..., None]], axis=-1)
    if x.shape[-1] != network.stack.d_model or not config.image_size:
      x = dense.Dense(network.stack.d_model, name="encoder")(x)
    options = None
    if gaps is not None and config.gaps == "scale":
      options = {"gaps": gaps}
    y, states = nn.SequenceModel(network.stack, name="stack")(
      x, states, train=train, options=options, lengths=lengths
    )
    if network.pooling != "none":
      y = heads.pool(network.pooling, y, lengths)
    predicted = nn.RegressionHead(
      num_outputs=self.num_outputs,
      widths=network.head_widths,
      with_variance=True,
      name="head",
    )(y)
    if network.summaries:
      linear = nn.series_summaries.Summaries(self.num_outputs, name="summaries")
      mean, variance = predicted
      predicted = mean + linear(series, lengths), variance
    return (predicted, states) if with_states else predicted


def negative_log_likelihood(
  mean: jax.Array, variance: jax.Array, targets: jax.Array
) -> jax.Array:
  """Returns the negative log-likelihood (...) of Gaussians, in nats.

  It is summed over the last axis of the arguments, (..., numbers) each, without
  the constant; see `losses`. Variances are at least `FLOOR`.
  """
  return losses.negative_log_likelihood(mean, variance, targets, FLOOR)


class Problem(base.ArrayProblem):
  """Predicting numbers per element, or per sequence.

  Args:
    arm: network and batch size; the network pools if targets are per sequence,
      and only then.
    splits: inputs (n, time, features), and targets (n, time, numbers), all of
      one length, or (n, numbers); extras.gaps (n, time) for irregular times.

  Raises:
    ValueError: if the pooling does not fit the targets, these are not such
      numbers, or batches are larger than the training set.
  """

  train_metrics = ("mse",)
  validated = "mse"

  def __init__(self, arm: ArmConfig, splits: data.Splits):
    targets = splits.train.targets
    whole = targets.ndim == 2
    if not whole and (targets.ndim != 3 or splits.train.lengths is not None):
      raise ValueError(
        f"the data: got targets of shape {targets.shape}, expected numbers (n, "
        "numbers), or (n, time, numbers) with sequences of one length."
      )
    reason = "a sequence has one output" if whole else "every element has one"
    base.check_pooling(arm.network, whole, reason)
    model = Regressor(arm, targets.shape[-1])
    super().__init__(arm, model, base.parts(splits), len(targets))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    return self.network.init(key, *self.inputs(base.first(self.data["train"])))

  def inputs(self, batch: data.ArrayDataset) -> tuple[jax.Array | None, ...]:
    """Returns inputs, gaps and lengths."""
    return batch.inputs, batch.extras.gaps, batch.lengths

  def score(
    self, outputs: tuple[jax.Array, jax.Array], batch: data.ArrayDataset
  ) -> tuple[dict[str, jax.Array], int]:
    """Returns "mse", and "test_loss", the mean negative log likelihood."""
    mean, variance = outputs
    loss = negative_log_likelihood(mean, variance, batch.targets).mean()
    mse = jnp.mean((mean - batch.targets) ** 2)
    return {"mse": mse, "test_loss": loss}, mean.shape[0]


def _pool(x):
  """Maximum over 2 x 2 squares: a reshape is faster than a window."""
  *batch, height, width, channels = x.shape
  x = x.reshape(*batch, height // 2, 2, width // 2, 2, channels)
  return x.max(axis=(-4, -2))


def _is_whole(network):
  """True if targets are per sequence."""
  return network.config.network.pooling != "none"


def _arguments(network, dataset):
  """Returns "inputs" and, if the data have them, "gaps" and "lengths"."""
  # Without pooling, outputs in the padding are ignored.
  lengths = dataset.lengths if _is_whole(network) else None
  return outputs.present(
    inputs=dataset.inputs, gaps=dataset.extras.gaps, lengths=lengths
  )


def compute(
  network: Regressor, variables: PyTree, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "mean" and "deviation" (n, time, numbers), or (n, numbers)."""
  arrays = (arguments.get(name) for name in ("inputs", "gaps", "lengths"))
  mean, variance = network.apply(variables, *arrays)
  return {"mean": mean, "deviation": jnp.sqrt(jnp.maximum(variance, FLOOR))}


def _predict(model, examples):
  """Returns a row for each element of each example, or for each example."""
  arrays, prepared = model.outputs(examples.dataset), model.preparation
  mean, deviation = (
    prepared.restore_targets(arrays["mean"]),
    arrays["deviation"],
  )
  numbers = mean.shape[-1]
  names = prepared.targets or tuple(f"number_{i}" for i in range(numbers))
  scale = prepared.target_deviation
  scale = np.ones(numbers) if scale is None else np.array(scale)
  shown: Any = slice(None)
  columns = {"id": np.array(examples.ids)}
  if not _is_whole(model.network):
    shown = data.datasets.inside(examples.dataset, mean.shape[1])
    columns = outputs.rows(examples.ids, shown, "element")
  for i, name in enumerate(names):
    columns[name] = mean[..., i][shown]
    columns[f"{name}_deviation"] = deviation[..., i][shown] * scale[i]
  if examples.labeled:
    targets = prepared.restore_targets(np.asarray(examples.dataset.targets))
    for i, name in enumerate(names):
      columns[f"{name}_target"] = targets[..., i][shown]
  return columns, arrays


def _count(splits):
  """The number of series, or of elements if targets are per element."""
  whole = np.ndim(splits.train.targets) == 2
  return (sizes.examples if whole else sizes.elements)(splits)


TASK = task.Task(
  name="regression",
  arm=ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="mse",
  better="lower",
  unit="sequences",
  columns={"mse": "mean squared error", "test_loss": "loss"},
  kind="regression",
  outputs=outputs.Outputs(
    network=Regressor,
    arguments=_arguments,
    compute=compute,
    predict=_predict,
  ),
  baselines=lambda splits, config, part: summary_baselines.of_numbers(
    splits, part
  ),
  count=_count,
  sized=lambda splits: sizes.series_start(splits, 2),
)
