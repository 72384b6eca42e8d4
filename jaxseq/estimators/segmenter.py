"""Segmentation of documents into sections, as an estimator."""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Self
from typing import final

import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.data import sources
from jaxseq.data.sources import paragraphs
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.tasks import segmentation
from jaxseq.tasks.segmentation import section_scores

Documents = Sequence[Sequence[str]]


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class Segmenter(base.SequenceEstimator):
  """Divides documents into sections, by predicting their first paragraphs.

    model = Segmenter().fit(documents, starts)
    model.predict([["One paragraph.", "Another one."]])

  A document is a sequence of paragraphs, which are strings.

  Args:
    OPTIONS
    words: number of first words of a paragraph that are read.
    buckets: number of word ids, by a checksum of the letters.

  Attributes:
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_pk".
    n_updates_: number of updates at which the variables were found.
  """

  _task = segmentation.TASK

  mixer: str = "gru"
  _: dataclasses.KW_ONLY
  words: int = 48
  buckets: int = 8192
  num_layers: int = 1

  @final
  def fit(self, documents: Documents, starts: Sequence[Any]) -> Self:
    """Trains a network from the beginning.

    Args:
      documents: the paragraphs of each document.
      starts: for each document 1 for paragraphs that begin a section, else 0.

    Raises:
      ValueError: naming the document that is not as expected.
    """
    return self._fit(documents, starts)

  @final
  def predict(self, documents: Documents) -> list[np.ndarray]:
    """Returns the number of each paragraph's section, an array per document.

    Args:
      documents: the paragraphs of each document.

    Raises:
      ValueError: naming the document that is not as expected.
    """
    found = self._outputs(documents)["starts"]
    return [
      np.cumsum(row[: len(one)]) - 1 for row, one in zip(found, documents)
    ]

  def predict_proba(self, documents: Documents) -> list[np.ndarray]:
    """Returns the probability that a section begins at each paragraph."""
    found = self._outputs(documents)["probability"]
    return [row[: len(one)] for row, one in zip(found, documents)]

  def score(self, documents: Documents, starts: Sequence[Any]) -> float:
    """Returns 1 minus P_k, the mean over documents; 1 is best.

    Args:
      documents: the paragraphs of each document.
      starts: see `fit`.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    rows = self._read(documents, starts, reset=False)
    part = self._prepare(self.model_.preparation, rows)
    found = self.model_.outputs(part)["starts"]
    true = np.asarray(part.targets) > 0
    return 1 - float(section_scores.p_k(found, true, part.lengths).mean())

  def _read(
    self, documents: Any, starts: Any = None, *, reset: bool
  ) -> base.Rows:
    del reset
    if isinstance(documents, str) or not len(documents):
      expected = "documents, each a sequence of paragraphs"
      raise validate.error("documents", repr(documents)[:40], expected)
    if starts is not None:
      starts = list(map(np.asarray, starts))
      if len(starts) != len(documents):
        expected = f"{len(documents)}, one for each document"
        raise validate.error("starts", f"{len(starts)} arrays", expected)
      for number, row in enumerate(starts):
        if not np.isin(row, (0, 1)).all():
          raise validate.error(f"starts[{number}]", row.tolist(), "0 and 1")
    ids = tuple(map(str, range(len(documents))))
    return base.Rows(list(documents), targets=starts, ids=ids)

  def _preparation(self, rows: base.Rows, train: np.ndarray) -> sources.Source:
    del rows, train
    return paragraphs.ParagraphSource(buckets=self.buckets, words=self.words)

  def _prepare(
    self, prepared: sources.Source, rows: base.Rows
  ) -> data.ArrayDataset:
    return prepared.prepare(rows.values, targets=rows.targets)

  def _configure(self, batch_size: int) -> segmentation.ArmConfig:
    return segmentation.ArmConfig(
      self._network("none"), self._recipe(), batch_size
    )
