"""Kernels of `gated_scan`, on Hopper GPUs."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.kernels.gated import scan as scan
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
