"""A language model of texts, as an estimator."""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any
from typing import Self
from typing import final

import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.data import sources
from jaxseq.data import text_tokens
from jaxseq.data.sources import text
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.models import token_model
from jaxseq.tasks import base as tasks
from jaxseq.tasks import language

# Chunks that a stream reads before it jumps to a random position.
_JUMP_EVERY = 8


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class TextGenerator(base.SequenceEstimator):
  """Continues texts: a language model of bytes, or of a tokenizer's tokens.

    model = TextGenerator().fit(["one document", "another one"])
    model.predict(["It was"])

  Texts are strings, each a separate document. Early stopping evaluates the last
  `validation_fraction` of the shuffled documents' tokens.

  Args:
    OPTIONS
    length: tokens of a chunk, through which gradients flow.
    tokenizer: path of a tokenizer.json of the tokenizers package; bytes if
      None.
    new_tokens: tokens that `predict` adds to a text.
    temperature: sampling temperature; 0 takes the likeliest token.
    top_k: number of likeliest tokens to sample from; all if None.

  Attributes:
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "bits_per_token".
    n_updates_: number of updates at which the variables were found.
  """

  _task = dataclasses.replace(
    language.TASK, problem=lambda arm, make, config: make(arm)
  )

  mixer: str = "mamba"
  _: dataclasses.KW_ONLY
  d_model: int = 128
  batch_size: int = 16
  length: int = 128
  tokenizer: str | os.PathLike | None = None
  new_tokens: int = 100
  temperature: float = 0.8
  top_k: int | None = None

  @final
  def fit(self, texts: Sequence[str], y: object = None) -> Self:
    """Trains a network from the beginning.

    Args:
      texts: the documents.
      y: not used.

    Raises:
      ValueError: naming the text that is not as expected.
      MissingData: if the tokenizer or its package is missing.
    """
    del y
    return self._fit(texts)

  @final
  def predict(self, texts: Sequence[str]) -> list[str]:
    """Returns the texts, each with `new_tokens` sampled tokens after it.

    Args:
      texts: beginnings of documents, which may be empty.

    Raises:
      ValueError: if they are not strings.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    seed = self._seed()
    return [
      token_model.continue_text(
        self.model_,
        one,
        self.new_tokens,
        seed=seed,
        temperature=self.temperature,
        top_k=self.top_k,
      )
      for one in _checked(texts)
    ]

  def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
    """Returns the probabilities (n, tokens) of the token after each text.

    Args:
      texts: texts of two or more tokens each.
    """
    return self.predictions(texts).arrays["probability"]

  def score(self, texts: Sequence[str], y: Any = None) -> float:
    """Returns minus the mean bits per token; greater is better.

    Args:
      texts: documents of two or more tokens each.
      y: not used.
    """
    del y
    examples = self._examples(texts)
    logs = self.model_.predict(examples).arrays["log_probability"]
    lengths = examples.dataset.lengths
    if lengths is not None:
      # The first token is not a target.
      inside = np.arange(logs.shape[1]) < np.asarray(lengths)[:, None] + 1
      logs = logs[inside]
    return float(np.mean(logs, dtype=np.float64) / np.log(2))

  def _read(self, texts: Any, *, reset: bool) -> base.Rows:
    if reset:
      coder, _ = text.tokenizer_of(self.tokenizer)
    else:
      coder = token_model.codec(self.model_.preparation).tokenizer
    values = [
      text_tokens.encode(one.encode(), coder, f"text {number}")
      for number, one in enumerate(_checked(texts))
    ]
    return base.Rows(values, ids=tuple(map(str, range(len(values)))))

  def _held_back(self, rows: base.Rows) -> float:
    """Returns the number of validation chunks."""
    total = sum(map(len, rows.values))
    return total / self.length * self.validation_fraction

  def _preparation(self, rows: base.Rows, train: np.ndarray) -> sources.Source:
    del rows, train
    coder, content = text.tokenizer_of(self.tokenizer)
    vocab_size = 256 if coder is None else coder.get_vocab_size()
    return sources.TextSource(vocab_size=vocab_size, tokenizer=content)

  def _material(
    self,
    rows: base.Rows,
    seed: int | None,
    prepared: sources.Source | None = None,
  ) -> base.Material:
    prepared = prepared or self._preparation(rows, np.arange(len(rows.values)))
    order = np.random.default_rng(seed).permutation(len(rows.values))
    documents = [rows.values[i] for i in order]
    starts = [np.arange(len(one)) == 0 for one in documents]
    whole = language.Text(np.concatenate(documents), np.concatenate(starts))
    count = len(whole.tokens)
    if count < 2:
      raise validate.error("texts", f"{count} tokens", "two or more")
    held = self._patience(rows) != 0
    cut = count - round(count * self.validation_fraction) * held
    train = language.first(whole, cut)
    valid = language.Text(*(x[cut:].copy() for x in whole)) if held else train
    valid.starts[:1] = True
    corpus = language.Corpus(train, valid, valid, prepared.vocab_size)
    length = min(self.length, cut)

    def problem(arm):
      result = language.Problem(
        arm, corpus, length=length, jump_every=_JUMP_EVERY
      )
      result.part = "validation" if held else "test"
      return result

    example = prepared.prepare([whole.tokens[: max(2, length)]])
    return base.Material(problem, cut // length, prepared, example)

  def _prepare(
    self, prepared: sources.Source, rows: base.Rows
  ) -> data.ArrayDataset:
    return prepared.prepare(rows.values)

  def _configure(self, batch_size: int) -> tasks.ArmConfig:
    return tasks.ArmConfig(self._network("none"), self._recipe(), batch_size)


def _checked(texts):
  """Returns texts as a list; rejects anything but several strings."""
  if isinstance(texts, str) or not len(texts):
    expected = "a list of strings, one for each text"
    raise validate.error("texts", texts[:40], expected)
  for number, one in enumerate(texts):
    validate.instance(f"text {number}", one, str, "a string")
  return list(texts)
