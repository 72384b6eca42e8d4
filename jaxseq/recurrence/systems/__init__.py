"""Linear systems whose matrices do not depend on time."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.systems import lti as lti
  from jaxseq.recurrence.systems import siso as siso
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
