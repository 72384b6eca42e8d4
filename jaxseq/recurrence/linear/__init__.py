"""Linear recurrences with a decay for each channel."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.linear import linear as linear
  from jaxseq.recurrence.linear.linear import KERNEL_METHODS as KERNEL_METHODS
  from jaxseq.recurrence.linear.linear import METHODS as METHODS
  from jaxseq.recurrence.linear.linear import (
    accumulator_dtype as accumulator_dtype,
  )
  from jaxseq.recurrence.linear.linear import linear_scan as linear_scan
  from jaxseq.recurrence.linear.linear import linear_step as linear_step
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
