"""Adapting trained networks to texts, chats and preferences."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.adaptation import chat_adaptation as chat_adaptation
  from jaxseq.tasks.adaptation import instruction as instruction
  from jaxseq.tasks.adaptation import named_rewards as named_rewards
  from jaxseq.tasks.adaptation import preference as preference
  from jaxseq.tasks.adaptation import task as task
  from jaxseq.tasks.adaptation.task import TUNED as TUNED
  from jaxseq.tasks.adaptation.task import Adapted as Adapted
  from jaxseq.tasks.adaptation.task import ArmConfig as ArmConfig
  from jaxseq.tasks.adaptation.task import Base as Base
  from jaxseq.tasks.adaptation.task import MethodConfig as MethodConfig
  from jaxseq.tasks.adaptation.task import TextProblem as TextProblem
  from jaxseq.tasks.adaptation.task import bits_of_pieces as bits_of_pieces
  from jaxseq.tasks.adaptation.task import fit as fit
  from jaxseq.tasks.adaptation.task import make_method as make_method
  from jaxseq.tasks.adaptation.task import make_optimizer as make_optimizer
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
