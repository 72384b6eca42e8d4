"""Kernels for accelerators, and the choice of how a recurrence is computed.

`choice` decides by the platform that a program is lowered for; `table` has what
was measured: nothing yet. `use` and `off` say whether "auto" takes kernels in
what stands inside of them, whole networks included. The kernels themselves are
in `jaxseq.kernels`: compiled by the real compilers, interpreted against
`reference`, never timed. `registry` knows them by name, and `register` adds
some of other packages.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.platform import choice as choice
  from jaxseq.recurrence.platform import contexts as contexts
  from jaxseq.recurrence.platform import registry as registry
  from jaxseq.recurrence.platform import support as support
  from jaxseq.recurrence.platform import table as table
  from jaxseq.recurrence.platform.contexts import choosing_for as choosing_for
  from jaxseq.recurrence.platform.contexts import interpret as interpret
  from jaxseq.recurrence.platform.contexts import off as off
  from jaxseq.recurrence.platform.contexts import use as use
  from jaxseq.recurrence.platform.contexts import with_cpu as with_cpu
  from jaxseq.recurrence.platform.registry import register as register
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
