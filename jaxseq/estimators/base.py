"""The base class of estimators: parameters, fitting and prediction.

An estimator defines how its data are read and prepared, its task, and the
configuration of its arm: `_read`, `_preparation`, `_task` and `_configure`.
This base class uses them for everything else.
"""

from collections.abc import Mapping
import dataclasses
import functools
import os
from typing import Any
from typing import ClassVar
from typing import NamedTuple
from typing import Self
from typing import final
import warnings

import numpy as np

from jaxseq import data
from jaxseq import mixers
from jaxseq import nn
from jaxseq import validate
from jaxseq.data import _time_stamps
from jaxseq.data import scale
from jaxseq.data import sources
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import fitting
from jaxseq.estimators import series_input
from jaxseq.models import model as models
from jaxseq.models import model_file
from jaxseq.models import predictions
from jaxseq.tasks import sizes
from jaxseq.tasks import task
from jaxseq.training import recipes
from jaxseq.training.comparison import supervised_arms
from jaxseq.types import PyTree

_SEEDS = 2**31 - 1
# Fewest validation examples for early stopping by default.
_ENOUGH = 20

OPTIONS = """\
  mixer: name of the sequence mixer, one of `mixers.names()`.
  mixer_options: its options, by name.
  d_model: width of the layers; None goes by the size of the data, here and of
    the next two and of the learning rate, see `tasks.sizes`.
  num_layers: of the network.
  dropout: share of activations that are left out in training.
  num_updates: of the parameters, at most.
  batch_size: examples of an update, or all if they are fewer.
  learning_rate: peak; it falls like a cosine.
  weight_decay: of AdamW.
  early_stopping: evaluations without improvement on validation examples after
    which training ends, and the best variables are kept; 0 for none. None is 5
    where the share of validation is enough to tell by, and else 0.
  validation_fraction: share of the examples that these are.
  evaluations: evaluations of the whole training.
  random_state: seed, or a `numpy.random.RandomState`, of all random numbers.
  verbose: 1 shows progress: a bar in a terminal, lines in a notebook."""


class Rows(NamedTuple):
  """Examples passed to an estimator, checked.

  Attributes:
    values: arrays (time_i, channels), or the marks of events.
    targets: target of each example; None if there are no targets.
    ids: name of each example.
    channels: names of the channels, or None.
    times: arrays (time_i,), time of each element; None if unknown.
    classes: (n,) class numbers, for splits stratified by class; None for other
      targets.
    until: end of observation of events, of all or of each; None for the last
      event of all.
    ahead: (horizon,) or (n, horizon), times of a forecast; None if unknown.
  """

  values: list[Any]
  targets: Any = None
  ids: tuple[str, ...] = ()
  channels: tuple[str, ...] | None = None
  times: list[np.ndarray] | None = None
  classes: np.ndarray | None = None
  until: Any = None
  ahead: np.ndarray | None = None


class Material(NamedTuple):
  """Training data, prepared.

  Attributes:
    source: the problem's source, see `tasks.task`.
    count: number of training examples.
    preparation: preparation with the constants of the training examples.
    example: one training example.
    calibration: examples that calibrate the width of intervals, or None.
  """

  source: Any
  count: int
  preparation: sources.Source
  example: data.ArrayDataset
  calibration: data.ArrayDataset | None = None


