"""Attention to the last elements, to clusters and to all of a sequence."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.attention import clusters as clusters
  from jaxseq.recurrence.attention import exact_attention as exact_attention
  from jaxseq.recurrence.attention import hip as hip
  from jaxseq.recurrence.attention import window as window
  from jaxseq.recurrence.attention._schemes.layout import (
    from_zigzag as from_zigzag,
  )
  from jaxseq.recurrence.attention._schemes.layout import (
    local_positions as local_positions,
  )
  from jaxseq.recurrence.attention._schemes.layout import to_zigzag as to_zigzag
  from jaxseq.recurrence.attention._schemes.layout import (
    zigzag_order as zigzag_order,
  )
  from jaxseq.recurrence.attention.clusters import ClusterState as ClusterState
  from jaxseq.recurrence.attention.clusters import (
    cluster_attention as cluster_attention,
  )
  from jaxseq.recurrence.attention.clusters import (
    cluster_initial as cluster_initial,
  )
  from jaxseq.recurrence.attention.clusters import cluster_step as cluster_step
  from jaxseq.recurrence.attention.exact_attention import (
    softmax_attention as softmax_attention,
  )
  from jaxseq.recurrence.attention.window import WindowState as WindowState
  from jaxseq.recurrence.attention.window import (
    window_attention as window_attention,
  )
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
