"""Likelihoods and codes of pictures."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.pictures import picture_codes as picture_codes
  from jaxseq.tasks.pictures import task as task
  from jaxseq.tasks.pictures.task import TASK as TASK
  from jaxseq.tasks.pictures.task import Codec as Codec
  from jaxseq.tasks.pictures.task import Problem as Problem
  from jaxseq.tasks.pictures.task import by_counting as by_counting
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
