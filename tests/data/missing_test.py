"""Missing values of series: refused, filled or marked."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import missing

NAN = np.nan


def splits(train, test=((1.0, 2.0),), lengths=None, **info):
  def part(rows):
    inputs = np.array(rows, np.float32)[..., None]
    targets = np.arange(len(inputs), dtype=np.int32)
    return data.ArrayDataset(inputs, targets)

  parts = part(train), part(test)
  if lengths is not None:
    parts = (parts[0]._replace(lengths=np.array(lengths, np.int32)), parts[1])
  known = data.Info("", "", "", **info)
  return data.Splits(parts[0], None, parts[1], known)


def inputs(found):
  return found.train.inputs[..., 0].tolist()


def test_what_is_whole_stays_as_it_is():
  whole = splits([[1, 2], [3, 4]])
  assert missing.treat(whole) is whole
  filled = missing.treat(whole, "forward_fill")
  assert inputs(filled) == [[1, 2], [3, 4]]
  assert filled.train.extras.observed.all()


def test_missing_values_are_refused_with_their_place():
  with pytest.raises(
    ValueError,
    match="test: inputs: got nan at example 1, element 0, channel 'x' .2 such "
    "values., expected numbers, or the option missing = 'mask' or 'forward_fil",
  ):
    missing.treat(splits([[1, 2]], [[1, 2], [NAN, NAN]], channels=("x",)))


def test_values_before_them_or_the_mean():
  given = splits([[NAN, 2, NAN, 6], [4, NAN, NAN, 0]])
  # The mean of 2, 6, 4 and 0.
  assert inputs(missing.treat(given, "mean")) == [[3, 2, 3, 6], [4, 3, 3, 0]]
  filled = missing.treat(given, "forward_fill")
  assert inputs(filled) == [[3, 2, 2, 6], [4, 4, 4, 0]]
  # The training mean is that of the other parts as well.
  given = splits([[1, 3]], [[NAN, 9]])
  assert missing.treat(given, "mean").test.inputs[0, :, 0].tolist() == [2, 9]


def test_the_mask_is_more_channels():
  given = splits([[NAN, 2], [4, NAN]], channels=("x",))
  marked = missing.treat(given, "mask")
  assert marked.train.inputs.tolist() == [
    [[3, 0], [2, 1]],
    [[4, 1], [3, 0]],
  ]
  assert marked.train.inputs.dtype == np.float32
  assert marked.test.inputs[..., 1].tolist() == [[1, 1]]
  assert marked.info.channels == ("x", "x observed")
  assert marked.train.extras.observed[..., 0].tolist() == [
    [False, True],
    [True, False],
  ]


def test_behind_the_end_nothing_counts():
  given = splits([[2, 9, NAN], [4, NAN, 6]], lengths=[1, 3])
  for how, expected in (
    ("mean", [[2, 0, 0], [4, 4, 6]]),
    ("forward_fill", [[2, 0, 0], [4, 4, 6]]),
    ("mask", [[2, 0, 0], [4, 4, 6]]),
  ):
    assert inputs(missing.treat(given, how)) == expected
  marks = missing.treat(given, "mask").train.inputs[..., 1]
  assert marks.tolist() == [[1, 0, 0], [1, 0, 1]]


def test_what_cannot_be_treated_is_said():
  with pytest.raises(ValueError, match="missing: got 'drop', expected one of"):
    missing.treat(splits([[1, 2]]), "drop")
  with pytest.raises(ValueError, match="train: inputs: got no value in chann"):
    missing.treat(splits([[NAN, NAN]]), "mean")
  tokens = splits([[1, 2]])
  tokens = tokens._replace(
    train=tokens.train._replace(inputs=np.zeros((1, 2), np.int32))
  )
  assert missing.treat(tokens) is tokens
  with pytest.raises(
    ValueError, match="missing: got 'mask', expected 'refuse'"
  ):
    missing.treat(tokens, "mask")
