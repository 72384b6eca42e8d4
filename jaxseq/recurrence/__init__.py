"""Recurrences that can be put back to a fresh state anywhere in time.

Arrays in, arrays out: nothing here knows of layers or parameters, and nothing
else in the package loops over time.
"""

from jaxseq.recurrence.convolution import fft_convolution
from jaxseq.recurrence.gated import GatedCell
from jaxseq.recurrence.gated import GatedParams
from jaxseq.recurrence.gated import from_heads
from jaxseq.recurrence.gated import gated_scan
from jaxseq.recurrence.gated import gated_step
from jaxseq.recurrence.gated import to_heads
from jaxseq.recurrence.linear import linear_scan
from jaxseq.recurrence.linear import linear_step
from jaxseq.recurrence.lti import lti_scan
from jaxseq.recurrence.outer import outer_scan
from jaxseq.recurrence.outer import outer_scan_heads
from jaxseq.recurrence.outer import outer_step
from jaxseq.recurrence.selective import selective_scan
from jaxseq.recurrence.selective import selective_step
from jaxseq.recurrence.sharded_gated import sharded_gated_scan
from jaxseq.recurrence.siso import siso_kernel
from jaxseq.recurrence.siso import siso_scan
from jaxseq.recurrence.softmax import SoftmaxState
from jaxseq.recurrence.softmax import softmax_combine
from jaxseq.recurrence.softmax import softmax_initial
from jaxseq.recurrence.softmax import softmax_scan
from jaxseq.recurrence.softmax import softmax_step
from jaxseq.recurrence.softmax_outer import softmax_decay
from jaxseq.recurrence.softmax_outer import softmax_outer_initial
from jaxseq.recurrence.softmax_outer import softmax_outer_scan
from jaxseq.recurrence.softmax_outer import softmax_outer_step
from jaxseq.recurrence.stepwise import fold
from jaxseq.recurrence.window import window_attention

__all__ = [
  "GatedCell",
  "GatedParams",
  "SoftmaxState",
  "fft_convolution",
  "fold",
  "from_heads",
  "gated_scan",
  "gated_step",
  "linear_scan",
  "linear_step",
  "lti_scan",
  "outer_scan",
  "outer_scan_heads",
  "outer_step",
  "selective_scan",
  "selective_step",
  "sharded_gated_scan",
  "siso_kernel",
  "siso_scan",
  "softmax_combine",
  "softmax_decay",
  "softmax_initial",
  "softmax_outer_initial",
  "softmax_outer_scan",
  "softmax_outer_step",
  "softmax_scan",
  "softmax_step",
  "to_heads",
  "window_attention",
]
