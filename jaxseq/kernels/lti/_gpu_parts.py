"""Sizes and options of the fused `lti_scan` kernel on Hopper."""

from typing import NamedTuple

from jaxseq.recurrence.platform import support

TILE = 64  # Elements in flight at once: rows of a product.
CHANNELS = 128  # Channels per block; one per thread.
# Columns of both factors that are multiplied together: 128 bytes.
DEPTH = 32
# Maximum of inputs, outputs, and all parts of states in shared memory.
WIDEST = 256


class Walk(NamedTuple):
  """Static direction and parts of a kernel along time."""

  form: support.Form  # see `support.form`
  parts: int  # 2 for complex states, 1 for real ones
  backwards: bool  # whether it runs from the last element to the first
