"""The choice of a recurrence's method by the platform of the program.

Users import it as `jaxseq.recurrence.kernels`.
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
