"""Supervised fine-tuning: the answers of chats are learnt, packed into rows.

  batch = instruction.pack(examples, 1024)
  logits, _ = network.apply(variables, batch.tokens, None, batch.reset)
  loss = losses.weighted_cross_entropy(logits, batch.targets, batch.weight)

Every chat is read from a fresh state: the state is reset where one begins, and
no target lies across a border. Packing changes neither the loss nor its
gradient, as the weight of each target is carried beside it.
"""

from collections.abc import Sequence
from typing import Literal
from typing import NamedTuple

import numpy as np

from jaxseq import _validate
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
    weight: float64, how much a target counts, 0 where there is none to learn.
    segment: int32, the number of the chat; -1 in padding.
    cut: how many chats were longer than a row, and have lost their ends.
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
    average: over what a weighted mean is taken: all tokens of answers
      ("token"), or first over those of each chat ("example").
    together: whether several chats share a row; each has one of its own if not.
    cut: whether chats that are longer than a row lose their ends; they are an
      error if not.

  Raises:
    ValueError: if there is no chat, or one is too long.
  """
  _validate.integer("length", length, 2)
  _validate.choice("average", average, ("token", "example"))
  if not examples:
    raise _validate.error("examples", 0, "at least one chat")
  lengths = [len(example.tokens) for example in examples]
  longer = sum(size > length for size in lengths)
  if longer and not cut:
    expected = f"at most {length}, the length of a row, or cut=True"
    raise _validate.error("examples", f"{max(lengths)} tokens", expected)
  documents = [example.tokens[:length] for example in examples]
  lengths = [len(tokens) for tokens in documents]
  groups = [[i] for i in range(len(documents))]
  if together:
    groups = schedule.best_fit(lengths, length)
  # To the planner, each row is the work of a device.
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
