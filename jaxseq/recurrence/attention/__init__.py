"""Attention to the last elements, to clusters and to all of a sequence."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.attention import clusters as clusters
  from jaxseq.recurrence.attention import exact_attention as exact_attention
  from jaxseq.recurrence.attention import hip as hip
  from jaxseq.recurrence.attention import native_sparse as native_sparse
  from jaxseq.recurrence.attention import path as path
  from jaxseq.recurrence.attention import thin_window as thin_window
  from jaxseq.recurrence.attention import window as window
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
