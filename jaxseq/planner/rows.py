"""Tokens of a plan as arrays of few static shapes: waves.

A wave holds at most one row for every device. It is seen as a mesh of (groups,
degree) devices, each with `chunk` tokens: its arrays are (groups, degree *
chunk), where device g d + i holds elements i chunk to (i + 1) chunk of row g.

There are two ways to fill waves. Uniform ones hold rows of one degree and chunk
size; groups are independent, so that they do not wait, and groups without a row
in a wave skip it. Mixed ones hold the w-th row of every device, of any degree:
rows of smaller groups lie side by side in the array row of the largest, and
resets separate them. They are fewer, but groups that share an array row proceed
together. Attention, which exchanges by degree, needs uniform ones.

Shapes come from a small set, so that few programs are compiled: `chunk` is one
of `chunks`, the degree a power of two. What is left of a chunk is padding:
masked, with a segment of its own, and a reset at its start.
"""

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.planner import schedule


class Key(NamedTuple):
  """The sizes that a compiled program depends on.

  Attributes:
    rows: rows of the arrays, the number of groups.
    row_length: tokens of a row, of all devices of a group together.
    sp_degree: devices of a group.
  """

  rows: int
  row_length: int
  sp_degree: int


class Wave(NamedTuple):
  """The work of all devices at one time; arrays are (rows, row_length).

  Attributes:
    tokens: int32, 0 in padding.
    targets: int32, the token that follows in the same document, else 0.
    mask: bool, True where there is a target.
    reset: bool, True at the start of every document, and of padding.
    segment: int32, the number of the document; -1 in padding.
    position: int32, from 0 in every document; 0 in padding.
  """

  tokens: np.ndarray
  targets: np.ndarray
  mask: np.ndarray
  reset: np.ndarray
  segment: np.ndarray
  position: np.ndarray


class Batch(NamedTuple):
  """A planned batch.

  Attributes:
    keys: the key of each wave.
    waves: the arrays of each wave.
    active: (rows,) bool of each wave, False for groups without a row.
    num_targets: targets of the whole batch: the loss is the sum over all waves
      divided by this, never a mean of a row.
  """

  keys: list[Key]
  waves: list[Wave]
  active: list[np.ndarray]
  num_targets: int

  @property
  def padding(self) -> float:
    """Share of padding in the computed elements."""
    rows = [w.segment[active] for w, active in zip(self.waves, self.active)]
    size = sum(segment.size for segment in rows)
    return sum(int((segment < 0).sum()) for segment in rows) / size


def chunk_sizes(tokens_per_device: int, levels: int = 3) -> tuple[int, ...]:
  """Returns the set of chunk sizes, rising: the memory's, and halves of it.

  From the tokens that one device has memory for, at most `levels` sizes.
  """
  sizes = {-(-tokens_per_device // 2**level) for level in range(levels)}
  return tuple(sorted(sizes))


def lay_out(
  assignment: schedule.Assignment,
  documents: Sequence[np.ndarray],
  chunks: Sequence[int],
  *,
  uniform: bool,
) -> Batch:
  """Builds the arrays of a plan.

  A document of n tokens has n - 1 targets: its last token is only read.

  Args:
    assignment: the plan.
    documents: integer tokens of each document, (length,).
    chunks: tokens per device that arrays may have; the largest must hold every
      row of the plan.
    uniform: whether a wave holds rows of one degree and chunk size only, as
      attention needs it. Mixers whose state resets run any mix.

  Returns:
    The batch.

  Raises:
    ValueError: if the documents are not those of the plan, or a row does not
      fit.
  """
  documents = [np.asarray(tokens) for tokens in documents]
  planned = sorted(i for row in assignment.rows for i in row.doc_ids)
  if planned != list(range(len(documents))):
    expected = f"the {len(planned)} of the plan"
    raise validate.error("documents", len(documents), expected)
  for row in assignment.rows:
    _check_places(row, documents)
  chunks, rows = sorted(chunks), assignment.rows
  needed = [-(-_tokens(row, documents) // row.degree) for row in rows]
  if max(needed) > chunks[-1]:
    expected = f"{max(needed)} tokens per device"
    raise validate.error("chunks", tuple(chunks), expected)
  sizes = [chunks[bisect.bisect_left(chunks, tokens)] for tokens in needed]
  num_devices = len(assignment.loads)
  keys, waves, active = [], [], []
  for members in _waves(assignment, sizes, uniform):
    chunk = max(sizes[i] for i in members)
    rows = [assignment.rows[i] for i in members]
    degree = max(row.degree for row in rows)
    keys.append(Key(num_devices // degree, chunk * degree, degree))
    waves.append(_fill(rows, documents, keys[-1], chunk))
    active.append(np.any(waves[-1].segment >= 0, axis=1))
  num_targets = sum(len(tokens) - 1 for tokens in documents)
  return Batch(keys, waves, active, num_targets)


def empty(key: Key) -> Wave:
  """Returns a wave of padding."""
  shape = key.rows, key.row_length
  tokens, targets, position = np.zeros((3, *shape), np.int32)
  mask, reset = np.zeros((2, *shape), bool)
  # No device continues a document of another one.
  reset[:, :: key.row_length // key.sp_degree] = True
  segment = np.full(shape, -1, np.int32)
  return Wave(tokens, targets, mask, reset, segment, position)


def _check_places(row, documents):
  """Rejects documents that are not at the places of the plan."""
  ends = np.cumsum([len(documents[i]) for i in row.doc_ids]).tolist()
  for index, end, start in zip(row.doc_ids, ends, row.offsets[1:]):
    if end != start:
      got = f"shape {documents[index].shape}"
      expected = f"({len(documents[index]) + start - end},), as in the plan"
      raise validate.error(f"documents[{index}]", got, expected)


def _tokens(row, documents):
  return sum(len(documents[i]) for i in row.doc_ids)


def _waves(assignment, sizes, uniform):
  """Lists of indices of rows that run in one wave, in order."""
  turns, waves = {}, {}
  for index, row in enumerate(assignment.rows):
    # The larger degrees and chunks first.
    level = (-row.degree, -sizes[index]) if uniform else (0, 0)
    taken = turns.setdefault(level, np.zeros(len(assignment.loads), int))
    devices = slice(row.first_device, row.first_device + row.degree)
    turn = int(taken[devices].max())
    taken[devices] = turn + 1
    waves.setdefault((*level, turn), []).append(index)
  return [waves[key] for key in sorted(waves)]


def _fill(rows, documents, key, chunk):
  wave = empty(key)
  # Device g d + i, token t is element (g d + i) chunk + t of the flat arrays.
  flat = Wave(*(array.reshape(-1) for array in wave))
  for row in rows:
    first = row.first_device * chunk
    everything = slice(first, first + row.degree * chunk)
    flat.reset[everything] = False
    for index, offset in zip(row.doc_ids, row.offsets):
      tokens = documents[index]
      start = first + offset
      here = slice(start, start + len(tokens))
      pairs = slice(start, start + len(tokens) - 1)
      flat.tokens[here] = tokens
      flat.targets[pairs] = tokens[1:]
      flat.mask[pairs] = True
      flat.reset[start] = True
      flat.segment[here] = index
      flat.position[here] = np.arange(len(tokens))
    end = first + _tokens(row, documents)
    if end < everything.stop:
      flat.reset[end] = True
  return wave
