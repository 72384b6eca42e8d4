"""Sequences side by side in one array."""

import numpy as np
import pytest

from jaxseq import data


def test_padding():
  sequences = [np.ones((2, 3)), np.ones((5, 3), np.float32)]
  padded, lengths = data.pad_sequences(sequences, multiple=4, value=-1)
  assert padded.shape == (2, 8, 3)
  assert padded.dtype == np.float64
  assert lengths.tolist() == [2, 5]
  inside = np.arange(8) < lengths[:, None]
  assert np.all(padded[inside] == 1)
  assert np.all(padded[~inside] == -1)
  with pytest.raises(
    ValueError, match="length: got 4, expected at least .* longest sequence, 5"
  ):
    data.pad_sequences(sequences, 4)
  with pytest.raises(ValueError, match="got none"):
    data.pad_sequences([])
  with pytest.raises(ValueError, match=r"got \(\), \(1,\)"):
    data.pad_sequences([np.ones((2, 1)), np.ones(2)])


@pytest.mark.parametrize("length", [None, 60_000])
def test_one_long_sequence_does_not_lengthen_thousands(length):
  sequences = [np.ones((1, 1))] * 3000 + [np.ones((60_000, 1))]
  with pytest.raises(ValueError, match="would take 1440480000 in memory"):
    data.pad_sequences(sequences, length)
