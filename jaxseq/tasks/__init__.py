"""Supervised problems, each with a network, data, a loss and an evaluation."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks import adaptation as adaptation
  from jaxseq.tasks import base as base
  from jaxseq.tasks import budget as budget
  from jaxseq.tasks import classification as classification
  from jaxseq.tasks import decision as decision
  from jaxseq.tasks import events as events
  from jaxseq.tasks import forecasting as forecasting
  from jaxseq.tasks import language as language
  from jaxseq.tasks import lines as lines
  from jaxseq.tasks import losses as losses
  from jaxseq.tasks import masked_language as masked_language
  from jaxseq.tasks import masking as masking
  from jaxseq.tasks import next_element as next_element
  from jaxseq.tasks import outputs as outputs
  from jaxseq.tasks import pictures as pictures
  from jaxseq.tasks import ranking as ranking
  from jaxseq.tasks import recommendation as recommendation
  from jaxseq.tasks import regression as regression
  from jaxseq.tasks import segmentation as segmentation
  from jaxseq.tasks import sizes as sizes
  from jaxseq.tasks import summary_baselines as summary_baselines
  from jaxseq.tasks import summary_start as summary_start
  from jaxseq.tasks import task as task
  from jaxseq.tasks import temporal_graph as temporal_graph
  from jaxseq.tasks.masked_language import tree_scores as tree_scores
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
