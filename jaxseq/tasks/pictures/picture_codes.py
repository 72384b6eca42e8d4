"""Codes of pictures: training and evaluation of `nn.picture_codec`.

A code that is unused for many batches in a row is restarted, see
`nn.quantizer.restart`; the share of used codes is reported with the error.
"""

import dataclasses
from typing import Any
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.nn import picture_codec
from jaxseq.nn import quantizer
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.types import PyTree

# Batch size of measurements.
_BATCH = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of arms that a comparison can also set for all of them.

  Attributes:
    objective: "pictures" for a generative model, or "codes" for a codec.
    tokenizer: path of a codec whose codes are generated; "" for pixels.
    levels: number of levels of a pixel.
    context: see `nn.picture_network.PictureNetwork`.
    by_class: whether pictures are conditioned on their class.
    whole_scales: see that network, for codes of several scales.
    drop_class: share of the training pictures without the class as condition.
    restart_after: updates without use after which a code is restarted; 0 for
      never.
  """

  objective: Literal["pictures", "codes"] = "pictures"
  tokenizer: str = ""
  levels: int = 2
  context: int = 1
  by_class: bool = False
  whole_scales: bool = False
  drop_class: float = 0.1
  restart_after: int = 20


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """Options of an arm's network and training, with `Options`.

  Attributes:
    codec: options of the codec, for the objective "codes".
  """

  codec: picture_codec.CodecConfig = picture_codec.CodecConfig()

  def __post_init__(self):
    super().__post_init__()
    validate.at_least(self, levels=2, context=0, restart_after=0)
    validate.number("drop_class", self.drop_class, 0, 1)

  @property
  def ssm_parameters(self) -> tuple[str, ...]:
    """Names of the parameters that recipes may treat separately."""
    return () if self.objective == "codes" else super().ssm_parameters


@dataclasses.dataclass(frozen=True)
class Config(Options, base.DataComparison):
  """A comparison on gray pictures, with `Options`.

  Attributes:
    codec: fields of `nn.picture_codec.CodecConfig` that all arms share.
  """

  _: dataclasses.KW_ONLY
  codec: arms.Fields = arms.EMPTY


def check(splits: data.Splits) -> tuple[int, int]:
  """Returns the height and width of gray pictures.

  Raises:
    ValueError: if the data are not pictures, row by row, in 0 .. 1.
  """
  pictures = splits.train.inputs
  flat = pictures.ndim != 3 or pictures.shape[-1] == 1
  if flat or pictures.min() < 0 or pictures.max() > 1:
    low, high = pictures.min(), pictures.max()
    got = f"inputs {pictures.shape} from {low:.3g} to {high:.3g}"
    expected = "gray pictures (n, height, width) in 0 .. 1, the order 'row'"
    raise validate.error("the data", got, expected)
  return pictures.shape[1:]


class Problem(base.ArrayProblem):
  """Reconstructing pictures from their codes.

  Args:
    arm: codec and batch size.
    splits: gray pictures, see `check`.

  Raises:
    ValueError: if the pictures are not gray, or not of the codec's size.
  """

  validated = "test_error"

  def __init__(self, arm: ArmConfig, splits: data.Splits):
    size = arm.codec.size
    if check(splits) != (size, size):
      got = f"{size}, patch times the last of the sizes"
      expected = f"the size of the pictures, {check(splits)}"
      raise validate.error("codec", got, expected)
    pictures = {name: part.inputs for name, part in base.parts(splits).items()}
    network = picture_codec.PictureCodec(arm.codec)
    super().__init__(arm, network, pictures, len(splits.train.inputs))
    self._variance = float(pictures["train"].var())

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the codec."""
    return self.network.init(key, base.first(self.data["train"]))

  def loss(
    self, variables: base.PyTree, batch: jax.Array, carry: Any, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the error divided by the variance, plus the quantizer's loss."""
    reconstruction, scales = self.network.apply(variables, batch)
    error = jnp.square(reconstruction - batch).mean()
    state = variables["restarts"]["quantizer"]["codebook"]
    codebook = variables["params"]["quantizer"]["codebook"]
    moved = quantizer.restart(
      key,
      codebook,
      quantizer.Restarts(**state),
      scales.codes.reshape(-1),
      scales.residuals.reshape(-1, codebook.shape[-1]),
      self.arm.restart_after,
    )
    collections = {
      "restarts": {"quantizer": {"codebook": moved._asdict()}},
    }
    metrics = {"train_error": error, "idle": (moved.idle > 0).mean()}
    value = error / self._variance + scales.loss
    return value, supervised.Loss(metrics, collections, carry)

  def measure(
    self, variables: base.PyTree, examples: base.PyTree
  ) -> supervised.Metrics:
    """Scores the pictures of a part.

    Returns:
      "test_error", the mean squared error of a pixel; "unexplained", the same
      divided by the variance of the training pictures; "usage", the share of
      the codes that any picture has; "perplexity", of the code frequencies.
    """
    errors, codes = self._read(variables, examples)
    count = self.arm.codec.scales.codes
    shares = jax.nn.one_hot(codes, count).mean(axis=(0, 1))
    return {
      "test_error": errors[:, -1].mean(),
      "unexplained": errors[:, -1].mean() / self._variance,
      "usage": (shares > 0).mean(),
      "perplexity": jnp.exp(jax.scipy.special.entr(shares).sum()),
    }

  def by_scale(
    self, variables: base.PyTree, examples: base.PyTree
  ) -> supervised.Metrics:
    """Returns the error after each scale, and the code usage of each.

    "unexplained" (scales,) is the error of pictures decoded from the scales so
    far; "usage" (scales,) is that of each scale alone.
    """
    errors, codes = self._read(variables, examples)
    scales = self.arm.codec.scales
    usage = [
      quantizer.used(codes[:, part].reshape(-1), scales.codes).mean()
      for part in scales.slices
    ]
    unexplained = errors.mean(axis=0) / self._variance
    return {"unexplained": unexplained, "usage": jnp.stack(usage)}

  def _read(self, variables, pictures):
    """Errors (n, scales) and codes (n, places) of pictures."""

    def one(picture):
      _, scales = self.network.apply(variables, picture)
      drawn = self.network.apply(variables, scales.codes, method="by_scale")
      return jnp.square(drawn - picture).mean(axis=(-2, -1)), scales.codes

    return lax.map(one, pictures, batch_size=_BATCH)


def _more(config, arm, splits):
  """Returns a function that measures errors by scale."""
  del config

  def measure(program, variables, *unused):
    test = base.parts(splits)["test"].inputs
    found = program.measure(program.problem.by_scale, variables, test)
    return {"by_scale": found}

  return measure


def floors(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns the error of the mean picture, by its label.

  Args:
    splits: see `Problem`.
    part: "test" or "valid".
  """
  wanted = getattr(splits, part)
  if wanted is None:
    return {}
  mean = splits.train.inputs.mean(axis=0)
  error = float(np.square(wanted.inputs - mean).mean())
  variance = float(splits.train.inputs.var())
  row = {"test_error": error, "unexplained": error / variance}
  return {"mean picture": row}


def arguments(network: Any, dataset: data.ArrayDataset) -> outputs.Arrays:
  """Returns "inputs" (n, height, width), the pictures."""
  del network
  return {"inputs": np.asarray(dataset.inputs, np.float32)}


def compute(
  network: picture_codec.PictureCodec,
  variables: PyTree,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns the codes and the reconstruction of pictures.

  Returns:
    "codes" (n, places), "reconstruction" (n, height, width), and "error" (n,),
    the mean squared error of a pixel.
  """
  pictures = arguments["inputs"]
  reconstruction, scales = network.apply(variables, pictures)
  error = jnp.square(reconstruction - pictures).mean(axis=(-2, -1))
  return {
    "codes": scales.codes,
    "reconstruction": reconstruction,
    "error": error,
  }


def _predict(model, examples):
  """Returns a row for each picture."""
  arrays = model.outputs(examples.dataset)
  columns = {
    "id": np.array(examples.ids),
    "error": arrays["error"],
    **{f"code_{i}": code for i, code in enumerate(arrays["codes"].T)},
  }
  return columns, arrays


TASK = task.Task(
  name="picture_codes",
  arm=ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="test_error",
  better="lower",
  unit="pictures",
  columns={
    "test_error": "squared error",
    "unexplained": "by the variance",
    "usage": "codes used",
    "perplexity": "perplexity",
  },
  kind="picture_codes",
  more=_more,
  outputs=outputs.Outputs(
    network=picture_codec.PictureCodec,
    arguments=arguments,
    compute=compute,
    predict=_predict,
    time_axis=lambda network: None,
  ),
  baselines=lambda splits, config, part: floors(splits, part),
)
