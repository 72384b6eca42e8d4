"""Recurrences along the branches of a tree of elements."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.trees import tree as tree
  from jaxseq.recurrence.trees import tree_attention as tree_attention
  from jaxseq.recurrence.trees import tree_scans as tree_scans
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
