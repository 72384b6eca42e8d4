"""Learning tasks one after the other: memories, losses, metrics, learners."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.continual import class_posteriors as class_posteriors
  from jaxseq.tasks.continual import continual_floors as continual_floors
  from jaxseq.tasks.continual import continual_methods as continual_methods
  from jaxseq.tasks.continual import exemplars as exemplars
  from jaxseq.tasks.continual import memo as memo
  from jaxseq.tasks.continual import rehearsal as rehearsal
  from jaxseq.tasks.continual import rounds as rounds
  from jaxseq.tasks.continual import task_learner as task_learner
  from jaxseq.tasks.continual import task_streams as task_streams
  from jaxseq.tasks.continual import transfer as transfer
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
