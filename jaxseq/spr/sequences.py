"""Sequences that an agent with a memory learns from.

    slots         s .. s+burn_in-1   .. s+burn_in+length-1   .. s+window-1
    what for      memory brought up  learned from            targets
                  to date

The memory before s was stored when s was played. Kapturowski et al., "Recurrent
Experience Replay in Distributed Reinforcement Learning", ICLR 2019 (R2D2).
"""

import dataclasses
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.rl import layers
from jaxseq.spr import inputs

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of sequences.

  Attributes:
    length: steps that are learned from; sequences begin so many steps apart, so
      that each step is learned from in one of them.
    burn_in: steps before those, which renew the stored memory.
    priority_max_share: weight of the greatest priority of a sequence's steps
      against their mean.
  """

  length: int = 16
  burn_in: int = 16
  priority_max_share: float = 0.9

  def __post_init__(self):
    layers.check_positive(self, "length")
    if self.burn_in < 0:
      raise ValueError(f"burn_in must not be negative; got {self.burn_in}.")
    if not 0 <= self.priority_max_share <= 1:
      raise ValueError(
        f"priority_max_share must be in [0, 1]; got {self.priority_max_share}."
      )

  @property
  def span(self) -> int:
    """Steps from the first to the last one that is learned from."""
    return self.burn_in + self.length


class Batch(NamedTuple):
  """What an update learns from; K is 0 without self-prediction.

  Rows are the steps that are learned from: (length, batch), flattened. The
  fields that have them are as in `frames.Batch`.

  Attributes:
    observation: (window, batch, height, width, frames), uint8, or floating in
      [0, 1]; the window is burn_in + length + the larger of K and any n.
    reset: (window, batch) bool, whether an episode begins there.
    memory: the online network's before the first observation, with a leading
      axis batch.
    num_steps: () int32, n.
    action: (max(K, 1), rows) int32.
    return_n: (rows,).
    discount: () or (rows,).
    done: (K + 1, rows) bool.
    done_n: (rows,) bool.
    weight: (batch,) importance weights.
  """

  observation: Array
  reset: Array
  memory: Any
  num_steps: Array
  action: Array
  return_n: Array
  discount: Array
  done: Array
  done_n: Array
  weight: Array


def check(
  config: Config, batch: Batch, ahead: int, image_shape: tuple[int, int, int]
) -> None:
  """Checks the shapes of a batch.

  Args:
    config: of the sequences.
    batch: the batch.
    ahead: K.
    image_shape: (height, width, frames).

  Raises:
    ValueError: naming the field, what came and what is expected.
  """
  size = jnp.shape(batch.weight)[0]
  window, rows = jnp.shape(batch.reset)[0], config.length * size
  least = config.span + max(ahead, 1)
  if window < least:
    raise ValueError(
      f"batch.reset must have at least {least} steps; got {window}."
    )
  shapes = {
    "observation": (window, size, *image_shape),
    "reset": (window, size),
    "action": (max(ahead, 1), rows),
    "return_n": (rows,),
    "done": (ahead + 1, rows),
    "done_n": (rows,),
  }
  inputs.check_shapes(batch, shapes)
