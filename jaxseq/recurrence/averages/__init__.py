"""Running averages whose weights are exponentials."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.averages import softmax as softmax
  from jaxseq.recurrence.averages import softmax_outer as softmax_outer
  from jaxseq.recurrence.averages import wkv as wkv
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
