"""Running averages whose weights are exponentials."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.averages import softmax as softmax
  from jaxseq.recurrence.averages import softmax_outer as softmax_outer
  from jaxseq.recurrence.averages import wkv as wkv
  from jaxseq.recurrence.averages.softmax import SoftmaxState as SoftmaxState
  from jaxseq.recurrence.averages.softmax import (
    softmax_combine as softmax_combine,
  )
  from jaxseq.recurrence.averages.softmax import (
    softmax_initial as softmax_initial,
  )
  from jaxseq.recurrence.averages.softmax import softmax_scan as softmax_scan
  from jaxseq.recurrence.averages.softmax import softmax_step as softmax_step
  from jaxseq.recurrence.averages.softmax_outer import (
    softmax_decay as softmax_decay,
  )
  from jaxseq.recurrence.averages.softmax_outer import (
    softmax_outer_initial as softmax_outer_initial,
  )
  from jaxseq.recurrence.averages.softmax_outer import (
    softmax_outer_scan as softmax_outer_scan,
  )
  from jaxseq.recurrence.averages.softmax_outer import (
    softmax_outer_step as softmax_outer_step,
  )
  from jaxseq.recurrence.averages.wkv import wkv_initial as wkv_initial
  from jaxseq.recurrence.averages.wkv import wkv_scan as wkv_scan
  from jaxseq.recurrence.averages.wkv import wkv_step as wkv_step
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
