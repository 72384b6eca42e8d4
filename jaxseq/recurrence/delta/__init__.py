"""Matrix states whose values are replaced, by the delta rule."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.delta import delta as delta
  from jaxseq.recurrence.delta.delta import METHODS as METHODS
  from jaxseq.recurrence.delta.delta import delta_scan as delta_scan
  from jaxseq.recurrence.delta.delta import delta_step as delta_step
  from jaxseq.recurrence.delta.delta import dplr_scan as dplr_scan
  from jaxseq.recurrence.delta.delta import dplr_step as dplr_step
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
