"""A trained model: network, variables, data preparation, and its origin."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import os
from typing import Any
from typing import Literal

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxseq import _codec
from jaxseq import data
from jaxseq import validate
from jaxseq.data import series_frames
from jaxseq.data import sources
from jaxseq.interop import step_program
from jaxseq.models import exported
from jaxseq.models import kinds
from jaxseq.models import predictions
from jaxseq.tasks import outputs
from jaxseq.training import run_directory
from jaxseq.types import Network
from jaxseq.types import PyTree

Arrays = Mapping[str, Any]
# Axis names, or fixed sizes.
Axis = int | Literal["batch", "time"]
# dtype and axes of each argument of a model's program, by name.
Signature = Mapping[str, tuple[str, tuple[Axis, ...]]]

# Number of examples in a batch.
_BATCH = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A trained network with everything needed to use it on new data.

    model = jaxseq.load("model.safetensors")
    predictions = model.predict("new.csv")

  Attributes:
    kind: one of `models.kinds.names()`, such as "classification".
    network: a Flax module.
    variables: variables of the network, as NumPy arrays.
    preparation: preparation of raw data, as in training.
    signature: dtype and axes of each array that the network takes: "batch" and
      "time" may have any size.
    about: its origin, as far as known: "experiment", "data", "arm", "seed",
      "step", "chosen_by" and the like.
    versions: versions of Python and the libraries that it was trained with.
    digest: SHA-256 of the model; "" before it is saved.
  """

  kind: str
  network: Network
  variables: PyTree
  preparation: data.Source
  signature: Signature
  about: Mapping[str, object] = dataclasses.field(default_factory=dict)
  versions: Mapping[str, object] = dataclasses.field(default_factory=dict)
  digest: str = ""

  def __post_init__(self):
    kinds.KINDS.check(self.kind, "kind")

  @property
  def parts(self) -> outputs.Outputs:
    """The outputs of the model's kind, see `models.kinds`."""
    return kinds.get(self.kind)

  def examples(self, source: Any) -> data.Examples:
    """Returns prepared examples for the network.

    Args:
      source: the path of a file of the same form as the training data, or a
        pandas frame with the columns of a table; raw arrays or frames, see
        `Source.prepare`; an already prepared `data.ArrayDataset`; or
        `data.Examples`.

    Raises:
      ValueError: if the file or the arrays are not as in training.
    """
    if isinstance(source, data.Examples):
      return source
    source = series_frames.of_pandas(source)
    frame = series_frames.is_frame(source) and self.preparation.reads_frames
    if frame or isinstance(source, (str, os.PathLike)):
      return self.preparation.read(source)
    dataset = source
    if not isinstance(source, data.ArrayDataset):
      dataset = self.preparation.prepare(source)
    count = len(dataset.inputs)
    return data.Examples(tuple(map(str, range(count))), dataset)

  def predict(self, source: Any) -> predictions.Predictions:
    """Predicts from a file or from arrays.

    Args:
      source: see `examples`.

    Returns:
      Named columns, the examples' identifiers first; docs/predictions.md lists
      the columns of each kind.

    Raises:
      ValueError: if the file or the arrays are not as in training.
    """
    return predictions.Predictions(
      *self.parts.predict(self, self.examples(source))
    )

  def export(
    self,
    path: str | os.PathLike | None = None,
    *,
    batch: int | None = None,
    time: int | None = None,
    platforms: Sequence[str] | None = None,
  ) -> jax.export.Exported:
    """Returns the model as a program that runs without jaxseq.

    Args:
      path: file to write, if any.
      batch: number of examples; any if None.
      time: length of sequences; any if None, if the mixers allow it.
      platforms: see `exported.make`.

    Returns:
      The program, which maps the signature's arrays, by name, to `outputs`.

    Raises:
      ValueError: if the sequence length is fixed, or must be.
      ModuleNotFoundError: if a path is given and the extra "export" is not
        installed.
    """
    program = exported.make(self, batch, time, platforms)
    if path is not None:
      exported.write(path, program)
    return program

  def export_step(
    self,
    path: str | os.PathLike,
    format: step_program.Form = "jax",
    *,
    batch: int | None = None,
    platforms: Sequence[str] | None = None,
  ) -> dict[str, Any]:
    """Writes one step of the network, with its states, as a program.

      model.export_step("walks.onnx", "onnx")

    The program reads one element at a time and does not need jaxseq, see
    `interop.step_program` and docs/deploying.md. It takes `inputs` (batch,
    features), prepared as in `examples`, or tokens (batch,) int32, and returns
    `outputs` (batch, n), such as logits of classes.

    Args:
      path: path of the program; walks.json and perhaps walks.npz are written
        beside it.
      format: "jax" for a `jax.export` program; "onnx" for an ONNX graph, which
        is saved only if onnxruntime computes the same results.
      batch: number of examples; any if None.
      platforms: platforms of a JAX program; see `exported.make`.

    Returns:
      The contents of the JSON file: names, shapes, dtypes and initial values.

    Raises:
      ValueError: if the network is not a `SequenceNetwork`, averages over time,
        or uses an operation that ONNX lacks.
      ModuleNotFoundError: if the extra "export" or "onnx" is not installed.
    """
    name = "tokens" if "tokens" in self.signature else "inputs"
    dtype, axes = self.signature[name] if name in self.signature else ("", ())
    step = step_program.of_network(
      self.network,
      self.variables,
      jax.ShapeDtypeStruct([n for n in axes if isinstance(n, int)], dtype),
      kind=self.kind,
      model=self.digest,
      preparation=_codec.encode(self.preparation.to_json(), "preparation"),
    )
    return step_program.save(
      path, step, format, batch=batch, platforms=platforms
    )

  def outputs(self, dataset: data.ArrayDataset) -> dict[str, np.ndarray]:
    """Returns the network's outputs for prepared examples, by name.

    The first axis of each array is examples; `predict` converts them to
    columns.
    """
    if not len(dataset.inputs):
      raise validate.error("examples", 0, "at least one")
    arguments = self.parts.arguments(self.network, dataset)
    return in_batches(self._compiled, self._fitted(arguments))

  @functools.cached_property
  def _compiled(self) -> Callable[[Arrays], Arrays]:
    """Returns the program of a batch, with the variables on the device."""
    return functools.partial(
      _compute,
      self.parts.compute,
      self.network,
      jax.device_put(self.variables),
    )

  def _fitted(self, arguments):
    """Returns arguments that fit the signature; raises a ValueError if not."""
    for name, (dtype, axes) in self.signature.items():
      if name not in arguments and name == "lengths":
        # All sequences have the length of the array.
        inputs = arguments["inputs"].shape
        time = inputs[self.parts.time_axis(self.network) or 1]
        shape = inputs[: len(axes)]
        arguments = {**arguments, name: np.full(shape, time, dtype)}
      got = arguments.get(name)
      if got is None or not _fits(np.shape(got), axes):
        received = None if got is None else f"shape {np.shape(got)}"
        listed = ", ".join(map(str, axes))
        raise validate.error(name, received, f"({listed}), as in training")
    for name in arguments.keys() - self.signature.keys() - {"lengths"}:
      raise validate.error(name, "an array", "none, as in training")
    if "lengths" in arguments.keys() - self.signature.keys():
      self._check_one_length(arguments)
    return arguments

  def _check_one_length(self, arguments):
    """Rejects different lengths if the network's length is fixed."""
    if self.parts.time_axis(self.network) is None:
      time = arguments["inputs"].shape[1]
      raise validate.error(
        "lengths",
        np.unique(arguments["lengths"])[:5].tolist(),
        f"{time} for all, as in training",
      )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compute(compute, network, variables, arguments):
  """Computes outputs; models of equal networks share one compiled program."""
  return compute(network, variables, arguments)


