"""Supervised problems: a network, a data set, a loss and an evaluation each."""

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
  from jaxseq.tasks import continual as continual
  from jaxseq.tasks import decision as decision
  from jaxseq.tasks import document_arms as document_arms
  from jaxseq.tasks import document_plans as document_plans
  from jaxseq.tasks import documents as documents
  from jaxseq.tasks import dynamic_evaluation as dynamic_evaluation
  from jaxseq.tasks import event_answers as event_answers
  from jaxseq.tasks import event_arms as event_arms
  from jaxseq.tasks import event_calibration as event_calibration
  from jaxseq.tasks import event_floors as event_floors
  from jaxseq.tasks import event_futures as event_futures
  from jaxseq.tasks import event_likelihood as event_likelihood
  from jaxseq.tasks import event_metrics as event_metrics
  from jaxseq.tasks import event_network as event_network
  from jaxseq.tasks import event_rates as event_rates
  from jaxseq.tasks import event_sequences as event_sequences
  from jaxseq.tasks import event_windows as event_windows
  from jaxseq.tasks import events as events
  from jaxseq.tasks import forecast_figures as forecast_figures
  from jaxseq.tasks import forecasting as forecasting
  from jaxseq.tasks import gap_mixture as gap_mixture
  from jaxseq.tasks import graph_floors as graph_floors
  from jaxseq.tasks import graph_neighbors as graph_neighbors
  from jaxseq.tasks import graph_network as graph_network
  from jaxseq.tasks import graph_options as graph_options
  from jaxseq.tasks import group_policy as group_policy
  from jaxseq.tasks import hawkes_fit as hawkes_fit
  from jaxseq.tasks import instruction as instruction
  from jaxseq.tasks import item_floors as item_floors
  from jaxseq.tasks import item_losses as item_losses
  from jaxseq.tasks import item_metrics as item_metrics
  from jaxseq.tasks import item_network as item_network
  from jaxseq.tasks import item_streams as item_streams
  from jaxseq.tasks import item_texts as item_texts
  from jaxseq.tasks import language as language
  from jaxseq.tasks import lines as lines
  from jaxseq.tasks import losses as losses
  from jaxseq.tasks import masked_language as masked_language
  from jaxseq.tasks import masked_network as masked_network
  from jaxseq.tasks import masking as masking
  from jaxseq.tasks import next_element as next_element
  from jaxseq.tasks import node_memory as node_memory
  from jaxseq.tasks import outputs as outputs
  from jaxseq.tasks import pairs as pairs
  from jaxseq.tasks import picture_codes as picture_codes
  from jaxseq.tasks import picture_floors as picture_floors
  from jaxseq.tasks import pictures as pictures
  from jaxseq.tasks import preference as preference
  from jaxseq.tasks import prefix_language as prefix_language
  from jaxseq.tasks import ranking as ranking
  from jaxseq.tasks import recommendation as recommendation
  from jaxseq.tasks import recommendation_answers as recommendation_answers
  from jaxseq.tasks import recommendation_arms as recommendation_arms
  from jaxseq.tasks import regression as regression
  from jaxseq.tasks import semantic_ids as semantic_ids
  from jaxseq.tasks import semantic_network as semantic_network
  from jaxseq.tasks import semantic_recommendation as semantic_recommendation
  from jaxseq.tasks import streamed_language as streamed_language
  from jaxseq.tasks import suffix_models as suffix_models
  from jaxseq.tasks import synthetic as synthetic
  from jaxseq.tasks import task as task
  from jaxseq.tasks import temporal_graph as temporal_graph
  from jaxseq.tasks import token_rows as token_rows
  from jaxseq.tasks import tree_scores as tree_scores
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
