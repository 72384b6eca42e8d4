"""Streams of edges: node states, the network, and baselines."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.temporal_graph import answers as answers
  from jaxseq.tasks.temporal_graph import baselines as baselines
  from jaxseq.tasks.temporal_graph import graph_neighbors as graph_neighbors
  from jaxseq.tasks.temporal_graph import graph_options as graph_options
  from jaxseq.tasks.temporal_graph import network as network
  from jaxseq.tasks.temporal_graph import node_memory as node_memory
  from jaxseq.tasks.temporal_graph import task as task
  from jaxseq.tasks.temporal_graph.task import TASK as TASK
  from jaxseq.tasks.temporal_graph.task import ArmConfig as ArmConfig
  from jaxseq.tasks.temporal_graph.task import Config as Config
  from jaxseq.tasks.temporal_graph.task import Problem as Problem
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
