"""A network and its drafting network, as one reader."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


@dataclasses.dataclass(frozen=True)
class Both:
  """A network and its drafting network, which read the same tokens.

  Variables and states are pairs, so that an engine caches both states of a
  prompt. The logits are those of the first network, after the last token only.
  """

  network: TokenNetwork  # The network that decides.
  small: Any  # The network that drafts.

  def apply(
    self,
    variables: PyTree,
    tokens: jax.Array,
    states: PyTree = None,
    **options: Any,
  ) -> tuple[jax.Array, PyTree]:
    """Reads tokens; see `nn.SequenceNetwork`."""
    read = []
    before = (None, None) if states is None else states
    networks = self.network, self.small
    for network, weights, state in zip(
      networks, variables, before, strict=True
    ):
      at = {}
      if isinstance(network, nn.SequenceNetwork) and "method" not in options:
        last = tokens.shape[-1] - 1
        at["at"] = jnp.full((*tokens.shape[:-1], 1), last)
      read.append(network.apply(weights, tokens, state, **options, **at))
    (logits, first), (_, second) = read
    return logits, (first, second)
