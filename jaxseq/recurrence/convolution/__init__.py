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
  from jaxseq.recurrence.convolution.causal_convolution import (
    causal_conv as causal_conv,
  )
  from jaxseq.recurrence.convolution.causal_convolution import (
    causal_conv_step as causal_conv_step,
  )
  from jaxseq.recurrence.convolution.convolution import (
    chunk_convolution as chunk_convolution,
  )
  from jaxseq.recurrence.convolution.convolution import (
    fft_convolution as fft_convolution,
  )
  from jaxseq.recurrence.convolution.routed_convolution import (
    routed_conv as routed_conv,
  )
  from jaxseq.recurrence.convolution.routed_convolution import (
    routed_conv_step as routed_conv_step,
  )
  from jaxseq.recurrence.convolution.shift import token_shift as token_shift
  from jaxseq.recurrence.convolution.shift import (
    token_shift_step as token_shift_step,
  )
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
