"""Attention over a split sequence, from a `blocks.Problem` and a mesh axis.

`exact_attention.softmax_attention` describes what each scheme exchanges.
"""

from jaxseq.recurrence.attention._schemes.all_gather import gather
from jaxseq.recurrence.attention._schemes.all_to_all import ulysses
from jaxseq.recurrence.attention._schemes.moving_queries import token_ring
from jaxseq.recurrence.attention._schemes.ring_attention import ring
from jaxseq.recurrence.attention._schemes.two_pass_ring import (
  ring_self_attention,
)

SCHEMES = {
  "gather": gather,
  "ring": ring,
  "ring_self_attention": ring_self_attention,
  "token_ring": token_ring,
  "ulysses": ulysses,
}
