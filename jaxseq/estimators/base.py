"""The base of estimators: options, splits, preparation and models."""

from collections.abc import Callable
import dataclasses
import os
from typing import Any

import numpy as np

from jaxseq import data
from jaxseq import mixers
from jaxseq import nn
from jaxseq.data import preparation as preparations
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import fitting
from jaxseq.estimators import series_input
from jaxseq.models import model as models
from jaxseq.models import model_file
from jaxseq.training import recipes
from jaxseq.training.comparison import supervised_arms

_SEEDS = 2**31 - 1

OPTIONS = """\
  mixer: name of the sequence mixer, one of `mixers.names()`.
  mixer_options: its options, by name.
  d_model: width of the layers.
  num_layers: of the network.
  dropout: share of activations that are left out in training.
  num_updates: of the parameters, at most.
  batch_size: examples of an update, or all if they are fewer.
  learning_rate: peak; it falls like a cosine.
  weight_decay: of AdamW.
  early_stopping: evaluations without improvement on validation examples after
    which training ends, and the best variables are kept; 0 for none.
  validation_fraction: share of the examples that these are.
  evaluations: evaluations of the whole training.
  random_state: seed, or a `numpy.random.RandomState`, of all random numbers.
  verbose: 1 shows progress: a bar in a terminal, lines in a notebook."""


class SequenceEstimator(_scikit_learn.base.BaseEstimator):
  """Base of the estimators: a network around any mixer, trained in memory.

  A subclass names its parameters in its own `__init__`, as scikit-learn wants
  it.

  Attributes:
    model_: a `models.Model` of what was trained.
    history_: lists over evaluations, or chunks of training, by name.
    n_updates_: updates after which the variables were found.
  """

  missing = "refuse"
  channels_first = False

  def _network(self, pooling: str) -> nn.NetworkConfig:
    """Returns the configuration of the network."""
    mixer_options = dict(self.mixer_options or {})
    traits = mixers.traits(self.mixer)
    stack = nn.StackConfig(
      mixer=self.mixer,
      mixer_options=mixer_options,
      d_model=self.d_model,
      num_layers=self.num_layers,
      dropout=self.dropout,
      **traits.block,
    )
    return nn.NetworkConfig(stack, pooling=pooling)

  def _recipe(self) -> recipes.Recipe:
    return recipes.Recipe(
      learning_rate=self.learning_rate, weight_decay=self.weight_decay
    )

  def _seed(self) -> int:
    state = _scikit_learn.validation.check_random_state(self.random_state)
    return int(state.randint(_SEEDS))

  def _train(
    self,
    make: Callable[[supervised_arms.Supervised], supervised_arms.Arm],
    seed: int,
  ) -> fitting.Fitted:
    """Trains the problem of an arm; sets `history_` and `n_updates_`."""
    fitted = fitting.train(
      make,
      num_updates=self.num_updates,
      early_stopping=self.early_stopping,
      evaluations=self.evaluations,
      seed=seed,
      label=type(self).__name__,
      verbose=self.verbose,
    )
    self.history_, self.n_updates_ = fitted.history, fitted.update
    return fitted

  def _keep(self, kind: str, network: Any, variables: Any, splits) -> None:
    """Sets `model_`."""
    about = {"estimator": type(self).__name__, "step": self.n_updates_}
    self.model_ = models.make(kind, network, variables, splits, about)

  def _divide(
    self, count: int, seed: int, strata: np.ndarray | None = None
  ) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the rows to train on, and those of validation, if any."""
    rows = np.arange(count)
    if not self.early_stopping:
      return rows, None
    if strata is not None and np.bincount(strata).min() < 2:
      strata = None
    train, valid = _scikit_learn.model_selection.train_test_split(
      rows,
      test_size=self.validation_fraction,
      random_state=seed,
      stratify=strata,
    )
    return np.sort(train), np.sort(valid)

  def _prepared(
    self, series: series_input.Series, train: np.ndarray, **fields: Any
  ) -> preparations.Preparation:
    """Returns the preparation, whose constants are those of training series."""
    rows = [series.values[i] for i in train]
    together = np.concatenate(rows)
    channels = series.channels
    if channels is None:
      width = together.shape[1]
      channels = tuple(f"channel_{i}" for i in range(width))
    with np.errstate(invalid="ignore"):
      mean, deviation = np.nanmean(together, 0), np.nanstd(together, 0)
    # A channel that never changes stays what it is.
    deviation = np.where(deviation > 0, deviation, 1.0)
    return preparations.Preparation(
      "series",
      channels=channels,
      mean=preparations.as_numbers(mean),
      deviation=preparations.as_numbers(deviation),
      missing=self.missing,
      fill=(0.0,) * len(channels),
      length=max(map(len, rows)),
      **fields,
    )

  def predictions(self, X: Any) -> Any:
    """Returns all that the model says of series, as named columns.

    Args:
      X: series in any form.

    Returns:
      A `models.Predictions`: of each kind of model its columns, to be read by
      name or written to a file.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    series = series_input.read(self, X, reset=False)
    dataset = self.model_.preparation.prepare(series.values)
    return self.model_.predict(preparations.Examples(series.ids, dataset))

  def _outputs(self, X: Any) -> dict[str, np.ndarray]:
    """Returns what the network says of series."""
    _scikit_learn.validation.check_is_fitted(self, "model_")
    series = series_input.read(self, X, reset=False)
    return self.model_.outputs(self.model_.preparation.prepare(series.values))

  def save(self, path: str | os.PathLike) -> None:
    """Writes the model to one file, which `jaxseq.load` reads.

    Args:
      path: where; the classes' and channels' names, the standardization and the
        versions are in it.
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


def splits_of(
  part: data.ArrayDataset,
  train: np.ndarray,
  valid: np.ndarray | None,
  **info: Any,
) -> data.Splits:
  """Returns examples as parts of a set; there is no test set.

  Args:
    part: all examples.
    train: rows of the training examples.
    valid: rows of those of validation; None for none.
    **info: further fields of `data.Info`.
  """
  known = data.Info("Series handed to an estimator.", "memory", "", **info)
  first = data.take(part, train)
  held = None if valid is None else data.take(part, valid)
  return data.Splits(first, held, first if held is None else held, known)


def documented(cls: type) -> type:
  """Decorator: puts the options that all share into a class's docstring."""
  cls.__doc__ = (cls.__doc__ or "").replace("  OPTIONS", _indented(OPTIONS))
  return cls


def _indented(text):
  return "\n".join(f"  {line}" for line in text.splitlines())
