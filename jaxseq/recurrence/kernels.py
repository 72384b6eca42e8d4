"""Kernels for accelerators, and the choice of the method of a recurrence.

`choice` decides by the platform that a program is lowered for; `table` has
measurements: none yet. `use` and `off` set whether "auto" uses kernels in
everything inside of them, whole networks included. The kernels themselves are
in `jaxseq.kernels`: compiled by the real compilers, interpreted against
`reference`, never timed. `registry` lists them by name, and `register` adds
kernels of other packages.
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
