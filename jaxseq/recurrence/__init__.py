"""Recurrences that can be put back to a fresh state anywhere in time.

Arrays in, arrays out: nothing here knows of layers or parameters. Scans take
`axis`, the name of a mesh axis over which time is split, inside
`jax.shard_map`; without it they run on one device.
"""

from jaxseq.recurrence._contractions import dense
from jaxseq.recurrence._sharded.attention_schemes.layout import from_zigzag
from jaxseq.recurrence._sharded.attention_schemes.layout import local_positions
from jaxseq.recurrence._sharded.attention_schemes.layout import to_zigzag
from jaxseq.recurrence._sharded.attention_schemes.layout import zigzag_order
from jaxseq.recurrence.causal_convolution import causal_conv
from jaxseq.recurrence.causal_convolution import causal_conv_step
from jaxseq.recurrence.convolution import fft_convolution
from jaxseq.recurrence.exact_attention import softmax_attention
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
  "causal_conv",
  "causal_conv_step",
  "dense",
  "fft_convolution",
  "fold",
  "from_heads",
  "from_zigzag",
  "gated_scan",
  "gated_step",
  "linear_scan",
  "linear_step",
  "local_positions",
  "lti_scan",
  "outer_scan",
  "outer_scan_heads",
  "outer_step",
  "selective_scan",
  "selective_step",
  "siso_kernel",
  "siso_scan",
  "softmax_attention",
  "softmax_combine",
  "softmax_decay",
  "softmax_initial",
  "softmax_outer_initial",
  "softmax_outer_scan",
  "softmax_outer_step",
  "softmax_scan",
  "softmax_step",
  "to_heads",
  "to_zigzag",
  "window_attention",
  "zigzag_order",
]
