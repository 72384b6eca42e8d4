"""Sequences of different lengths, padded to one array."""

from collections.abc import Sequence

import numpy as np

from jaxseq import limits
from jaxseq import validate


def pad_sequences(
  sequences: Sequence[np.ndarray],
  length: int | None = None,
  *,
  multiple: int = 1,
  value: float = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """Pads sequences of different lengths to one array.

  Args:
    sequences: arrays (length_i, ...) of one dtype and trailing shape.
    length: length of the time axis; the longest sequence's if None.
    multiple: the time axis is lengthened to a multiple of this.
    value: padding after the end of a sequence.

  Returns:
    The array (n, time, ...) and the lengths, (n,) int32.

  Raises:
    ValueError: if there is no sequence, one is longer than `length`, dtypes or
      shapes differ, or one sequence is so much longer than the others that the
      array would be almost only padding.
  """
  if not len(sequences):
    raise ValueError("sequences: got none, expected at least one sequence.")
  lengths = np.array([len(sequence) for sequence in sequences], np.int32)
  longest = int(lengths.max())
  length = longest if length is None else length
  if longest > length:
    expected = f"at least that of the longest sequence, {longest}"
    raise validate.error("length", length, expected)
  length = -(-length // multiple) * multiple
  # One long sequence pads all others to its length.
  held = sum(sequence.nbytes for sequence in sequences)
  size = length * max(sequence[:1].nbytes for sequence in sequences)
  limits.check_growth("sequences", size * len(sequences), held)
  trailing = {sequence.shape[1:] for sequence in sequences}
  if len(trailing) > 1:
    shapes = ", ".join(map(str, sorted(trailing)))
    raise ValueError(
      f"sequences: got {shapes}, expected one shape behind the time axis."
    )
  dtype = np.result_type(*{sequence.dtype for sequence in sequences})
  padded = np.full((len(sequences), length, *trailing.pop()), value, dtype)
  for row, sequence in zip(padded, sequences):
    row[: len(sequence)] = sequence
  return padded, lengths