def _fits(shape, axes):
  """True if a shape has the axes of a signature."""
  return len(shape) == len(axes) and all(
    size == want for size, want in zip(shape, axes) if isinstance(want, int)
  )


def make(
  kind: str,
  network: Network,
  variables: PyTree,
  splits: data.Splits | None = None,
  about: Mapping[str, Any] | None = None,
  *,
  preparation: data.Source | None = None,
  examples: Any = None,
) -> Model:
  """Returns the model of a trained network.

    model = models.make(
      "language",
      network,
      variables,
      preparation=data.sources.TextSource(vocab_size=256),
      examples=["any text"],
    )

  Args:
    kind: one of `models.kinds.names()`.
    network: the Flax module.
    variables: its variables, of one seed.
    splits: the training data. Uses one example, the preparation and, for
      forecast intervals, the validation part. Not needed if `preparation` and
      `examples` are given, as from a custom training loop.
    about: see `Model.about`.
    preparation: preparation of raw data, as in training; by default the
      splits'.
    examples: one or more of the training examples, raw, as for
      `preparation.prepare`, or prepared; by default the splits'.

  Raises:
    ValueError: if there are neither splits nor a preparation and examples.
  """
  if splits is None and (preparation is None or examples is None):
    raise ValueError(
      "models.make: got no splits, expected them, or both a preparation and "
      "examples."
    )
  prepared = preparation or splits.info.preparation or sources.derive(splits)
  one = splits.train if examples is None else examples
  if not isinstance(one, data.ArrayDataset):
    one = prepared.prepare(one)
  one = data.take(one, slice(0, 1))
  parts = kinds.get(kind)
  variables = jax.tree.map(np.asarray, jax.device_get(variables))
  if splits is not None and parts.calibrate is not None:
    variables = parts.calibrate(network, variables, splits)
  return Model(
    kind,
    network,
    variables,
    prepared,
    signature_of(parts.arguments(network, one), parts.time_axis(network)),
    dict(about or {}),
    library_versions(),
  )


def signature_of(arguments: Arrays, time_axis: int | None) -> Signature:
  """Returns dtypes and axes of arrays (batch, ...), by name.

  Args:
    arguments: the arrays.
    time_axis: the axis of variable length, besides the batch, or None.
  """
  signature = {}
  for name, x in arguments.items():
    words = {0: "batch", time_axis: "time"}
    axes = tuple(words.get(i, size) for i, size in enumerate(np.shape(x)))
    signature[name] = str(np.asarray(x).dtype), axes
  return signature


def in_batches(
  function: Callable[[Arrays], Arrays], arguments: Arrays, size: int = _BATCH
) -> dict[str, np.ndarray]:
  """Applies a compiled function to examples in batches.

  Args:
    function: maps arrays (batch, ...) by name to such arrays.
    arguments: arrays (n, ...) by name; n is 1 or more.
    size: batch size; the last batch is padded with copies, so that one program
      computes all batches.

  Returns:
    The arrays (n, ...) by name.
  """
  count = len(next(iter(arguments.values())))
  size = min(size, count)
  parts = []
  for start in range(0, count, size):
    rows = np.minimum(np.arange(start, start + size), count - 1)
    outputs = function({k: jnp.asarray(x[rows]) for k, x in arguments.items()})
    number = min(size, count - start)
    parts.append({k: np.asarray(x)[:number] for k, x in outputs.items()})
  return {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}


def library_versions() -> dict[str, Any]:
  """Returns the versions of Python and of the libraries."""
  versions = run_directory.versions()
  names = ("python", "jaxseq", "jax", "jaxlib", "flax", "numpy", "device")
  return {name: versions[name] for name in names}
