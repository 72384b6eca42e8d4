"""Graphs as sequences of their nodes, in the order of a hierarchy of clusters.

    import experiments.graph_sequences
    splits = jaxseq.data.load("graphs", task="connectivity", order="tree")

Importing the folder makes its data set "graphs" known. Its comparison is that
of `experiments.classify`, with the config `configs/classify/graphs.py`.
"""

from jaxseq.data import registry

registry.register("graphs", "experiments.graph_sequences.data:load")
