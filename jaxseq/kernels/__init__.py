"""Kernels of recurrences for TPUs and Hopper GPUs: one folder per operation.

They are compiled by the real compilers of a TPU v5e and an H100, interpreted on
a CPU and compared with `recurrence.reference`, but were never timed: no device
was available. So `method="auto"` uses no kernel until a row of
`recurrence.kernels.table` says that it is faster.

`recurrence.kernels.registry` has only their names, and loads a module when its
kernel is called: everything else works without this folder.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.kernels import delta as delta
  from jaxseq.kernels import gated as gated
  from jaxseq.kernels import linear as linear
  from jaxseq.kernels import lti as lti
  from jaxseq.kernels import mlstm as mlstm
  from jaxseq.kernels import outer as outer
  from jaxseq.kernels import selective as selective
  from jaxseq.kernels import softmax_outer as softmax_outer
  from jaxseq.kernels import window as window
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
