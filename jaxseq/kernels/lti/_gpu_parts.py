"""Sizes and options of the kernel that does `lti_scan` as one, on Hopper."""

from typing import NamedTuple

from jaxseq.recurrence.platform import support

TILE = 64  # Elements under way at once: rows of a product.
CHANNELS = 128  # Of which a thread has one.
# Columns of both factors that are multiplied at once: 128 bytes.
DEPTH = 32
# Inputs, outputs, and all parts of states: what shared memory has room for.
WIDEST = 256


class Walk(NamedTuple):
  """Direction and parts of a kernel along time: static."""

  form: support.Form  # as `support.form` gives it
  parts: int  # 2 for complex states, 1 for real ones
  backwards: bool  # whether from the last element to the first
