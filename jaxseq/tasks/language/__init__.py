"""Language models: next tokens of texts."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.language import baselines as baselines
  from jaxseq.tasks.language import dynamic_evaluation as dynamic_evaluation
  from jaxseq.tasks.language import streamed_language as streamed_language
  from jaxseq.tasks.language import suffix_models as suffix_models
  from jaxseq.tasks.language import task as task
  from jaxseq.tasks.language import token_rows as token_rows
  from jaxseq.tasks.language.task import START as START
  from jaxseq.tasks.language.task import TASK as TASK
  from jaxseq.tasks.language.task import Corpus as Corpus
  from jaxseq.tasks.language.task import Problem as Problem
  from jaxseq.tasks.language.task import Text as Text
  from jaxseq.tasks.language.task import bits_per_token as bits_per_token
  from jaxseq.tasks.language.task import first as first
  from jaxseq.tasks.language.task import from_splits as from_splits
  from jaxseq.tasks.language.task import make_network as make_network
  from jaxseq.tasks.language.task import streams as streams
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
