"""Exact softmax attention with time split over the devices of a mesh axis.

Schemes of one signature, for use inside `jax.shard_map`; they differ in what
travels, how often, and in memory. `SCHEMES` has them by name.
"""

from jaxseq.recurrence.sharded_attention.all_gather import gather
from jaxseq.recurrence.sharded_attention.all_to_all import ulysses
from jaxseq.recurrence.sharded_attention.blocks import Sight
from jaxseq.recurrence.sharded_attention.blocks import attend
from jaxseq.recurrence.sharded_attention.layout import ORDERS
from jaxseq.recurrence.sharded_attention.layout import from_zigzag
from jaxseq.recurrence.sharded_attention.layout import local_positions
from jaxseq.recurrence.sharded_attention.layout import to_zigzag
from jaxseq.recurrence.sharded_attention.layout import work
from jaxseq.recurrence.sharded_attention.layout import zigzag_order
from jaxseq.recurrence.sharded_attention.moving_queries import token_ring
from jaxseq.recurrence.sharded_attention.ring_attention import ring
from jaxseq.recurrence.sharded_attention.two_pass_ring import (
  ring_self_attention,
)

SCHEMES = {
  "gather": gather,
  "ring": ring,
  "ring_self_attention": ring_self_attention,
  "token_ring": token_ring,
  "ulysses": ulysses,
}

__all__ = [
  "ORDERS",
  "SCHEMES",
  "Sight",
  "attend",
  "from_zigzag",
  "gather",
  "local_positions",
  "ring",
  "ring_self_attention",
  "to_zigzag",
  "token_ring",
  "ulysses",
  "work",
  "zigzag_order",
]
