"""Likelihoods of pictures: of quantised pixels, or of a codec's codes.

Of pixels the bits of a dimension are those of a pixel's level, 64 in a digit of
8 x 8. Codes are no pixels: what their prior costs stands beside the error of
the codec (`picture_codes`), and is no likelihood of the picture.
"""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq.nn import picture_codec
from jaxseq.nn import picture_network
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import picture_codes
from jaxseq.tasks import picture_floors
from jaxseq.tasks import task
from jaxseq.training import supervised

# Pictures at once, of which symbols are made.
_BATCH = 512


class Symbols(NamedTuple):
  """Pictures as symbols.

  Attributes:
    symbols: (n, time) int32.
    labels: (n,) int32, the classes; -1 where they are not told.
  """

  symbols: np.ndarray
  labels: np.ndarray


class Codec(NamedTuple):
  """A trained codec.

  Attributes:
    config: of `nn.PictureCodec`.
    variables: of it.
  """

  config: picture_codec.CodecConfig
  variables: Any


class Problem(base.ArrayProblem):
  """Predicting the symbols of pictures.

  Args:
    arm: network and batch size.
    splits: gray pictures, see `picture_codes.check`.
    codec: of the codes that are predicted; pixels if None.

  Raises:
    ValueError: if the data are others, have no classes and are to be drawn by
      them, or the network pools.
  """

  objective = "bits"
  validated = "test_loss"
  at_least = 64

  def __init__(
    self,
    arm: picture_codes.ArmConfig,
    splits: data.Splits,
    codec: Codec | None = None,
  ):
    base.check_pooling(arm.network, False, "every symbol is predicted")
    classes = splits.info.num_classes
    if arm.by_class and classes is None:
      expected = "False, as the data have no classes"
      raise _validate.error("by_class", True, expected)
    network = picture_network.PictureNetwork(
      arm.network,
      tuple(picture_codes.check(splits)),
      arm.levels,
      arm.context,
      classes if arm.by_class else 0,
      None if codec is None else codec.config,
      arm.whole_scales,
    )
    self._codec = None if codec is None else {"variables": codec.variables}
    parts = {
      name: Symbols(
        self._symbols(network, part.inputs),
        np.asarray(part.targets, np.int32)
        if arm.by_class
        else np.full(len(part.inputs), -1, np.int32),
      )
      for name, part in base.parts(splits).items()
    }
    super().__init__(arm, network, parts, len(splits.train.inputs))

  def _symbols(self, network, pictures):
    """The symbols of pictures, some of them at a time."""
    variables = {} if self._codec is None else {"codec": self._codec}
    read = jax.jit(
      functools.partial(network.apply, variables, method="symbols")
    )
    starts = range(0, len(pictures), _BATCH)
    rows = [np.asarray(read(pictures[i : i + _BATCH])) for i in starts]
    return np.concatenate(rows)

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the variables of the network, with the codec's."""
    start = jnp.zeros((1, self.network.time), jnp.int32)
    variables = dict(self.network.init(key, start))
    if self._codec is not None:
      variables["codec"] = jax.tree.map(jnp.asarray, self._codec)
    return variables

  def inputs(self, batch: Symbols) -> tuple[Any, ...]:
    """Returns the symbols and the classes."""
    return batch.symbols, batch.labels

  def loss(
    self, variables: base.PyTree, batch: Symbols, carry: Any, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the bits of a symbol, of some pictures without their classes."""
    if self.network.classes:
      key, draw = jax.random.split(key)
      share, shape = self.arm.drop_class, batch.labels.shape
      dropped = jax.random.bernoulli(draw, share, shape)
      batch = batch._replace(labels=jnp.where(dropped, -1, batch.labels))
    return super().loss(variables, batch, carry, key)

  def score(
    self, outputs: jax.Array, batch: Symbols
  ) -> tuple[dict[str, jax.Array], int]:
    """Returns "test_loss" (nats of a picture), "bits" and "accuracy"."""
    nats, accuracy, _ = base.cross_entropy(outputs, batch.symbols)
    metrics = {
      "test_loss": nats * self.network.time,
      "bits": nats / np.log(2),
      "accuracy": accuracy,
    }
    return metrics, len(batch.symbols)

  def floors(self, part: str) -> dict[str, dict[str, float]]:
    """Returns what counting gives on a part, see `picture_floors`."""
    network = self.network
    if self.data.get(part) is None:
      return {}
    return picture_floors.floors(
      self.data["train"].symbols,
      self.data[part].symbols,
      network.num_symbols,
      network.grid if network.scales == 1 else None,
    )


def compute(
  network: picture_network.PictureNetwork,
  variables: Any,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns how probable pictures are, of any class.

  Returns:
    "nats" (n,) of a picture's symbols, and "symbols" (n, time) themselves.
  """
  pictures = arguments["inputs"]
  symbols = network.apply(variables, pictures, method="symbols")
  logits = network.apply(variables, symbols)
  logs = jax.nn.log_softmax(logits)
  chosen = jnp.take_along_axis(logs, symbols[..., None], axis=-1)
  return {"nats": -chosen.sum(axis=(-2, -1)), "symbols": symbols}


def _predict(model, examples):
  """Returns a row for each picture."""
  arrays = model.outputs(examples.dataset)
  bits = arrays["nats"] / model.network.time / np.log(2)
  columns = {
    "id": np.array(examples.ids),
    "nats": arrays["nats"],
    "bits": bits,
  }
  return columns, arrays


TASK = task.Task(
  name="pictures",
  arm=picture_codes.ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="test_loss",
  better="lower",
  unit="pictures",
  columns={
    "test_loss": "nats of a picture",
    "bits": "bits a symbol",
    "accuracy": "accuracy",
  },
  kind="pictures",
  outputs=outputs.Outputs(
    network=picture_network.PictureNetwork,
    arguments=picture_codes.arguments,
    compute=compute,
    predict=_predict,
    time_axis=lambda network: None,
  ),
)
