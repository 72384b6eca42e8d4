"""Gated networks: recurrences that are not linear in their state."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.gated import gated as gated
  from jaxseq.recurrence.gated.gated import METHODS as METHODS
  from jaxseq.recurrence.gated.gated import SCHEMES as SCHEMES
  from jaxseq.recurrence.gated.gated import Arrays as Arrays
  from jaxseq.recurrence.gated.gated import GatedCell as GatedCell
  from jaxseq.recurrence.gated.gated import GatedParams as GatedParams
  from jaxseq.recurrence.gated.gated import from_heads as from_heads
  from jaxseq.recurrence.gated.gated import gated_scan as gated_scan
  from jaxseq.recurrence.gated.gated import gated_step as gated_step
  from jaxseq.recurrence.gated.gated import to_heads as to_heads
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
