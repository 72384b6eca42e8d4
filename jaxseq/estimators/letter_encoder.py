"""Embeddings of sequences of letters, as a transformer of scikit-learn."""

from collections.abc import Sequence
import dataclasses
import functools
import os
from typing import Any
from typing import Literal
from typing import Self

import jax
import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.estimators import _scikit_learn
from jaxseq.models import model as models
from jaxseq.models import model_file
from jaxseq.tasks import outputs


@dataclasses.dataclass(eq=False, repr=False)
class Encoder(
  _scikit_learn.base.ClassNamePrefixFeaturesOutMixin,
  _scikit_learn.base.TransformerMixin,
  _scikit_learn.base.BaseEstimator,
):
  """Embeddings of letters by a masked language model that was trained before.

    encoder = Encoder("runs/rna/attention/model.safetensors")
    pipeline.make_pipeline(encoder, LogisticRegression()).fit(sequences, labels)

  X are strings, in which "<mask>" is one letter. `fit` reads the model and
  learns nothing; without it the first `transform` reads it.

  Args:
    model: path of the model's file, as `experiments.masked_language` leaves it.
    of: whether "sequences" have an embedding each, the mean over their letters
      and both of their ends, or all of their "letters".

  Attributes:
    model_: a `models.Model`.
  """

  model: str | os.PathLike = ""
  _: dataclasses.KW_ONLY
  of: Literal["sequences", "letters"] = "sequences"

  def fit(self, X: Any = None, y: Any = None) -> Self:
    """Reads the model.

    Args:
      X: not used.
      y: not used.

    Raises:
      ValueError: if it is no model of masked language, or `of` is unknown.
      FileNotFoundError: if there is no such file.
    """
    del X, y
    validate.choice("of", self.of, ("sequences", "letters"))
    self.model_ = model_file.load_kind("model", self.model, "masked_language")
    return self

  def __sklearn_is_fitted__(self) -> bool:
    """True: there is nothing to fit."""
    return True

  def __sklearn_tags__(self) -> Any:
    """Returns what scikit-learn wants to know: `fit` is not required."""
    tags = super().__sklearn_tags__()
    tags.requires_fit = False
    return tags

  def transform(self, X: Sequence[str]) -> np.ndarray | list[np.ndarray]:
    """Returns embeddings of n sequences, in float32.

    Args:
      X: (n,) strings of any lengths, none of them empty.

    Returns:
      (n, d_model); of letters a list of n arrays (letters, d_model).

    Raises:
      ValueError: naming a sequence that is no text, or an empty one; or as
        `fit`.
      FileNotFoundError: as `fit`.
    """
    self._ready()
    if isinstance(X, str):
      raise validate.error("X", X, f"a list, such as [{X!r}]")
    dataset = self.model_.preparation.prepare(list(X))
    if self.of == "sequences":
      return self.model_.outputs(dataset)["embedding"]
    features = self._features(dataset)
    ends = np.asarray(dataset.lengths) - 1
    return [row[1:end] for row, end in zip(features, ends)]

  def _features(self, dataset: datasets.ArrayDataset) -> np.ndarray:
    """Returns what the head reads at every token, (n, time, d_model)."""
    arguments = outputs.tokens(None, dataset)
    read = functools.partial(
      _read, self.model_.network, jax.device_put(self.model_.variables)
    )
    return models.in_batches(read, arguments)["features"]

  def _ready(self):
    """Reads the model, if that has not been done."""
    if not hasattr(self, "model_"):
      self.fit()

  @property
  def _n_features_out(self):
    self._ready()
    return self.model_.network.config.stack.d_model


@functools.partial(jax.jit, static_argnums=0)
def _read(network, variables, arguments):
  """The features of a batch, by name."""
  tokens, lengths = arguments["tokens"], arguments["lengths"]
  return {"features": network.apply(variables, tokens, lengths, features=True)}
