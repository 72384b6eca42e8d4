"""Batches sampled from the ring of `frames`: steps, or sequences.

    slots         s .. s+burn_in-1   .. s+burn_in+length-1   .. s+window-1
    used for      memory refresh     learning                targets

For sequences the ring also stores the agent's memory before every `length`th
step, at which sequences start. So one memory is stored per sequence, as
in R2D2 (Kapturowski et al., "Recurrent Experience Replay in Distributed
Reinforcement Learning", ICLR 2019), and not per step, and each frame is stored
once although sequences overlap.
"""

import dataclasses
from typing import NamedTuple

import jax

from jaxseq import validate
from jaxseq.types import PyTree

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of sequences.

  Attributes:
    length: steps to learn from; sequences start that many steps apart, so
      that each step is learned from in exactly one sequence.
    burn_in: earlier steps that refresh the stored memory.
    priority_max_share: weight of the largest priority of a sequence's steps
      against their mean.
  """

  length: int = 16
  burn_in: int = 16
  priority_max_share: float = 0.9

  def __post_init__(self):
    validate.at_least(self, length=1, burn_in=0)
    validate.fields(self, shares=("priority_max_share",))

  @property
  def span(self) -> int:
    """Steps from the start of the burn-in to the last one to learn from."""
    return self.burn_in + self.length


class Batch(NamedTuple):
  """Steps to learn from, alone or in sequences.

  K is 0 without self-prediction. Rows are the steps to learn from: (batch,),
  or those of sequences, (batch, length), flattened.

  Attributes:
    observation: (batch, K + 1, *observation_shape), s_t .. s_{t+K}; for
      sequences (batch, window, *observation_shape), where the window is
      burn_in + length + the larger of K and any n. Images are uint8, or
      floating in [0, 1].
    next_observation: (batch, *observation_shape), s_{t+n}; None for sequences.
    action: (rows, max(K, 1)) int32, taken at t .. t + K - 1.
    return_n: (rows,), the n rewards from t on, discounted.
    discount: () or (rows,), gamma^n.
    done: (rows, K + 1) bool, whether the episode ended with the action taken
      at t .. t + K.
    done_n: (rows,) bool, whether it ended within n steps.
    weight: (batch,) importance weights; they multiply all losses.
    reset: (batch, window) bool, whether an episode starts there; this and the
      following fields are None for single steps.
    memory: the online network's before the first observation, with a leading
      axis batch.
    num_steps: () int32, n.
  """

  observation: Array
  next_observation: Array | None
  action: Array
  return_n: Array
  discount: Array
  done: Array
  done_n: Array
  weight: Array
  reset: Array | None = None
  memory: PyTree = None
  num_steps: Array | None = None


class Following(NamedTuple):
  """The steps after t; k counts from 0, n is at most max_steps.

  Let d be the first done in t .. t + K. Later steps belong to another
  episode and are replaced, except in `action` and `done`.

  Attributes:
    offset: (batch, K + 1 + max_steps) int32, offset of the observation used
      for s_{t+k}: k, or d - t if that is less.
    action: (batch, K + max_steps) int32, taken at t + k.
    return_n: (batch, K + 1), the n rewards from t + k on, discounted, up to the
      end of the episode; 0 after d.
    done: (batch, K + 1) bool, of the action taken at t + k.
    done_n: (batch, K + 1) bool, whether the episode ended within n steps from
      t + k on; True after d.
  """

  offset: Array
  action: Array
  return_n: Array
  done: Array
  done_n: Array
