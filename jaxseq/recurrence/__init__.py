"""Recurrences that can be put back to a fresh state anywhere in time.

Arrays in, arrays out: nothing here knows of layers or parameters, and nothing
else in the package loops over time.
"""

from jaxseq.recurrence.gated import GatedCell
from jaxseq.recurrence.gated import GatedParams
from jaxseq.recurrence.gated import from_heads
from jaxseq.recurrence.gated import gated_scan
from jaxseq.recurrence.gated import gated_step
from jaxseq.recurrence.gated import to_heads
from jaxseq.recurrence.linear import linear_scan
from jaxseq.recurrence.linear import linear_step
from jaxseq.recurrence.lti import lti_scan
from jaxseq.recurrence.stepwise import fold

__all__ = [
  "GatedCell",
  "GatedParams",
  "fold",
  "from_heads",
  "gated_scan",
  "gated_step",
  "linear_scan",
  "linear_step",
  "lti_scan",
  "to_heads",
]
