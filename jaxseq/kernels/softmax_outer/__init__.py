"""Kernels of `softmax_outer_scan`, on Hopper GPUs."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.kernels.softmax_outer import scan as scan
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