@dataclasses.dataclass(eq=False, repr=False)
class SequenceEstimator(_scikit_learn.base.BaseEstimator):
  """Base of the estimators: a network around any mixer, trained in memory.

  Attributes:
    model_: the trained `models.Model`.
    history_: lists over evaluations, or chunks of training, by name.
    n_updates_: number of updates at which the variables were found.
  """

  _task: ClassVar[task.Task]
  # Sizes chosen for the data, set by `_measure`.
  _size: ClassVar[Any] = None
  _further: ClassVar[Any] = {}

  mixer: str | None = "s5"
  _: dataclasses.KW_ONLY
  mixer_options: Mapping[str, object] | None = None
  d_model: int | None = 64
  num_layers: int | None = 2
  dropout: float | None = 0.0
  num_updates: int = 1000
  batch_size: int = 32
  learning_rate: float | None = 3e-3
  weight_decay: float = 0.01
  early_stopping: int | None = None
  validation_fraction: float = 0.1
  evaluations: int = 20
  random_state: Any = None
  verbose: int = 0

  def _held_back(self, rows: Rows) -> float:
    """Returns the number of examples that decide when to stop."""
    return len(rows.values) * self.validation_fraction

  def _read(self, *inputs: Any, reset: bool) -> Rows:
    """Returns the rows of the inputs; `reset` if they are for training."""
    raise NotImplementedError

  def _preparation(self, rows: Rows, train: np.ndarray) -> sources.Source:
    """Returns the preparation with the constants of the training rows."""
    raise NotImplementedError

  def _configure(self, batch_size: int) -> Any:
    """Returns the configuration of the arm, a `_task.arm`."""
    raise NotImplementedError

  def _variables(
    self, network: Any, variables: PyTree, material: Material
  ) -> Any:
    """Returns the model's variables, made from the problem's."""
    return variables

  def _material(
    self,
    rows: Rows,
    seed: int | None,
    prepared: sources.Source | None = None,
  ) -> Material:
    """Prepares training data; without a seed nothing is held back."""
    train, valid = self._divide(rows, seed)
    prepared = prepared or self._preparation(rows, train)
    part = self._prepare(prepared, rows)
    first = data.take(part, train)
    held = None if valid is None else data.take(part, valid)
    classes = prepared.classes
    info = data.Info(
      "Examples handed to an estimator.",
      "memory",
      "",
      num_classes=None if classes is None else len(classes),
      vocab_size=getattr(prepared, "vocab_size", None),
      classes=classes,
      channels=prepared.channels,
      horizon=prepared.horizon,
      preparation=prepared,
    )
    # There is no test set; its placeholder is never used.
    splits = data.Splits(first, held, first if held is None else held, info)
    source = self._task.source(splits)
    return Material(source, len(train), prepared, data.take(first, slice(0, 1)))

  def _prepare(self, prepared: sources.Source, rows: Rows) -> data.ArrayDataset:
    """Converts rows to network inputs."""
    return prepared.prepare(rows.values, times=rows.times, targets=rows.targets)

  @final
  def _fit(self, *inputs: object) -> Self:
    """Trains a network from scratch; sets all attributes that `fit` sets."""
    rows = self._read(*inputs, reset=True)
    seed = self._seed()
    material = self._material(rows, seed)
    self._measure(material)
    fitted = fitting.train(
      functools.partial(self._arm, material),
      num_updates=self.num_updates,
      early_stopping=self._patience(rows),
      evaluations=self.evaluations,
      seed=seed,
      label=type(self).__name__,
      verbose=self.verbose,
    )
    self.history_, self.n_updates_ = fitted.history, fitted.update
    self._keep(material, fitted.network, fitted.variables)
    for name in ("_training", "_moments", "_program", "_stream"):
      self.__dict__.pop(name, None)
    return self

  @final
  def _arm(
    self, material: Material, config: supervised_arms.Supervised
  ) -> supervised_arms.Arm:
    arm = self._configure(min(self.batch_size, material.count))
    problem = self._task.problem(arm, material.source, config)
    rate = self._sized("learning_rate")
    return self._task.make_arm(config, arm, problem, rate=rate)

  @final
  def _measure(self, material: Material) -> None:
    """Sets the size that the data ask for, and further fields of networks."""
    source = material.source
    if callable(source):
      return  # Texts are cut for each batch; their networks have one size.
    count = self._task.count(source)
    self._size, self._further = sizes.of(count), self._task.sized(source)
    if self.verbose and None in (self.d_model, self.num_layers):
      print(sizes.described(count, self._size, self._further))

  @final
  def _sized(self, name: str) -> Any:
    """Returns a parameter, or the size chosen for the data if it is None."""
    value = getattr(self, name)
    return getattr(self._size, name) if value is None else value

  @final
  def _keep(self, material: Material, network: Any, variables: PyTree) -> None:
    """Sets `model_`."""
    self.model_ = models.make(
      str(self._task.kind),
      network,
      self._variables(network, variables, material),
      preparation=material.preparation,
      examples=material.example,
      about={"estimator": type(self).__name__, "step": self.n_updates_},
    )

  @final
  def _patience(self, rows: Rows) -> int | None:
    """Returns `early_stopping` for a comparison; None is automatic."""
    if self.early_stopping is None and self._held_back(rows) < _ENOUGH:
      return 0
    return self.early_stopping

  @final
  def _divide(
    self, rows: Rows, seed: int | None
  ) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the rows for training, and those for validation, if any."""
    count = len(rows.values)
    everything = np.arange(count)
    if self._patience(rows) == 0 or seed is None:
      return everything, None
    if count < 2:
      raise ValueError(
        f"early_stopping: got {count} example, expected at least two: one to "
        "train on and one for validation."
      )
    train, valid = _scikit_learn.model_selection.train_test_split(
      everything,
      test_size=self.validation_fraction,
      random_state=seed,
      stratify=_strata(rows.classes, self.validation_fraction),
    )
    return np.sort(train), np.sort(valid)

  @final
  def _seed(self) -> int:
    state = _scikit_learn.validation.check_random_state(self.random_state)
    return int(state.randint(_SEEDS))

  @final
  def _network(self, pooling: str, **options: Any) -> nn.NetworkConfig:
    """Returns the configuration of the network, with further fields."""
    stack = nn.StackConfig(
      mixer=self.mixer,
      mixer_options=dict(self.mixer_options or {}),
      d_model=self._sized("d_model"),
      num_layers=self._sized("num_layers"),
      dropout=self._sized("dropout"),
      **mixers.traits(self.mixer).block,
    )
    return nn.NetworkConfig(stack, pooling=pooling, **options)

  @final
  def _recipe(self, **options: Any) -> recipes.Recipe:
    """Returns the training recipe; programs have the learning rate traced."""
    return recipes.Recipe(weight_decay=self.weight_decay, **options)

  @final
  def _examples(self, *inputs: object) -> sources.Examples:
    """Converts inputs to examples for the model."""
    _scikit_learn.validation.check_is_fitted(self, "model_")
    rows = self._read(*inputs, reset=False)
    prepared = self.model_.preparation
    part = self._prepare(prepared, rows)
    ahead = None if rows.ahead is None else np.atleast_2d(rows.ahead)
    return sources.Examples(rows.ids, part, times=ahead)

  @final
  def _outputs(self, *inputs: object) -> dict[str, np.ndarray]:
    """Returns the network's outputs for examples."""
    examples = self._examples(*inputs)
    return self.model_.outputs(examples.dataset)

  @final
  def predictions(self, *given: object) -> predictions.Predictions:
    """Returns all predictions for examples, as named columns.

    Args:
      *given: examples in any form that `predict` takes.

    Returns:
      A `models.Predictions` with the columns of this kind of model, to be read
      by name or written to a file.
    """
    examples = self._examples(*given)
    return self.model_.predict(examples)

  @final
  def save(self, path: str | os.PathLike) -> None:
    """Writes the model to one file, which `jaxseq.load` reads.

    Args:
      path: path of the file; it includes names of classes and channels, the
        standardization and the versions.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    model_file.save(path, self.model_)

  def __getstate__(self):
    state = dict(super().__getstate__())
    # Without compiled programs.
    state.pop("_program", None)
    if "model_" in state:
      state["model_"] = dataclasses.replace(state["model_"])
    return state


@dataclasses.dataclass(eq=False, repr=False)
class SizedEstimator(SequenceEstimator):
  """Base of the estimators whose network size depends on the data."""

  _: dataclasses.KW_ONLY
  d_model: int | None = None
  num_layers: int | None = None
  dropout: float | None = None
  learning_rate: float | None = None


@dataclasses.dataclass(eq=False, repr=False)
class SeriesEstimator(SequenceEstimator):
  """Base of the estimators of series: X, in any of the common forms."""

  _: dataclasses.KW_ONLY
  missing: str = "refuse"
  channels_first: bool = False

  @final
  def fit(self, X: object, y: object = None) -> Self:
    """Trains a network from scratch.

    Args:
      X: series, see `jaxseq.estimators`.
      y: target of each, see the class; ignored if there are no targets.

    Raises:
      ValueError: naming the invalid input.
    """
    return self._fit(X, y)

  def _targets(self, y: object, rows: Rows, *, reset: bool) -> Rows:
    """Adds targets to rows."""
    raise NotImplementedError

  @final
  def _read(self, X: Any, *y: Any, reset: bool, **options: Any) -> Rows:
    series = series_input.read(self, X, reset=reset)
    rows = Rows(
      series.values,
      ids=series.ids,
      channels=series.channels,
      times=series.times,
    )
    return self._targets(y[0], rows, reset=reset, **options) if y else rows

  def _prepare(self, prepared: sources.Source, rows: Rows) -> data.ArrayDataset:
    if getattr(prepared, "gaps", None) and rows.times is None:
      expected = "one of times: those of the training had unequal steps"
      raise validate.error("X: index", "no times", expected)
    return super()._prepare(prepared, rows)

  @final
  def _standardization(self, rows: Rows, train: np.ndarray) -> dict[str, Any]:
    """Returns the preparation fields that standardize channels."""
    together = np.concatenate([rows.values[i] for i in train])
    channels = rows.channels
    if channels is None:
      channels = tuple(f"channel_{i}" for i in range(together.shape[1]))
    steps: dict[str, Any] = {}
    if rows.times is not None:
      steps["step"], equal = _time_stamps.steps_of(rows.times, train)
      if not equal:
        steps["gaps"] = "channel"
    return {
      **steps,
      "channels": channels,
      **scale.Scale.of(together)._asdict(),
      "missing": self.missing,
      "fill": (0.0,) * len(channels),
      "length": max(len(rows.values[i]) for i in train),
    }


def _strata(classes: np.ndarray | None, fraction: float) -> np.ndarray | None:
  """Returns the classes, if both parts can have examples of each class."""
  if classes is None:
    return None
  counts = np.bincount(classes)
  counts = counts[counts > 0]
  held = int(np.ceil(len(classes) * fraction))
  if counts.min() >= 2 and len(counts) <= min(held, len(classes) - held):
    return classes
  warnings.warn(
    f"validation_fraction: {held} of {len(classes)} examples cannot have all "
    f"{len(counts)} classes, of which the rarest has {counts.min()}: they are "
    "drawn without regard to classes.",
    stacklevel=5,
  )
  return None


def documented(cls: type) -> type:
  """Decorator: inserts the shared options into a class's docstring."""
  lines = "\n".join(f"  {line}" for line in OPTIONS.splitlines())
  cls.__doc__ = (cls.__doc__ or "").replace("  OPTIONS", lines)
  return cls
