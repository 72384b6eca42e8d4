"""Likelihoods of pictures: of quantized pixels, or of a codec's codes.

For pixels, bits are per pixel, 64 pixels in a digit of 8 x 8. For codes, the
cost under their prior is reported beside the error of the codec
(`picture_codes`), and is not a likelihood of the picture.
"""

import functools
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.nn import picture_codec
from jaxseq.nn import picture_network
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.tasks.pictures import picture_codes
from jaxseq.training import supervised
from jaxseq.types import PyTree

# Number of pictures that are encoded at once.
_BATCH = 512
# Weight, in pictures, of the mean of two coarser distributions.
_STRENGTH = 16.0
# Maximum number of entries of a table of counts.
_LARGEST = 2**24


class Symbols(NamedTuple):
  """Pictures as symbols.

  Attributes:
    symbols: (n, time) int32.
    labels: (n,) int32, the classes; -1 if unknown.
  """

  symbols: np.ndarray
  labels: np.ndarray


class Codec(NamedTuple):
  """A trained codec.

  Attributes:
    config: options of `nn.PictureCodec`.
    variables: variables of the codec.
  """

  config: picture_codec.CodecConfig
  variables: PyTree


class Problem(base.ArrayProblem):
  """Predicting the symbols of pictures.

  Args:
    arm: network and batch size.
    splits: gray pictures, see `picture_codes.check`.
    codec: codec of the codes to predict; pixels if None.

  Raises:
    ValueError: if the data are not gray pictures, have no classes although
      `arm.by_class` is True, or the network pools.
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
    arm.network.stack.refuse(
      "network.stack", bidirectional="the next symbol is predicted"
    )
    classes = splits.info.num_classes
    if arm.by_class and classes is None:
      expected = "False, as the data have no classes"
      raise validate.error("by_class", True, expected)
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
    """The symbols of pictures, computed in batches."""
    variables = {} if self._codec is None else {"codec": self._codec}
    read = jax.jit(
      functools.partial(network.apply, variables, method="symbols")
    )
    starts = range(0, len(pictures), _BATCH)
    rows = [np.asarray(read(pictures[i : i + _BATCH])) for i in starts]
    return np.concatenate(rows)

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network, with the codec's."""
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
    """Returns the bits per symbol; drops the classes of some pictures."""
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
    """Returns the counting baselines of a part, see `by_counting`."""
    network = self.network
    if self.data.get(part) is None:
      return {}
    return by_counting(
      self.data["train"].symbols,
      self.data[part].symbols,
      network.num_symbols,
      network.grid if network.scales == 1 else None,
    )


def by_counting(
  train: np.ndarray,
  test: np.ndarray,
  count: int,
  grid: tuple[int, int] | None = None,
) -> dict[str, dict[str, float]]:
  """Returns likelihoods of pictures by counts of the training pictures.

  The counts are of all symbols, per place, and per place with the symbols to
  the left and above.

  Args:
    train: (n, time) integers below `count`, to count.
    test: (m, time) integers.
    count: number of symbols.
    grid: rows and columns, if symbols have neighbors.

  Returns:
    "test_loss" (nats of a picture) and "bits" (of a symbol), by label.
  """
  time = train.shape[1]
  # One is added to every count, so that no symbol is impossible.
  whole = np.bincount(train.ravel(), minlength=count) + 1.0
  whole /= whole.sum()
  place = np.zeros((time, count))
  for at in range(time):
    place[at] = np.bincount(train[:, at], minlength=count) + whole
  place /= place.sum(axis=-1, keepdims=True)
  here = np.arange(time)
  rows = {
    "histogram": np.broadcast_to(whole, (time, count))[here, test],
    "histogram of each place": place[here, test],
  }
  contexts = (count + 1) ** 2
  if grid is not None and time * contexts * count <= _LARGEST:
    table = picture_network.neighbors(grid, 1)
    # In the table, column 0 is the left neighbor and column 2 the upper one.
    known = [
      (count + 1) * _symbols_at(x, table[:, 0], count)
      + _symbols_at(x, table[:, 2], count)
      for x in (train, test)
    ]
    beside = np.zeros((contexts, count)) + whole
    np.add.at(beside, (known[0], train), 1)
    beside /= beside.sum(axis=-1, keepdims=True)
    both = np.zeros((time, contexts, count))
    np.add.at(both, (here, known[0], train), 1)
    # Few pictures have the same neighbors at the same place.
    both += _STRENGTH * (place[:, None] + beside) / 2
    both /= both.sum(axis=-1, keepdims=True)
    rows["place, left and above"] = both[here, known[1], test]
  losses = {
    name: float(-np.log(values).sum(axis=1).mean())
    for name, values in rows.items()
  }
  return {
    name: {"test_loss": loss, "bits": loss / time / math.log(2)}
    for name, loss in losses.items()
  }


def _symbols_at(x, places, count):
  """Symbols (n, time) at other places; `count` outside of the picture."""
  outside = np.full((len(x), 1), count, x.dtype)
  return np.concatenate([x, outside], axis=1)[:, places]


def compute(
  network: picture_network.PictureNetwork,
  variables: PyTree,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns the likelihoods of pictures, without a class.

  Returns:
    "nats" (n,), the negative log-likelihoods, and "symbols" (n, time).
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
  own_files=task.OwnFiles(fields={"levels": 16, "context": 2}),
)
