"""Matrix states that sum outer products, with decays."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.outer import outer as outer
  from jaxseq.recurrence.outer.outer import outer_scan as outer_scan
  from jaxseq.recurrence.outer.outer import outer_scan_heads as outer_scan_heads
  from jaxseq.recurrence.outer.outer import outer_step as outer_step
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
