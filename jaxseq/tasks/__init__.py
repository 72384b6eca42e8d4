"""Supervised problems: a network, a data set, a loss and an evaluation each.

Import the modules you need: `jaxseq.tasks.classification`, ...
"""
