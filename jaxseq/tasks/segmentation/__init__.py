"""Segmentation of documents into sections."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.segmentation import section_scores as section_scores
  from jaxseq.tasks.segmentation import task as task
  from jaxseq.tasks.segmentation.task import TASK as TASK
  from jaxseq.tasks.segmentation.task import ArmConfig as ArmConfig
  from jaxseq.tasks.segmentation.task import Config as Config
  from jaxseq.tasks.segmentation.task import Options as Options
  from jaxseq.tasks.segmentation.task import Problem as Problem
  from jaxseq.tasks.segmentation.task import drawn_pairs as drawn_pairs
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
