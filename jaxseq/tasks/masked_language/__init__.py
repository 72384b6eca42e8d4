"""Masked language models."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.masked_language import network as network
  from jaxseq.tasks.masked_language import structformer as structformer
  from jaxseq.tasks.masked_language import task as task
  from jaxseq.tasks.masked_language import tree_scores as tree_scores
  from jaxseq.tasks.masked_language.task import TASK as TASK
  from jaxseq.tasks.masked_language.task import ArmConfig as ArmConfig
  from jaxseq.tasks.masked_language.task import Config as Config
  from jaxseq.tasks.masked_language.task import Options as Options
  from jaxseq.tasks.masked_language.task import Problem as Problem
  from jaxseq.tasks.masked_language.task import begun as begun
  from jaxseq.tasks.masked_language.task import entropy as entropy
  from jaxseq.tasks.masked_language.task import make_network as make_network
  from jaxseq.tasks.masked_language.task import names_of as names_of
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
