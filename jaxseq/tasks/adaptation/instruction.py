"""Supervised fine-tuning on the answers of chats, packed into rows.

  batch = instruction.pack(examples, 1024)
  logits, _ = network.apply(variables, batch.tokens, None, batch.reset)
  loss = losses.weighted_cross_entropy(logits, batch.targets, batch.weight)

Every chat is read from a fresh state: the state is reset at its start, and no
target is from another chat. Packing changes neither the loss nor its gradient,
as each target has its weight.
"""

from collections.abc import Sequence
from typing import Literal
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.data import chats
from jaxseq.planner import rows
from jaxseq.planner import schedule

Average = Literal["token", "example"]


class Batch(NamedTuple):
  """Chats in rows; arrays are (rows, length).

  Attributes:
    tokens: int32, 0 in padding.
    targets: int32, the token that follows in the same chat, else 0.
    reset: bool, True at the start of every chat, and of padding.
    weight: float64, weight of a target; 0 if it is not learned.
    segment: int32, the number of the chat; -1 in padding.
    cut: number of chats that were truncated to a row.
  """

  tokens: np.ndarray
  targets: np.ndarray
  reset: np.ndarray
  weight: np.ndarray
  segment: np.ndarray
  cut: int


def pack(
  examples: Sequence[chats.Example],
  length: int,
  *,
  average: Average = "token",
  together: bool = True,
  cut: bool = False,
) -> Batch:
  """Packs chats into rows, by best fit.

  Args:
    examples: the chats.
    length: elements of a row.
    average: averaging of the loss: over all tokens of answers ("token"), or
      first within each chat ("example").
    together: whether several chats share a row.
    cut: whether to truncate chats longer than a row; otherwise they raise an
      error.

  Raises:
    ValueError: if there are no chats, or one is too long.
  """
  validate.integer("length", length, 2)
  validate.choice("average", average, ("token", "example"))
  if not examples:
    raise validate.error("examples", 0, "at least one chat")
  lengths = [len(example.tokens) for example in examples]
  longer = sum(size > length for size in lengths)
  if longer and not cut:
    expected = f"at most {length}, the length of a row, or cut=True"
    raise validate.error("examples", f"{max(lengths)} tokens", expected)
  documents = [example.tokens[:length] for example in examples]
  lengths = [len(tokens) for tokens in documents]
  groups = [[i] for i in range(len(documents))]
  if together:
    groups = schedule.best_fit(lengths, length)
  # The planner treats each row as a device.
  plan = []
  for number, group in enumerate(groups):
    ends = np.cumsum([lengths[i] for i in group]).tolist()
    offsets = (0, *ends[:-1])
    plan.append(schedule.Row(tuple(group), offsets, 1, number, 0.0))
  loads = np.zeros(len(plan))
  assignment = schedule.Assignment(plan, loads, 0.0, 0.0, "packing", 0.0)
  (wave,) = rows.lay_out(assignment, documents, [length], uniform=True).waves
  weight = np.zeros(wave.tokens.shape)
  for row in plan:
    for index, offset in zip(row.doc_ids, row.offsets):
      scored = examples[index].mask[1:length].astype(float)
      if average == "example":
        scored /= max(scored.sum(), 1)
      weight[row.first_device, offset : offset + len(scored)] = scored
  return Batch(
    wave.tokens, wave.targets, wave.reset, weight, wave.segment, longer
  )
