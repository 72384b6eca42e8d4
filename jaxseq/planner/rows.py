"""Tokens of a plan as arrays of few static shapes: waves.

Wave w holds the w-th row of every device. Rows run by falling degree on aligned
blocks, so all devices of a row come to it in the same wave. A wave is seen as a
mesh of (groups, degree) devices, each with `chunk` tokens: its tokens are
(groups, degree * chunk), device g d + i holding tokens i chunk to (i + 1) chunk
of row g. A wave may hold rows of smaller degree, which then lie side by side in
one array row; resets, segments and positions keep them apart. Attention, which
exchanges by degree, takes waves of one degree only.

Shapes come from a small set, so that few programs are compiled: `chunk` is one
of `chunks`, the degree a power of two. What is left of a chunk is padding:
masked, with a segment of its own, and a reset at its start.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq.planner import schedule


class Key(NamedTuple):
  """What a compiled program depends on.

  Attributes:
    rows: rows of the arrays, the number of groups.
    row_length: tokens of a row, of all devices of a group together.
    sp_degree: devices of a group.
  """

  rows: int
  row_length: int
  sp_degree: int


class Wave(NamedTuple):
  """What all devices do at the same time; arrays are (rows, row_length).

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
    num_targets: targets of the whole batch: the loss is the sum over all waves
      divided by this, never a mean of a row.
  """

  keys: list[Key]
  waves: list[Wave]
  num_targets: int

  @property
  def padding(self) -> float:
    """Share of the arrays' elements that is padding."""
    size = sum(wave.segment.size for wave in self.waves)
    return sum(int((wave.segment < 0).sum()) for wave in self.waves) / size


def chunk_sizes(tokens_per_device: int, levels: int = 3) -> tuple[int, ...]:
  """Returns the set of chunk sizes: the memory's, and halves of it.

  Args:
    tokens_per_device: tokens that one device has memory for.
    levels: how many sizes at most.

  Returns:
    Rising tokens per device.
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
    uniform: whether a wave holds rows of one degree only, as attention needs
      it. Mixers with a state that resets run any mix.

  Returns:
    The batch.

  Raises:
    ValueError: if the documents are not those of the plan, or a row does not
      fit.
  """
  documents = [np.asarray(tokens) for tokens in documents]
  planned = sorted(i for row in assignment.rows for i in row.doc_ids)
  if planned != list(range(len(documents))):
    raise ValueError(
      f"documents must be the {len(planned)} of the plan; got {len(documents)}."
    )
  keys, waves = [], []
  for rows in _waves(assignment, uniform):
    needed = max(-(-_tokens(row, documents) // row.degree) for row in rows)
    fitting = [chunk for chunk in chunks if chunk >= needed]
    if not fitting:
      raise ValueError(
        f"chunks must hold {needed} tokens per device; got {tuple(chunks)}."
      )
    degree = max(row.degree for row in rows)
    groups = len(assignment.loads) // degree
    keys.append(Key(groups, min(fitting) * degree, degree))
    waves.append(_fill(rows, documents, keys[-1], min(fitting)))
  num_targets = sum(len(tokens) - 1 for tokens in documents)
  return Batch(keys, waves, num_targets)


def empty(key: Key) -> Wave:
  """Returns a wave of padding.

  Args:
    key: its shape.

  Returns:
    The wave.
  """
  shape = key.rows, key.row_length
  zeros = np.zeros(shape, np.int32)
  reset = np.zeros(shape, bool)
  # No device goes on with what another one left.
  reset[:, :: key.row_length // key.sp_degree] = True
  return Wave(
    zeros,
    zeros.copy(),
    np.zeros(shape, bool),
    reset,
    np.full(shape, -1, np.int32),
    zeros.copy(),
  )


def _tokens(row, documents):
  return sum(len(documents[i]) for i in row.doc_ids)


def _waves(assignment, uniform):
  """Lists of rows that run at the same time, in order."""
  turns, waves = {}, {}
  for row in assignment.rows:
    # Rows of one degree are waves of their own, larger degrees first.
    level = -row.degree if uniform else 0
    taken = turns.setdefault(level, np.zeros(len(assignment.loads), int))
    devices = slice(row.first_device, row.first_device + row.degree)
    turn = int(taken[devices].max())
    taken[devices] = turn + 1
    waves.setdefault((level, turn), []).append(row)
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
