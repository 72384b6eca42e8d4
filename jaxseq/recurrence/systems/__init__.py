"""Linear systems whose matrices do not depend on time."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.systems import lti as lti
  from jaxseq.recurrence.systems import siso as siso
  from jaxseq.recurrence.systems.lti import lti_scan as lti_scan
  from jaxseq.recurrence.systems.siso import siso_kernel as siso_kernel
  from jaxseq.recurrence.systems.siso import siso_scan as siso_scan
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
