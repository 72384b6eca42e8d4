"""The choice of how a recurrence is computed, by what a program is lowered for.

The public face is `jaxseq.recurrence.kernels`.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.platform import choice as choice
  from jaxseq.recurrence.platform import contexts as contexts
  from jaxseq.recurrence.platform import registry as registry
  from jaxseq.recurrence.platform import support as support
  from jaxseq.recurrence.platform import table as table
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
