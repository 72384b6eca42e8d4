"""Matrix states that sum outer products, with decays."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.outer import (
    log_linear_attention as log_linear_attention,
  )
  from jaxseq.recurrence.outer import outer as outer
  from jaxseq.recurrence.outer.log_linear_attention import (
    LogLinearState as LogLinearState,
  )
  from jaxseq.recurrence.outer.log_linear_attention import (
    log_linear_initial as log_linear_initial,
  )
  from jaxseq.recurrence.outer.log_linear_attention import (
    log_linear_scan as log_linear_scan,
  )
  from jaxseq.recurrence.outer.log_linear_attention import (
    log_linear_step as log_linear_step,
  )
  from jaxseq.recurrence.outer.outer import outer_scan as outer_scan
  from jaxseq.recurrence.outer.outer import outer_scan_heads as outer_scan_heads
  from jaxseq.recurrence.outer.outer import outer_step as outer_step
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
