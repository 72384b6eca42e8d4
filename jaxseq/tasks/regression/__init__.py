"""Regression of sequences, per element or as a whole."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.regression import task as task
  from jaxseq.tasks.regression.task import FLOOR as FLOOR
  from jaxseq.tasks.regression.task import TASK as TASK
  from jaxseq.tasks.regression.task import ArmConfig as ArmConfig
  from jaxseq.tasks.regression.task import ImageEncoder as ImageEncoder
  from jaxseq.tasks.regression.task import Options as Options
  from jaxseq.tasks.regression.task import Problem as Problem
  from jaxseq.tasks.regression.task import Regressor as Regressor
  from jaxseq.tasks.regression.task import (
    negative_log_likelihood as negative_log_likelihood,
  )
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
