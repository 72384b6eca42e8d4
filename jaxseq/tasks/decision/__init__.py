"""Offline reinforcement learning as sequence modeling."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.decision import task as task
  from jaxseq.tasks.decision.task import TASK as TASK
  from jaxseq.tasks.decision.task import Actions as Actions
  from jaxseq.tasks.decision.task import ArmConfig as ArmConfig
  from jaxseq.tasks.decision.task import Config as Config
  from jaxseq.tasks.decision.task import DecisionModel as DecisionModel
  from jaxseq.tasks.decision.task import Options as Options
  from jaxseq.tasks.decision.task import Problem as Problem
  from jaxseq.tasks.decision.task import Recording as Recording
  from jaxseq.tasks.decision.task import Scales as Scales
  from jaxseq.tasks.decision.task import choose as choose
  from jaxseq.tasks.decision.task import first_steps as first_steps
  from jaxseq.tasks.decision.task import imitation_loss as imitation_loss
  from jaxseq.tasks.decision.task import inputs as inputs
  from jaxseq.tasks.decision.task import make_model as make_model
  from jaxseq.tasks.decision.task import scales as scales
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
