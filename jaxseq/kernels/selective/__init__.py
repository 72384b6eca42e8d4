"""Kernels of `selective_scan`."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.kernels.selective import scan as scan
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
