"""Streams of edges: node states, the network, and baselines."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.node_streams import graph_answers as graph_answers
  from jaxseq.tasks.node_streams import graph_floors as graph_floors
  from jaxseq.tasks.node_streams import graph_neighbors as graph_neighbors
  from jaxseq.tasks.node_streams import graph_network as graph_network
  from jaxseq.tasks.node_streams import graph_options as graph_options
  from jaxseq.tasks.node_streams import node_memory as node_memory
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
