"""Supervised problems, each with a network, data, a loss and an evaluation."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks import adaptation as adaptation
  from jaxseq.tasks import base as base
  from jaxseq.tasks import budget as budget
  from jaxseq.tasks import chat_adaptation as chat_adaptation
  from jaxseq.tasks import classification as classification
  from jaxseq.tasks import classification_figures as classification_figures
  from jaxseq.tasks import conformal as conformal
  from jaxseq.tasks import confusion as confusion
  from jaxseq.tasks import decision as decision
  from jaxseq.tasks import dynamic_evaluation as dynamic_evaluation
  from jaxseq.tasks import events as events
  from jaxseq.tasks import forecast_baselines as forecast_baselines
  from jaxseq.tasks import forecast_figures as forecast_figures
  from jaxseq.tasks import forecast_season as forecast_season
  from jaxseq.tasks import forecast_spans as forecast_spans
  from jaxseq.tasks import forecasting as forecasting
  from jaxseq.tasks import instruction as instruction
  from jaxseq.tasks import items as items
  from jaxseq.tasks import language as language
  from jaxseq.tasks import lines as lines
  from jaxseq.tasks import losses as losses
  from jaxseq.tasks import masked_language as masked_language
  from jaxseq.tasks import masked_network as masked_network
  from jaxseq.tasks import masking as masking
  from jaxseq.tasks import named_rewards as named_rewards
  from jaxseq.tasks import next_element as next_element
  from jaxseq.tasks import node_streams as node_streams
  from jaxseq.tasks import outputs as outputs
  from jaxseq.tasks import pair_structures as pair_structures
  from jaxseq.tasks import pairs as pairs
  from jaxseq.tasks import picture_codes as picture_codes
  from jaxseq.tasks import pictures as pictures
  from jaxseq.tasks import point_processes as point_processes
  from jaxseq.tasks import preference as preference
  from jaxseq.tasks import prefix_language as prefix_language
  from jaxseq.tasks import recommendation as recommendation
  from jaxseq.tasks import regression as regression
  from jaxseq.tasks import section_scores as section_scores
  from jaxseq.tasks import segmentation as segmentation
  from jaxseq.tasks import sizes as sizes
  from jaxseq.tasks import streamed_language as streamed_language
  from jaxseq.tasks import structure_figures as structure_figures
  from jaxseq.tasks import suffix_models as suffix_models
  from jaxseq.tasks import summary_baselines as summary_baselines
  from jaxseq.tasks import summary_start as summary_start
  from jaxseq.tasks import synthetic as synthetic
  from jaxseq.tasks import task as task
  from jaxseq.tasks import temporal_graph as temporal_graph
  from jaxseq.tasks import text_baselines as text_baselines
  from jaxseq.tasks import token_rows as token_rows
  from jaxseq.tasks import tree_figures as tree_figures
  from jaxseq.tasks import tree_scores as tree_scores
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
