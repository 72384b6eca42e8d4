"""Kernels for accelerators, and the choice of how a recurrence is computed.

`choice` decides by the platform that a program is lowered for; `table` has what
was measured. The kernels themselves are in modules of their own, one for a
recurrence and one for each kind of chip: they load Pallas, and are imported
where they are used.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.platform import choice as choice
  from jaxseq.recurrence.platform import contexts as contexts
  from jaxseq.recurrence.platform import support as support
  from jaxseq.recurrence.platform import table as table
  from jaxseq.recurrence.platform.contexts import choosing_for as choosing_for
  from jaxseq.recurrence.platform.contexts import interpret as interpret
  from jaxseq.recurrence.platform.contexts import off as off
  from jaxseq.recurrence.platform.contexts import use as use
  from jaxseq.recurrence.platform.contexts import with_cpu as with_cpu
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
