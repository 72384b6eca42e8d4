"""Recurrences along the branches of a tree of elements."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.trees import tree as tree
  from jaxseq.recurrence.trees import tree_attention as tree_attention
  from jaxseq.recurrence.trees import tree_scans as tree_scans
  from jaxseq.recurrence.trees.tree import Tree as Tree
  from jaxseq.recurrence.trees.tree import after_node as after_node
  from jaxseq.recurrence.trees.tree import tree_fold as tree_fold
  from jaxseq.recurrence.trees.tree_attention import (
    tree_window_attention as tree_window_attention,
  )
  from jaxseq.recurrence.trees.tree_attention import (
    window_after as window_after,
  )
  from jaxseq.recurrence.trees.tree_scans import outer_after as outer_after
  from jaxseq.recurrence.trees.tree_scans import (
    tree_causal_conv as tree_causal_conv,
  )
  from jaxseq.recurrence.trees.tree_scans import (
    tree_delta_scan as tree_delta_scan,
  )
  from jaxseq.recurrence.trees.tree_scans import (
    tree_linear_scan as tree_linear_scan,
  )
  from jaxseq.recurrence.trees.tree_scans import (
    tree_outer_scan as tree_outer_scan,
  )
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
