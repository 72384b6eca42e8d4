"""Memories that were stored with sequences, brought up to date (burn-in)."""

from collections.abc import Callable
from typing import TypeVar

import jax

Memory = TypeVar("Memory")


def renew(
  run: Callable[[Memory, slice], Memory], memory: Memory, burn_in: int
) -> Memory:
  """Returns a stored memory, renewed over the first steps of a sequence.

  A memory is stored when its sequence is played. The parameters of today would
  have another one there: to run over some steps brings most of it up to date.
  Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
  Learning", ICLR 2019 (R2D2), section 3.

  Args:
    run: from a memory and a slice of the steps to the memory after them.
    memory: as it was stored.
    burn_in: steps that renew it; 0 leaves it as it is.

  Returns:
    The memory after the burn-in, through which no gradient flows.
  """
  if not burn_in:
    return memory
  return jax.lax.stop_gradient(run(memory, slice(0, burn_in)))
