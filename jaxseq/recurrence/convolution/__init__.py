"""Convolutions along time, and shifts by an element."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.convolution import (
    causal_convolution as causal_convolution,
  )
  from jaxseq.recurrence.convolution import convolution as convolution
  from jaxseq.recurrence.convolution import (
    routed_convolution as routed_convolution,
  )
  from jaxseq.recurrence.convolution import shift as shift
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
