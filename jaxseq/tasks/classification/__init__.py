"""Classification of whole sequences."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.classification import confusion as confusion
  from jaxseq.tasks.classification import figures as figures
  from jaxseq.tasks.classification import task as task
  from jaxseq.tasks.classification.task import TASK as TASK
  from jaxseq.tasks.classification.task import Problem as Problem
  from jaxseq.tasks.classification.task import compute as compute
  from jaxseq.tasks.classification.task import is_paired as is_paired
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
