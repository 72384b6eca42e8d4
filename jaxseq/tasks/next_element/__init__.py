"""Prediction of the next activity in event logs."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.next_element import task as task
  from jaxseq.tasks.next_element.task import TASK as TASK
  from jaxseq.tasks.next_element.task import Config as Config
  from jaxseq.tasks.next_element.task import Problem as Problem
  from jaxseq.tasks.next_element.task import floors as floors
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
