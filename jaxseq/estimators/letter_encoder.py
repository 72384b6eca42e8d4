"""Embeddings of letter sequences, as a scikit-learn transformer."""

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
  """Embeddings of letters by a pretrained masked language model.

    encoder = Encoder("runs/rna/attention/model.safetensors")
    pipeline.make_pipeline(encoder, LogisticRegression()).fit(sequences, labels)

  X are strings, in which "<mask>" is one letter. `fit` loads the model and
  trains nothing; without it the first `transform` loads it.

  Args:
    model: path of the model file, as saved by `experiments.masked_language`.
    of: "sequences" for one embedding per sequence, the mean over its letters
      and both end tokens, or "letters" for one per letter.

  Attributes:
    model_: a `models.Model`.
  """

  model: str | os.PathLike = ""
  _: dataclasses.KW_ONLY
  of: Literal["sequences", "letters"] = "sequences"

  def fit(self, X: object = None, y: object = None) -> Self:
    """Loads the model.

    Args:
      X: not used.
      y: not used.

    Raises:
      ValueError: if it is not a masked language model, or `of` is unknown.
      FileNotFoundError: if the file does not exist.
    """
    del X, y
    validate.choice("of", self.of, ("sequences", "letters"))
    self.model_ = model_file.load_kind("model", self.model, "masked_language")
    return self

  def __sklearn_is_fitted__(self) -> bool:
    """Returns True: there is nothing to fit."""
    return True

  def __sklearn_tags__(self) -> Any:
    """Returns the scikit-learn tags: `fit` is not required."""
    tags = super().__sklearn_tags__()
    tags.requires_fit = False
    return tags

  def transform(self, X: Sequence[str]) -> np.ndarray | list[np.ndarray]:
    """Returns embeddings of n sequences, in float32.

    Args:
      X: (n,) nonempty strings of any lengths.

    Returns:
      (n, d_model); for letters a list of n arrays (letters, d_model).

    Raises:
      ValueError: naming a sequence that is empty or not a string; or as `fit`.
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
    """Returns the head's inputs at every token, (n, time, d_model)."""
    arguments = outputs.tokens(None, dataset)
    read = functools.partial(
      _read, self.model_.network, jax.device_put(self.model_.variables)
    )
    return models.in_batches(read, arguments)["features"]

  def _ready(self):
    """Loads the model, unless it is loaded."""
    if not hasattr(self, "model_"):
      self.fit()

  @property
  def _n_features_out(self):
    self._ready()
    return self.model_.network.config.stack.d_model


@functools.partial(jax.jit, static_argnums=0)
def _read(network, variables, arguments):
  """Returns the features of a batch, by name."""
  tokens, lengths = arguments["tokens"], arguments["lengths"]
  return {"features": network.apply(variables, tokens, lengths, features=True)}
