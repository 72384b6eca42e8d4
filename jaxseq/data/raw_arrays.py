"""Raw arrays made into a network's inputs, one function for each kind of data.

Each has the arguments of `Preparation.prepare`, behind the preparation. The
loaders of files use the same functions for training data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import padding
from jaxseq.data import text_tokens

if TYPE_CHECKING:
  from jaxseq.data.preparation import Preparation


def series(
  preparation: Preparation,
  values: Any,
  lengths: np.ndarray | None,
  times: Sequence[np.ndarray] | None,
  targets: Any,
) -> datasets.ArrayDataset:
  """Prepares series of vectors, of any lengths."""
  rows = _listed(values, lengths)
  for number, row in enumerate(rows):
    _check_series(f"series {number}", row, preparation.channels)
  scaled = [
    preparation.standardize(np.asarray(row, np.float64)) for row in rows
  ]
  length = max(max(map(len, scaled), default=0), preparation.length or 0)
  inputs, lengths = padding.pad_sequences(scaled, length)
  part = datasets.ArrayDataset(
    inputs, _targets(preparation, targets, len(rows), lengths, length), lengths
  )
  part = missing_values.fill(
    part, preparation.missing, preparation.fill, channels=preparation.channels
  )
  if preparation.gaps is not None:
    part = _with_gaps(preparation, part, times)
  if np.all(lengths == length):
    part = part._replace(lengths=None)
  return part


def _with_gaps(preparation, part, times):
  """Adds the time since the element before."""
  if times is None or len(times) != len(part.inputs):
    found = None if times is None else f"{len(times)} arrays"
    expected = f"the times of each of the {len(part.inputs)} series"
    raise _validate.error("times", found, expected)
  gaps = np.zeros(part.inputs.shape[:2], np.float32)
  for number, (row, length) in enumerate(zip(gaps, part.lengths)):
    stamps = _times(f"times of series {number}", times[number], length)
    # Before the first element there is none: one step is the usual time.
    row[0] = 1.0
    row[1:length] = np.diff(stamps) / (preparation.step or 1.0)
  if preparation.gaps == "extras":
    return part._replace(extras=part.extras._replace(gaps=gaps))
  inputs = np.concatenate([part.inputs, gaps[..., None]], axis=-1)
  return part._replace(inputs=inputs)


def forecast(
  preparation: Preparation,
  values: Any,
  lengths: np.ndarray | None,
  times: Sequence[np.ndarray] | None,
  targets: Any,
) -> datasets.ArrayDataset:
  """Prepares the end of each series, which the forecast goes on from."""
  del times
  if targets is not None:
    raise _validate.error("targets", type(targets).__name__, "None")
  one = isinstance(values, np.ndarray) and values.ndim == 2
  length = preparation.length or 1
  windows = []
  for number, row in enumerate([values] if one else _listed(values, lengths)):
    name = f"series {number}"
    _check_series(name, row, preparation.channels)
    if len(row) < length:
      expected = f"at least {length} times, those of an input"
      raise ValueError(f"{name}: got {len(row)}, expected {expected}.")
    # Filled before it is cut: the value before may lie further back.
    whole = preparation.standardize(np.asarray(row, np.float64))
    part = missing_values.fill(
      datasets.ArrayDataset(whole[None], np.zeros(1)),
      preparation.missing,
      preparation.fill,
      name,
      preparation.channels,
    )
    windows.append(part.inputs[0, -length:])
  inputs = np.stack(windows)
  shape = (len(inputs), int(preparation.horizon or 1), inputs.shape[-1])
  return datasets.ArrayDataset(inputs, np.full(shape, np.nan, np.float32))


def text(
  preparation: Preparation,
  values: Any,
  lengths: np.ndarray | None,
  times: Sequence[np.ndarray] | None,
  targets: Any,
) -> datasets.ArrayDataset:
  """Prepares texts: every token but the first is the target of that before."""
  del times, targets
  if isinstance(values, str | bytes):
    values = [values]
  rows = []
  for number, row in enumerate(_listed(values, lengths)):
    if isinstance(row, str | bytes):
      row = _tokens_of(preparation, row, f"text {number}")
    _check_tokens(f"text {number}", row, preparation.vocab_size)
    if len(row) < 2:
      raise ValueError(
        f"text {number}: got {len(row)} tokens, expected at least 2."
      )
    rows.append(np.asarray(row))
  tokens, counts = padding.pad_sequences(rows)
  counts = None if np.all(counts == tokens.shape[1]) else counts - 1
  return datasets.ArrayDataset(tokens[:, :-1], tokens[:, 1:], counts)


def _tokens_of(preparation, row, name):
  """Bytes, or what the tokenizer makes of them."""
  coder = None
  if preparation.tokenizer is not None:
    coder = text_tokens.read_tokenizer(preparation.tokenizer)
  content = row.encode() if isinstance(row, str) else row
  return text_tokens.encode(content, coder, name)


def events(
  preparation: Preparation,
  values: Any,
  lengths: np.ndarray | None,
  times: Sequence[np.ndarray] | None,
  targets: Any,
) -> datasets.ArrayDataset:
  """Prepares sequences of events, whose marks are the values."""
  if targets is not None:
    raise _validate.error("targets", type(targets).__name__, "None")
  marks = [
    class_numbers(row, preparation.classes, f"marks of sequence {number}")
    for number, row in enumerate(_listed(values, lengths))
  ]
  if times is None or len(times) != len(marks):
    found = None if times is None else f"{len(times)} arrays"
    expected = f"the times of each of the {len(marks)} sequences"
    raise _validate.error("times", found, expected)
  stamps = [
    _times(f"times of sequence {number}", row, len(marks[number]))
    for number, row in enumerate(times)
  ]
  until = float("inf") if preparation.horizon is None else preparation.horizon
  gaps = []
  for number, row in enumerate(stamps):
    gaps.append(np.diff(row, prepend=0.0))
    if len(row) and not (gaps[-1].min() > 0 and row[-1] <= until):
      place = int(np.argmax((gaps[-1] <= 0) | (row > until)))
      raise ValueError(
        f"times of sequence {number}: got {row[place]} for event {place}, "
        f"expected times that increase from above 0 to at most {until}."
      )
  length = max(max(map(len, marks), default=0), preparation.length or 1)
  padded, lengths = padding.pad_sequences(
    [row.astype(np.float32)[:, None] for row in gaps], length
  )
  stamps, _ = padding.pad_sequences(
    [row.astype(np.float32) for row in stamps], length
  )
  marks, _ = padding.pad_sequences(marks, length)
  extras = datasets.Extras(times=stamps)
  return datasets.ArrayDataset(padded, marks, lengths, extras)


def images(
  preparation: Preparation,
  values: Any,
  lengths: np.ndarray | None,
  times: Sequence[np.ndarray] | None,
  targets: Any,
) -> datasets.ArrayDataset:
  """Prepares pictures, whose rows are the elements in time."""
  del lengths, times
  array = np.asarray(values)
  size = preparation.image_size
  if array.ndim == 3:
    array = array[..., None]
  expected = ("n", *size, "colors") if size else ("n", "h", "w", "colors")
  _validate.shape("images", array, expected)
  if array.dtype == np.uint8:
    array = array.astype(np.float32) / 255
  inputs = preparation.standardize(
    array.reshape(len(array), array.shape[1], -1)
  )
  return datasets.ArrayDataset(
    inputs, _targets(preparation, targets, len(inputs))
  )


def tokens(
  preparation: Preparation,
  values: Any,
  lengths: np.ndarray | None,
  times: Sequence[np.ndarray] | None,
  targets: Any,
) -> datasets.ArrayDataset:
  """Prepares sequences of tokens, which have one class each."""
  del times
  rows = [np.asarray(row) for row in _listed(values, lengths)]
  for number, row in enumerate(rows):
    _check_tokens(f"sequence {number}", row, preparation.vocab_size)
  length = max(max(map(len, rows), default=0), preparation.length or 1)
  inputs, lengths = padding.pad_sequences(
    [row.astype(np.int32) for row in rows], length
  )
  if np.all(lengths == length):
    lengths = None
  return datasets.ArrayDataset(
    inputs, _targets(preparation, targets, len(rows)), lengths
  )


METHODS = {
  "series": series,
  "forecast": forecast,
  "text": text,
  "events": events,
  "images": images,
  "tokens": tokens,
}


def class_numbers(
  labels: Any, classes: Sequence[str] | None, name: str = "targets"
) -> np.ndarray:
  """Returns the place of each label among the names of classes.

  Args:
    labels: (n,) names, or integers that are such places already.
    classes: the names in order; None if there are only numbers.
    name: what to call the labels in messages.

  Returns:
    (n,) int32.

  Raises:
    ValueError: naming a label that is not among the classes.
  """
  array = np.asarray(labels)
  if not len(array):
    return np.zeros(0, np.int32)
  if array.dtype.kind in "iu":
    above = 2**31 if classes is None else len(classes)
    wrong = (array < 0) | (array >= above)
    if wrong.any():
      expected = f"classes 0 to {above - 1}"
      raise _validate.error(name, int(array[np.argmax(wrong)]), expected)
    return array.astype(np.int32)
  places = {label: number for number, label in enumerate(classes or ())}
  words = [str(label) for label in array.tolist()]
  for word in words:
    if word not in places:
      _validate.choice(name, word, places)
  return np.array([places[word] for word in words], np.int32)


def _targets(preparation, targets, count, lengths=None, time=None):
  """Classes by their names or numbers, numbers standardized, or unknown."""
  if preparation.targets is None:
    if targets is None:
      return np.full(count, -1, np.int32)
    _validate.shape("targets", targets, (count,))
    return class_numbers(targets, preparation.classes)
  width = len(preparation.targets)
  stepwise = preparation.stepwise and time is not None
  if targets is None:
    shape = (count, time, width) if stepwise else (count, width)
    return np.full(shape, np.nan, np.float32)
  if not stepwise:
    _validate.shape("targets", targets, (count, width))
    return preparation.standardize_targets(np.asarray(targets, np.float64))
  if len(targets) != count:
    expected = f"one array for each of the {count} series"
    raise _validate.error("targets", f"{len(targets)} arrays", expected)
  rows = [np.asarray(row, np.float64) for row in targets]
  for number, (row, length) in enumerate(zip(rows, lengths)):
    _validate.shape(f"targets of series {number}", row, (int(length), width))
  scaled = [preparation.standardize_targets(row) for row in rows]
  return padding.pad_sequences(scaled, time)[0]


def _listed(values, lengths):
  """Arrays of a sequence, or the rows of one array up to their lengths."""
  rows = list(values)
  if not rows:
    raise ValueError("values: got none, expected at least one example.")
  if lengths is None:
    return rows
  _validate.shape("lengths", lengths, (len(rows),))
  return [row[: int(length)] for row, length in zip(rows, lengths)]


def _check_series(name, array, channels):
  """Checks numbers (time, channels)."""
  array = np.asarray(array)
  if array.dtype.kind not in "iuf":
    raise _validate.error(name, f"dtype {array.dtype}", "numbers")
  width = "channels" if channels is None else len(channels)
  _validate.shape(name, array, ("time", width))


def _check_tokens(name, array, vocab_size):
  """Checks integers (time,) that are tokens."""
  array = np.asarray(array)
  if array.dtype.kind not in "iu":
    raise _validate.error(name, f"dtype {array.dtype}", "integers")
  _validate.shape(name, array, ("time",))
  above = 2**31 if vocab_size is None else vocab_size
  wrong = (array < 0) | (array >= above)
  if wrong.any():
    found = int(array[np.argmax(wrong)])
    raise _validate.error(name, found, f"tokens 0 to {above - 1}")


def _times(name, stamps, length):
  """Checks the times (length,) of one sequence."""
  array = np.asarray(stamps, np.float64)
  if array.shape != (length,) or not np.isfinite(array).all():
    expected = f"a finite time for each of the {length} elements"
    raise _validate.error(name, f"shape {array.shape}", expected)
  return array
